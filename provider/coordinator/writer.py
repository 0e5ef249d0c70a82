"""The one writer: requests in, committed steps out.

Requests that wait together are decided one after the other, committed in one transaction, then answered, then
published, so that a slow disk costs its latency once for all of them.

**Invariant:** ``book`` is what is on disk. Nobody hears of anything before it is there.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from provider.coordinator.book import Book
from provider.coordinator.market import Rules, transition
from provider.coordinator.market.requests import Reply, Request
from provider.coordinator.record import RecordEntry
from provider.coordinator.rows import Row
from provider.domain.errors import ProviderError, Temporary
from provider.domain.moment import Instant, Span

WAITING_MAX = 10_000
"""Requests that may wait: about half a second's worth on a slow disk. More are told to come again."""
BATCH_MAX = 512
"""Requests in one transaction: what is gained by more is below a percent (measured on WAL/FULL)."""


class Clock(Protocol):
    """The only time: ``ports.Clock`` as the coordinator knows it."""

    def now(self) -> Instant:
        """UTC, milliseconds."""

    async def sleep_until(self, instant: Instant) -> None:
        """Return at ``instant``, or at once if it is past; earlier where the clock is set back meanwhile."""


class BookKeeper(Protocol):
    """Where the book is kept: ``store.BookStore``, which documents both."""

    def commit(self, rows: Iterable[Row], *, version: int, at: Instant) -> None: ...

    def record(self, first: int, limit: int) -> tuple[RecordEntry, ...]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """What one transaction changed, from ``before`` to ``book``."""

    before: Book
    book: Book
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    request: Request
    answer: asyncio.Future[Reply]


class Writer:
    """Owns the store's thread. ``run`` it in a task; leaving it waits for the last commit."""

    def __init__(self, store: BookKeeper, book: Book, clock: Clock, rules: Rules) -> None:
        self.book = book
        self.publish: Callable[[Committed], None] = lambda _: None
        """Called after every commit, in order."""
        self._store = store
        self._clock = clock
        self._rules = rules
        self._waiting: deque[_Asked] = deque()
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="book")
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="record")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True)
        self._reader.shutdown(wait=True)

    async def ask(self, request: Request) -> Reply:
        """The market's reply, once what it changed is on disk. ``Temporary`` when too much waits."""
        if len(self._waiting) >= WAITING_MAX:
            raise Temporary("the market is overloaded", retry_after=Span(1_000))
        asked = _Asked(request=request, answer=asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        self._wake.set()
        return await asked.answer

    async def record(self, first: int, limit: int) -> tuple[RecordEntry, ...]:
        """Committed entries of the public record from number ``first``."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reader, self._store.record, first, limit)

    async def run(self) -> None:
        """Until cancelled, or until the disk fails for good: that is raised."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._waiting:
                    batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH_MAX))]
                    try:
                        await self._carry_out(batch)
                    finally:
                        _turn_away(batch, Temporary("the coordinator is stopping"))
        finally:
            _turn_away(self._waiting, Temporary("the coordinator is stopping"))
            self._waiting.clear()

    async def _carry_out(self, batch: list[_Asked]) -> None:
        """Decide, commit, answer, publish."""
        before, at = self.book, self._clock.now()
        book, rows = before, list[Row]()
        replies: list[tuple[_Asked, Reply]] = []
        for asked in batch:
            try:
                step = transition(book, asked.request, at, self._rules)
            except AssertionError as broken:
                # The book it would have made is dropped: a bug costs its own request and nobody else's.
                _fail(asked, broken)
                continue
            book = step.book
            rows += step.rows
            replies.append((asked, step.reply))
        if rows:
            try:
                await self._commit(rows, book)
            except Temporary as error:  # a full disk: nothing happened, and it may pass
                _turn_away(batch, error)
                return
        self.book = book
        for asked, reply in replies:
            if not asked.answer.done():  # whoever asked may have left
                asked.answer.set_result(reply)
        if rows:
            self.publish(Committed(before=before, book=book, rows=tuple(rows)))

    async def _commit(self, rows: list[Row], book: Book) -> None:
        def commit() -> None:
            self._store.commit(rows, version=book.version, at=book.at)

        await asyncio.get_running_loop().run_in_executor(self._thread, commit)


def _turn_away(asked: Iterable[_Asked], error: ProviderError) -> None:
    for each in asked:
        _fail(each, error)


def _fail(asked: _Asked, error: Exception) -> None:
    if not asked.answer.done():
        asked.answer.set_exception(error)
