"""Checks on what came over the wire. Each returns its value or raises ``PeerError`` with the field's path.

Paths read as the proto does: ``order.group.units[0].resources.cpu_millis``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

from google.protobuf.message import Message

from provider.domain.errors import PeerError
from provider.domain.ids import MEMBER_NAME
from provider.domain.money import RATE_DIGITS

TEXT_MOST = 4096
"""Characters of any text field."""
ITEMS_MOST = 1000
"""Of any list: far above what a group of Akash's holds."""
_DECIMAL = re.compile(rf"[0-9]{{1,27}}(\.[0-9]{{1,{RATE_DIGITS}}})?", re.ASCII)

Wire = TypeVar("Wire")
Value = TypeVar("Value")
Name = TypeVar("Name", bound=StrEnum)


def broken(path: str, why: str) -> PeerError:
    """The error for the field at ``path``."""
    return PeerError(f"{path}: {why}")


def line(value: str) -> str:
    """Text for people as it may travel: whatever an engine said, no longer than ``text`` accepts."""
    return value[:TEXT_MOST].encode(errors="replace").decode()


def present(message: Message, name: str, path: str) -> str:
    """The path of the field ``name``, which must be set in ``message``."""
    if not message.HasField(name):
        raise broken(f"{path}.{name}", "is missing")
    return f"{path}.{name}"


def at_least(value: int, least: int, path: str) -> int:
    if value < least:
        raise broken(path, f"is {value}, but at least {least} is needed")
    return value


def at_most(value: int, most: int, path: str) -> int:
    if value > most:
        raise broken(path, f"is {value}, and {most} is the most")
    return value


def text(value: str, path: str) -> str:
    """Text of bounded length, possibly empty."""
    if len(value) > TEXT_MOST:
        raise broken(path, f"is longer than {TEXT_MOST} characters")
    return value


def word(value: str, path: str) -> str:
    """Text that says something."""
    if not value:
        raise broken(path, "is empty")
    return text(value, path)


def name(value: str, path: str) -> str:
    """A member's name."""
    if not MEMBER_NAME.fullmatch(value):
        raise broken(path, "is not a name of a-z, 0-9 and '-'")
    return value


def decimal(value: str, path: str) -> Decimal:
    """A price that ``Rate`` can hold: not negative, at most 18 digits after the point."""
    if not _DECIMAL.fullmatch(value):
        raise broken(path, f"is not a price of at most {RATE_DIGITS} digits after the point")
    return Decimal(value)


def sha256(value: bytes, path: str) -> str:
    """64 hex digits from 32 bytes."""
    if len(value) != 32:
        raise broken(path, f"has {len(value)} bytes, not 32")
    return value.hex()


def one_of(kind: type[Name], value: str, path: str) -> Name:
    try:
        return kind(value)
    except ValueError:
        raise broken(path, f"{value[:40]!r} is none of {', '.join(kind)}") from None


def each(values: Sequence[Wire], decode: Callable[[Wire, str], Value], path: str) -> tuple[Value, ...]:
    """Every item decoded, each with its place in the path."""
    if not values:
        return ()
    if len(values) > ITEMS_MOST:
        raise broken(path, f"has more than {ITEMS_MOST} items")
    return tuple([decode(item, f"{path}[{place}]") for place, item in enumerate(values)])
