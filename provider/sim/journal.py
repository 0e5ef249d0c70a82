"""``ports.Journal`` in memory, bounded as the real one is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from provider.domain.ids import LeaseId
from provider.domain.journal import EventKind, Happening, LeaseEvent
from provider.domain.moment import Instant


class MemoryJournal:
    def __init__(self, *, keep_s: int = 86_400, events_per_lease: int = 500) -> None:
        self._keep_s = keep_s
        self._most = events_per_lease
        self._events: dict[LeaseId, list[LeaseEvent]] = {}
        self._closed: dict[LeaseId, Instant] = {}
        self._news = asyncio.Event()

    def append(self, lease: LeaseId, happening: Happening) -> None:
        known = self._events.setdefault(lease, [])
        known.append(LeaseEvent(number=known[-1].number + 1 if known else 1, happening=happening))
        del known[: -self._most]
        if happening.kind is EventKind.CLOSED:
            self._closed[lease] = happening.at
            for each in [each for each in self._closed if not self.knows(each, happening.at)]:
                del self._closed[each], self._events[each]
        news, self._news = self._news, asyncio.Event()
        news.set()

    def knows(self, lease: LeaseId, at: Instant) -> bool:
        closed = self._closed.get(lease)
        return lease in self._events and (closed is None or closed + self._keep_s * 1000 >= at)

    def read(self, lease: LeaseId, after: int) -> tuple[LeaseEvent, ...]:
        return tuple(event for event in self._events.get(lease, ()) if event.number > after)

    async def follow(self, lease: LeaseId, after: int) -> AsyncIterator[LeaseEvent]:
        while True:
            news = self._news
            for event in self.read(lease, after):
                yield event
                after = event.number
                if event.happening.kind is EventKind.CLOSED:
                    return
            await news.wait()
