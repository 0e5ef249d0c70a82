"""Manifest files on the tenant's side: reading them, their env files and the environment.

Owns the I/O that ``provider.sdl`` does without. Invariant: no more of a file is read than a manifest may
have, and no value from the environment or an env file appears in a message.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from provider import sdl
from provider.domain.errors import ConfigError

STANDARD_INPUT = "-"
MOST_BYTES = 1 << 20
"""What ``provider.sdl`` takes; a byte more is read, so that it can say that there is more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """Where the values of ``${NAME}`` come from. A later file beats an earlier one, files the environment."""

    env_files: tuple[str, ...] = ()
    from_environment: bool = False


def read_bytes(path: str) -> bytes:
    """The file at ``path``, or standard input for ``-``; ``ConfigError`` where it cannot be read."""
    try:
        if path == STANDARD_INPUT:
            return sys.stdin.buffer.read(MOST_BYTES + 1)
        with Path(path).open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}", remedy="name a file that is there"
        ) from error


def parse(
    path: str, *, lenient: bool = False, secrets: Secrets | None = None, needs_port: bool = True
) -> sdl.Parsed:
    """What the file means; ``SdlInvalid`` with its problems, ``ConfigError`` where it cannot be read."""
    substitution = substitution_for(path, secrets or Secrets())
    return sdl.read(read_bytes(path), lenient=lenient, substitution=substitution, needs_port=needs_port)


def load(path: str, *, lenient: bool = False, secrets: Secrets | None = None) -> sdl.Parsed:
    """As ``parse``, with every problem in the message of one ``ConfigError``."""
    try:
        return parse(path, lenient=lenient, secrets=secrets)
    except sdl.SdlInvalid as invalid:
        what = f"{path} is not a valid manifest:\n{sdl.show(invalid, path)}"
        raise ConfigError(what, remedy=f"mend the lines above, then: tenant check {path}") from invalid


def substitution_for(path: str, secrets: Secrets) -> sdl.Substitution:
    """``${NAME}`` is filled in only if a source was named; ``env_file`` is read beside the manifest."""
    folder = Path() if path == STANDARD_INPUT else Path(path).parent
    return sdl.Substitution(
        variables=_variables(secrets) if secrets.env_files or secrets.from_environment else None,
        read_file=lambda name: _env_file(folder / name),
    )


def _variables(secrets: Secrets) -> dict[str, str]:
    values = dict(os.environ) if secrets.from_environment else {}
    for path in secrets.env_files:
        text = _env_file(Path(path))
        if text is None:
            raise ConfigError(f"{path} cannot be read", remedy="name a file of NAME=value lines")
        found, faulty = sdl.parse_env_file(text)
        if faulty:
            raise ConfigError(f"{path}: line {_numbers(faulty)} is not NAME=value", remedy="mend the file")
        values.update(found)
    return values


def _numbers(numbers: Iterable[int]) -> str:
    return ", ".join(str(each) for each in numbers)


def _env_file(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError, ValueError):
        return None
