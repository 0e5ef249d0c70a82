"""``${NAME}`` and ``env_file``: a tenant's secrets, put in before the manifest is made.

Owns the replacement; where the values come from is the caller's. Invariant: what is hashed is what is
sent, with the values in it, and no problem shows a value.

Only ``env`` and ``credentials`` are looked at: in ``command`` and ``args`` the same characters belong to
the container's shell. ``$${NAME}`` stands for a literal ``${NAME}``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from provider.sdl.blocks import Block, Findings, Place
from provider.sdl.check_services import is_env_name
from provider.sdl.problems import quote, suggest
from provider.sdl.scalars import Complaint

_MARK = re.compile(r"\$(\$?)\{([A-Za-z_][A-Za-z0-9_]{0,127})\}")
_CREDENTIALS = ("host", "email", "username", "password")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Substitution:
    """``variables`` is None where ``${NAME}`` stays as written; ``read_file`` gives None for no such file."""

    variables: Mapping[str, str] | None = None
    read_file: Callable[[str], str | None] = field(default=lambda name: None)


NOTHING = Substitution()


def parse_env_file(text: str) -> tuple[dict[str, str], tuple[int, ...]]:
    """Lines of ``NAME=value`` and the numbers (from 1) of lines that are none.

    Blank lines and lines that begin with ``#`` are left out, ``export`` before a name too, and one pair
    of quotes around a value.
    """
    values: dict[str, str] = {}
    faulty: list[int] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.removeprefix("export ").partition("=")
        name = name.strip()
        if not equals or not is_env_name(name):
            faulty.append(number)
            continue
        value = value.strip()
        is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
        values[name] = value[1:-1] if is_quoted else value
    return values, tuple(faulty)


def substitute(services: Mapping[str, Block], substitution: Substitution, findings: Findings) -> None:
    """Fills in ``env`` and ``credentials`` of every service, and puts its env files before its ``env``."""
    for service in services.values():
        variables = substitution.variables
        if variables is None:
            _warn_of_marks(service, findings)
        else:
            if "env" in service.values:
                service.values["env"] = _entries(service, variables, findings)
            credentials = service.block("credentials")
            for name in _CREDENTIALS if credentials is not None else ():
                assert credentials is not None
                if (text := credentials.text(name)) is not None:
                    at = credentials.place(name)
                    credentials.values[name] = _fill(text, variables, at, findings)
        if service.values.get("env_file"):
            _put_files(service, substitution, findings)


def _warn_of_marks(service: Block, findings: Findings) -> None:
    """Akash hands ``${NAME}`` to the container as it is, which is hardly ever what was meant."""
    for index, text in service.indexed("env"):
        if "${" in text and (match := _MARK.search(text)):
            name = match.group(2)
            hint = f"--env or --env-file fills in a value of {name}"
            at = service.place("env", index)
            findings.warn(at, f"${{{name}}} is not filled in", hint, is_private=True)


def _entries(service: Block, variables: Mapping[str, str], findings: Findings) -> list[tuple[int, Any]]:
    return [
        (index, _fill(text, variables, service.place("env", index), findings))
        for index, text in service.indexed("env")
    ]


def _put_files(service: Block, substitution: Substitution, findings: Findings) -> None:
    """Lines of the files come first, and a name in ``env`` beats the same name in a file."""
    values: dict[str, str] = {}
    for index, name in service.indexed("env_file"):
        at = service.place("env_file", index)
        text = substitution.read_file(name)
        if text is None:
            what = f"the file {quote(name)} cannot be read"
            findings.add(at, Complaint(what=what, hint="its place is beside the manifest", is_soft=True))
            continue
        found, faulty = parse_env_file(text)
        values.update(found)
        for number in faulty[:3]:
            findings.add(at, Complaint(what=f"line {number} of {quote(name)} is not NAME=value"))
    written = service.indexed("env")
    own = {text.partition("=")[0] for _, text in written}
    first = [(0, f"{name}={value}") for name, value in values.items() if name not in own]
    if first or "env" in service.values:
        service.values["env"] = [*first, *written]


def _fill(text: str, variables: Mapping[str, str], at: Place, findings: Findings) -> str:
    def one(match: re.Match[str]) -> str:
        escape, name = match.groups()
        if escape:
            return "${" + name + "}"
        if name in variables:
            return variables[name]
        what = f"no value is given for ${{{name}}}"
        hint = suggest(name, variables) or f'set {name}, or write "$${{{name}}}" to keep it as it is'
        findings.add(at, Complaint(what=what, hint=hint), is_private=True)
        return match.group()

    return _MARK.sub(one, text)
