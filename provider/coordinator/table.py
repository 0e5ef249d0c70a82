"""An immutable mapping whose copies share: putting one key costs about the same at ten rows and at a million.

Rows are spread over 256 small dicts by their key's hash, and a put copies one of them. Plain dicts would
be copied whole at each of the several puts of a transition. Iteration has no meaningful order: sort what is
shown.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_SHARDS = 256


@dataclass(frozen=True, slots=True)
class Table(Generic[K, V]):
    """Never changed in place. Two tables with the same rows are equal."""

    _shards: tuple[dict[K, V], ...] = ({},) * _SHARDS

    def __getitem__(self, key: K) -> V:
        return self._shards[hash(key) % _SHARDS][key]

    def get(self, key: K) -> V | None:
        return self._shards[hash(key) % _SHARDS].get(key)

    def __contains__(self, key: K) -> bool:
        return key in self._shards[hash(key) % _SHARDS]

    def __len__(self) -> int:
        return sum(map(len, self._shards))

    def __iter__(self) -> Iterator[K]:
        return (key for shard in self._shards for key in shard)

    def values(self) -> Iterator[V]:
        return (value for shard in self._shards for value in shard.values())

    def put(self, key: K, value: V) -> Table[K, V]:
        """The same with ``key`` at ``value``."""
        return self._with(key, {**self._shards[hash(key) % _SHARDS], key: value})

    def without(self, key: K) -> Table[K, V]:
        """The same without ``key``; fine when it is absent."""
        shard = self._shards[hash(key) % _SHARDS]
        if key not in shard:
            return self
        return self._with(key, {each: value for each, value in shard.items() if each != key})

    def _with(self, key: K, shard: dict[K, V]) -> Table[K, V]:
        index = hash(key) % _SHARDS
        return Table((*self._shards[:index], shard, *self._shards[index + 1 :]))
