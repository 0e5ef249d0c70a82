"""How often the driver reported which error of which card, since the daemon started.

Owns the counts. What an error means is ``core.xids``'s. Invariant: bounded, whatever numbers a driver makes
up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from provider.domain.gpu_health import XidClass
from provider.domain.ids import GpuUuid
from provider.domain.moment import Instant

KINDS_MOST = 64
"""Numbers of one card that are told apart; NVIDIA's catalogue has some 120, a card has a few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardXids:
    """Of one card."""

    counts: Mapping[tuple[int, XidClass], int] = field(default_factory=dict)
    last: Instant
    last_xid: int


class GpuXids:
    """Of every card."""

    def __init__(self) -> None:
        self._counts: dict[GpuUuid, Counter[tuple[int, XidClass]]] = {}
        self._last: dict[GpuUuid, tuple[Instant, int]] = {}

    def note(self, uuid: GpuUuid, xid: int, kind: XidClass, count: int, at: Instant) -> None:
        """The driver reported ``count`` of one kind."""
        counts = self._counts.setdefault(uuid, Counter())
        if (xid, kind) in counts or len(counts) < KINDS_MOST:
            counts[xid, kind] += count
        self._last[uuid] = at, xid

    def keep_only(self, uuids: Collection[GpuUuid]) -> None:
        """Forget cards that are gone."""
        for uuid in self._counts.keys() - set(uuids):
            del self._counts[uuid], self._last[uuid]

    def now(self) -> Mapping[GpuUuid, CardXids]:
        """A copy, which stays as it is."""
        return {
            uuid: CardXids(counts=dict(counts), last=self._last[uuid][0], last_xid=self._last[uuid][1])
            for uuid, counts in self._counts.items()
        }
