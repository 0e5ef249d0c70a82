"""The agents' sessions: who is connected, and what each is still to be sent.

Owns the feed of changes and the live sessions' queues. Does not own the streams (``servicers/session.py``)
nor what a provider is told (``market/notices.py``). Everything here happens between two awaits, so a session
that opens misses nothing between what it catches up on and what it hears live.

**Invariant:** one live session a provider, the one with the highest epoch; each is sent versions in order.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from provider.coordinator.book import Book
from provider.coordinator.market.notices import Notice, notice
from provider.coordinator.rows import BidRow, LeaseRow, LeaseUnknown, OrderRow, Visible
from provider.coordinator.writer import Committed
from provider.domain.errors import ProviderError, Temporary
from provider.domain.ids import LeaseId, OrderId, ProviderId
from provider.domain.moment import Instant

QUEUE_MAX = 10_000
"""Live changes that may wait for one slow agent. More, and it may come again and catch up instead."""

_Key = tuple[type[Visible], OrderId | LeaseId]
SCREENING = "screening_wanted"
Hint = dict[str, Any]
"""The one field of a message that is kept nowhere: who waits for what comes of it asks again."""


class Feed:
    """Every visible row of the book, by version, the highest last."""

    def __init__(self, book: Book) -> None:
        self._rows: OrderedDict[_Key, Visible] = OrderedDict()
        bids = (bid for of_order in book.bids.values() for bid in of_order)
        self.add((*book.orders.values(), *bids, *book.leases.values()))

    def add(self, rows: Iterable[Visible]) -> list[Visible]:
        """Take ``rows`` in; return them in the order of their versions, each one's last state only."""
        last = {_key(row): row for row in rows if row.version}
        ordered = sorted(last.values(), key=lambda row: row.version)
        for row in ordered:
            if isinstance(row, LeaseUnknown):
                continue
            known = self._rows.get(_key(row))
            self._rows[_key(row)] = row
            if known is None or known.version != row.version:
                # Only then: a row that changed without a new version would hide the newer ones before it.
                self._rows.move_to_end(_key(row))
        return ordered

    def since(self, version: int) -> list[Visible]:
        """Rows that changed after ``version``, oldest first. Costs what it returns."""
        found = []
        for row in reversed(self._rows.values()):
            if row.version <= version:
                break
            found.append(row)
        return found[::-1]


class Told:
    """A notice, and its wire form once somebody has made it: the same for all who are told."""

    __slots__ = ("body", "notice")

    def __init__(self, notice: Notice) -> None:
        self.notice = notice
        self.body: dict[str, Any] | None = None


class Outgoing:
    """What one session is to be sent."""

    def __init__(self, epoch: int, notices: Iterable[Notice], *, screens: bool = False) -> None:
        self.epoch = epoch
        self.screens = screens
        """Whether the agent answers screenings."""
        self.waiting = deque(map(Told, notices))
        self.wake = asyncio.Event()
        self.end: ProviderError | None = None
        """Why the session is over; None while it is not."""
        self.is_stopping = False
        """The coordinator says goodbye, and the agent is to leave."""
        self.hints: deque[Hint] = deque()
        """Tunnels that the provider is to take up, screenings that it is to answer."""
        self._most = len(self.waiting) + QUEUE_MAX

    def push(self, told: Told) -> None:
        self.waiting.append(told)
        if len(self.waiting) > self._most:
            self.close(Temporary("this agent takes in changes too slowly"))
        self.wake.set()

    def hint(self, hint: Hint) -> None:
        """Nothing where the agent would not know what is meant."""
        if self.screens or SCREENING not in hint:
            self.hints.append(hint)
            self.wake.set()

    def close(self, why: ProviderError) -> None:
        """The first reason counts."""
        self.end = self.end or why
        self.wake.set()


class Sessions:
    """All live sessions of one market."""

    def __init__(self, book: Book, superseded: ProviderError) -> None:
        self.seen: dict[ProviderId, Instant] = {}
        """When each provider last said anything."""
        self._feed = Feed(book)
        self._live: dict[ProviderId, Outgoing] = {}
        self._wanted: defaultdict[ProviderId, dict[str, Hint]] = defaultdict(dict)
        """What somebody waits for, by name: tunnels and screenings."""
        self._superseded = superseded
        self._empty = asyncio.Event()
        self._empty.set()
        self._is_stopping = False

    def __contains__(self, provider: ProviderId) -> bool:
        return provider in self._live

    def screens(self, provider: ProviderId) -> bool:
        """Whether it is here, and answers screenings."""
        return (current := self._live.get(provider)) is not None and current.screens

    def open(
        self, book: Book, provider: ProviderId, epoch: int, since: int, *, screens: bool = False
    ) -> Outgoing:
        """A session that knows everything up to version ``since``; it ends an older one."""
        rows = self._feed.since(since)
        missed = (notice(book, row, provider, since=since) for row in rows)
        outgoing = Outgoing(epoch, (each for each in missed if each is not None), screens=screens)
        current = self._live.get(provider)
        if current is not None and current.epoch > epoch:
            outgoing.close(self._superseded)
            return outgoing
        if current is not None:
            current.close(self._superseded)
        outgoing.is_stopping = self._is_stopping
        for hint in self._wanted.get(provider, {}).values():
            outgoing.hint(hint)
        self._live[provider] = outgoing
        self._empty.clear()
        return outgoing

    def left(self, provider: ProviderId, outgoing: Outgoing) -> None:
        """A session is over; fine if a newer one has its place."""
        if self._live.get(provider) is outgoing:
            del self._live[provider]
        if not self._live:
            self._empty.set()

    @contextmanager
    def wanting(self, provider: ProviderId, name: str, hint: Hint) -> Iterator[None]:
        """Send ``provider`` a hint, and again in each session that begins meanwhile; ``name`` is its own."""
        self._wanted[provider][name] = hint
        if (current := self._live.get(provider)) is not None:
            current.hint(hint)
        try:
            yield
        finally:
            self._wanted[provider].pop(name, None)
            if not self._wanted[provider]:
                del self._wanted[provider]

    def publish(self, committed: Committed) -> None:
        """Tell every live session what concerns it."""
        before = committed.before.version
        rows = (row for row in committed.rows if isinstance(row, OrderRow | BidRow | LeaseRow | LeaseUnknown))
        for row in self._feed.add(rows):
            if row.version <= before:
                continue  # changed in a way that providers are not told of
            shared: dict[type[Notice], Told] = {}
            for provider, outgoing in self._live.items():
                found = notice(committed.book, row, provider, since=before)
                if found is not None:
                    # Of one row, notices of one kind are equal, whoever is told.
                    outgoing.push(shared.setdefault(type(found), Told(found)))

    async def stop(self) -> None:
        """Ask all agents to leave; returns when they have."""
        self._is_stopping = True
        for outgoing in self._live.values():
            outgoing.is_stopping = True
            outgoing.wake.set()
        await self._empty.wait()


def _key(row: Visible) -> _Key:
    match row:
        case OrderRow():
            return OrderRow, row.order.id
        case BidRow():
            return BidRow, row.bid.id
        case LeaseRow():
            return LeaseRow, row.id
        case LeaseUnknown():
            return LeaseUnknown, row.lease
