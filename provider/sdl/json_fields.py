"""Strict reading of JSON values: right type, right range, no key too many or too few.

Owns types and bounds; what the values mean is ``manifest_load``'s and ``group_load``'s. Invariant: a
``JsonInvalid`` names the place and never the value, which may be a secret.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from provider.sdl.canonical import JsonInvalid

T = TypeVar("T")

UINT32_MAX = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Json:
    """A value and the way to it."""

    value: Any
    path: str = ""

    def fault(self, what: str) -> JsonInvalid:
        return JsonInvalid(f"{self.path or 'the JSON'}: {what}")

    def fields(self, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> Fields:
        """An object with all of ``required``, any of ``optional`` and nothing else."""
        if not isinstance(self.value, dict):
            raise self.fault("not an object")
        keys = self.value.keys()
        missing = [name for name in required if name not in keys]
        if missing:
            raise self.fault(f'"{missing[0]}" is missing')
        if len(keys) > len(required) and keys - {*required, *optional}:
            raise self.fault("a key that does not belong here")
        return Fields(self.value, self.path)

    def items(self, read: Callable[[Json], T]) -> tuple[T, ...]:
        """A list, entry by entry."""
        if not isinstance(self.value, list):
            raise self.fault("not a list")
        return tuple(read(Json(each, f"{self.path}[{index}]")) for index, each in enumerate(self.value))

    def or_null(self, read: Callable[[Json], T]) -> T | None:
        return None if self.value is None else read(self)

    def text(self) -> str:
        """No NUL: it ends a string for whoever hands it to the kernel."""
        if not isinstance(self.value, str) or "\0" in self.value:
            raise self.fault("not a text")
        if not self.value.isascii() and any(0xD800 <= ord(each) <= 0xDFFF for each in self.value):
            raise self.fault("half of a surrogate pair")
        return self.value

    def filled(self) -> str:
        text = self.text()
        if not text:
            raise self.fault("an empty text")
        return text

    def texts(self) -> tuple[str, ...]:
        return self.items(Json.text)

    def number(self, *, least: int = 0, most: int = UINT32_MAX) -> int:
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            raise self.fault("not a whole number")
        if not least <= self.value <= most:
            raise self.fault(f"not between {least} and {most}")
        return self.value

    def flag(self) -> bool:
        if not isinstance(self.value, bool):
            raise self.fault("not true or false")
        return self.value

    def amount(self) -> int:
        """A whole number written as text, ``"536870912"``."""
        text = self.text()
        if not text.isascii() or not text.isdigit() or len(text) > 20 or text != str(int(text)):
            raise self.fault("not a whole number in a text")
        return int(text)


@dataclass(frozen=True, slots=True)
class Fields:
    """An object whose keys are known to be right."""

    tree: dict[str, Any]
    path: str

    def __getitem__(self, name: str) -> Json:
        return Json(self.tree[name], f"{self.path}.{name}" if self.path else name)

    def __contains__(self, name: str) -> bool:
        return name in self.tree
