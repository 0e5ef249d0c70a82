"""What a simulated container does with its time, read from its command.

Understands of a shell only what tests need: ``echo``, ``sleep``, ``exit``, ``cat``, ``true`` and ``false``,
joined by ``;``. So one and the same command gives the same result in a fake and in a real container.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from provider.domain.moment import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Something that is written, ``after`` the beginning."""

    after: Span
    text: str
    is_stderr: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """What a command writes and when it ends; ``ends_after`` None: not by itself."""

    lines: tuple[Line, ...] = ()
    ends_after: Span | None = None
    exit_code: int = 0
    copies_input: bool = False
    """Whether it writes what it reads, until that ends (``cat``)."""


FOR_EVER = Timeline()


def timeline(argv: tuple[str, ...]) -> Timeline:
    """Of ``sh -c '...'`` or of one simple command. What it does not know runs for ever, in silence."""
    if argv[:2] == ("sh", "-c") and len(argv) == 3:
        return _script(argv[2])
    return _script(shlex.join(argv)) if argv else FOR_EVER


def _script(text: str) -> Timeline:
    clock, lines, copies = 0, [], False
    code = 0
    for command in text.split(";"):
        words = shlex.split(command)
        match words:
            case []:
                continue
            case ["echo", *rest]:
                is_stderr = bool(rest) and rest[-1] == ">&2"
                spoken = " ".join(rest[:-1] if is_stderr else rest)
                lines.append(Line(after=Span(clock), text=spoken, is_stderr=is_stderr))
                code = 0
            case ["sleep", seconds]:
                clock += int(float(seconds) * 1000)
            case ["cat"]:
                copies = True
            case ["true"]:
                code = 0
            case ["false"]:
                code = 1
            case ["exit", number]:
                code = int(number)
                break
            case _:
                return Timeline(lines=tuple(lines))
    return Timeline(lines=tuple(lines), ends_after=Span(clock), exit_code=code, copies_input=copies)
