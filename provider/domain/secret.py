"""Text that must not be seen: its ``repr`` and ``str`` are ``***``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A password, a token, a key. Read it with ``reveal()`` at the last possible place."""

    _text: str

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __bool__(self) -> bool:
        return bool(self._text)

    __str__ = __repr__
