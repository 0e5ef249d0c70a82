"""What is wrong with a manifest: where, what, what is allowed instead, and what was probably meant.

Owns the one exception of this package and the way problems are shown. Does not decide what a problem
is. Invariant: every ``Problem`` can be read alone, and none of them carries a secret value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from enum import StrEnum
from itertools import islice

from provider.domain.errors import ConfigError

MOST_PROBLEMS = 100
"""No more errors than this are collected from one file, and no more warnings."""
LONGEST_QUOTE = 60
"""Characters of the file's own text that a message repeats."""
LONGEST_GUESS = 40
"""Longer names get no "did you mean": nobody mistypes them, and comparing costs their product."""
MOST_GUESSES = 100
"""Names that one is compared with."""
MOST_LISTED = 20
WIDEST_LINE = 160
"""Characters of an offending line that are shown."""


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One fault of one file. ``line`` and ``column`` count from 1, in characters."""

    line: int
    column: int
    what: str
    path: str = ""
    """Where in the manifest, ``services.web.expose[0].port``; empty for the file as a whole."""
    allowed: str = ""
    hint: str = ""
    severity: Severity = Severity.ERROR
    is_private: bool = False
    """The line holds a secret and is not shown."""
    excerpt: str = ""
    """The line itself, or the part of it around the place."""
    caret: int = 0
    """Where in ``excerpt`` the place is, from 0."""

    def __str__(self) -> str:
        place = f"{self.path}: " if self.path else ""
        allowed = f"; allowed: {self.allowed}" if self.allowed else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{place}{self.what}{allowed}{hint}"

    def as_json(self) -> dict[str, object]:
        """For machines: every field by its name, the severity as text."""
        return {
            "severity": str(self.severity),
            "line": self.line,
            "column": self.column,
            "path": self.path,
            "what": self.what,
            "allowed": self.allowed,
            "hint": self.hint,
        }


class SdlInvalid(ConfigError):
    """A manifest that cannot be used. ``problems`` are all its errors (and warnings), in the file's order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        errors = [each for each in self.problems if each.severity is Severity.ERROR]
        first = errors[0]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        super().__init__(
            f"line {first.line}, column {first.column}: {first}{more}",
            remedy="tenant check FILE lists every problem with its line",
        )


def suggest(name: str, known: Iterable[str]) -> str:
    """``did you mean "expose"?``, or nothing where no known name is close."""
    known = tuple(islice(known, MOST_GUESSES + 1))
    if len(name) > LONGEST_GUESS or len(known) > MOST_GUESSES:
        return ""
    folded = {each.casefold().replace("-", "_"): each for each in known}
    close = get_close_matches(name.casefold().replace("-", "_"), folded, n=1, cutoff=0.6)
    return f'did you mean "{folded[close[0]]}"?' if close else ""


def listed(names: Iterable[str]) -> str:
    """The names that are allowed, the first of them if there are many."""
    some = tuple(islice(names, MOST_LISTED + 1))
    return ", ".join(some[:MOST_LISTED]) + (" …" if len(some) > MOST_LISTED else "")


def quote(text: str) -> str:
    """The file's own text in a message: on one line, cut where it is long."""
    cut = text if len(text) <= LONGEST_QUOTE else text[: LONGEST_QUOTE - 1] + "…"
    return '"' + "".join(each if each.isprintable() else "�" for each in cut) + '"'


def with_excerpts(problems: Iterable[Problem], text: str) -> tuple[Problem, ...]:
    """The same problems, each with the line of ``text`` that it is about."""
    lines = re.split("\r\n|[\n\r\x85\u2028\u2029]", text)
    return tuple(_with_excerpt(each, lines) for each in problems)


def _with_excerpt(problem: Problem, lines: list[str]) -> Problem:
    if problem.is_private or problem.line > len(lines):
        return problem
    line = lines[problem.line - 1]
    start = max(0, problem.column - WIDEST_LINE // 2) if len(line) > WIDEST_LINE else 0
    shown = "".join(each if each.isprintable() else " " for each in line[start : start + WIDEST_LINE])
    return replace(problem, excerpt=shown.rstrip(), caret=problem.column - 1 - start)


def render(problem: Problem, name: str) -> str:
    """For people: ``name:line:column``, the problem, its line and a caret under the place."""
    head = f"{name}:{problem.line}:{problem.column}: {problem.severity}: {problem}"
    if not problem.excerpt:
        return head
    number = f"{problem.line:5d} | "
    return f"{head}\n{number}{problem.excerpt}\n{' ' * (len(number) - 2)}| {' ' * problem.caret}^"


def show(invalid: SdlInvalid, name: str) -> str:
    """Every problem of ``invalid`` for people, in the file's order."""
    return "\n".join(render(each, name) for each in invalid.problems)
