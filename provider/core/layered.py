"""A mapping whose copies share what they have in common: for large ones of which a step changes little.

A ``dict`` of a thousand things is copied whole for each thing that comes or goes; of this one only the
changes since it was last written out are. Owns no meaning of keys. Invariant: what it holds, and in which
order, is what a ``dict`` would after the same calls; a copy and what it was made of do not see each other's
changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, ItemsView, Iterator, Mapping, MutableMapping, ValuesView
from enum import Enum
from typing import Final, TypeVar

K = TypeVar("K")
V = TypeVar("V", bound=object)

CHANGES_MOST = 64
"""So many are copied along; then all of it is written out, once."""


class _Gone(Enum):
    GONE = 0


_GONE: Final = _Gone.GONE


class Layered(MutableMapping[K, V]):
    """As ``dict``, with its order; cheap to copy, a little dearer to read. No value is None."""

    __slots__ = ("_below", "_changes", "_kind", "_kinds")

    def __init__(self, items: Mapping[K, V], kind: Callable[[K], Hashable]) -> None:
        """``items`` must not change any more, unless it is one of these: then it is copied. How many keys
        there are of each ``kind`` is counted as they come and go."""
        self._kind = kind
        if isinstance(items, Layered):
            self._below: Mapping[K, V] = items._below
            self._changes: dict[K, V | _Gone] = dict(items._changes)
            self._kinds: dict[Hashable, int] = dict(items._kinds)
        else:
            self._below, self._changes, self._kinds = items, {}, dict(Counter(map(kind, items)))

    def __getitem__(self, key: K) -> V:
        found = self._changes.get(key)
        if found is None:
            return self._below[key]
        if found is _GONE:
            raise KeyError(key)
        return found

    def __contains__(self, key: object) -> bool:
        if key in self._changes:
            return self._changes[key] is not _GONE
        return key in self._below

    def __len__(self) -> int:
        return sum(self._kinds.values())

    def count(self, kind: Hashable) -> int:
        """How many keys there are of ``kind``."""
        return self._kinds.get(kind, 0)

    def __iter__(self) -> Iterator[K]:
        """Without writing it out: the first few are had cheaply."""
        for key in self._below:
            if self._changes.get(key) is not _GONE:
                yield key
        for key, value in self._changes.items():
            if value is not _GONE and key not in self._below:
                yield key

    def __setitem__(self, key: K, value: V) -> None:
        if self._changes.get(key) is _GONE:
            self._settle()  # it comes back at the end, not where it was
        if key not in self:
            self._tally(key, 1)
        self._changes[key] = value
        if len(self._changes) > CHANGES_MOST:
            self._settle()

    def __delitem__(self, key: K) -> None:
        if key not in self:
            raise KeyError(key)
        self._tally(key, -1)
        if key in self._below:
            self._changes[key] = _GONE
        else:
            del self._changes[key]
        if len(self._changes) > CHANGES_MOST:
            self._settle()

    def values(self) -> ValuesView[V]:
        self._settle()
        return self._below.values()

    def items(self) -> ItemsView[K, V]:
        self._settle()
        return self._below.items()

    def __repr__(self) -> str:
        return f"Layered({dict(self)!r})"

    def _tally(self, key: K, by: int) -> None:
        kind = self._kind(key)
        self._kinds[kind] = self._kinds.get(kind, 0) + by

    def _settle(self) -> None:
        """Write it out: the same things in the same order, without changes on top."""
        if not self._changes:
            return
        below = dict(self._below)
        for key, value in self._changes.items():
            if value is _GONE:
                below.pop(key, None)
            else:
                below[key] = value
        self._below = below  # first, so that whoever looks between the two sees the same
        self._changes = {}
