"""The one writer: together into one transaction, nothing told before it is on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import pytest

from provider.adapters.clock import SystemClock
from provider.coordinator.market import Rules
from provider.coordinator.market.requests import Fund, Funded, Request
from provider.coordinator.record import RecordEntry
from provider.coordinator.rows import Row
from provider.coordinator.store import BookStore
from provider.coordinator.writer import Committed, Writer
from provider.domain.errors import Permanent, ProviderError, Temporary
from provider.domain.moment import Instant
from tests.market import ALICE, uact


class WatchedStore:
    """A real store that counts its commits, and fails the next one with ``failure``."""

    def __init__(self, store: BookStore) -> None:
        self.store = store
        self.commits: list[int] = []
        self.failure: ProviderError | None = None

    def commit(self, rows: Iterable[Row], *, version: int, at: Instant) -> None:
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure
        written = list(rows)
        self.store.commit(written, version=version, at=at)
        self.commits.append(len(written))

    def record(self, first: int, limit: int) -> tuple[RecordEntry, ...]:
        return self.store.record(first, limit)


def fund(number: int, amount: int = 1) -> Fund:
    return Fund(key=f"fund-{number}", owner=ALICE, amount=uact(amount))


Body = Callable[[Writer, WatchedStore], Awaitable[None]]


def with_writer(folder: Path, body: Body) -> None:
    async def run() -> None:
        inner = BookStore.open(folder / "market.db")
        loaded = inner.load("test", b"salt")
        store = WatchedStore(inner)
        with Writer(store, loaded, SystemClock(), Rules()) as writer:
            async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
                running = tasks.create_task(writer.run())
                await body(writer, store)
                running.cancel()
        inner.close()

    asyncio.run(run())


def test_requests_that_wait_together_are_committed_together_and_answered_each(tmp_path: Path) -> None:
    async def body(writer: Writer, store: WatchedStore) -> None:
        replies = await asyncio.gather(*(writer.ask(fund(number)) for number in range(100)))
        assert replies == [Funded(available=uact(number + 1)) for number in range(100)]
        assert len(store.commits) <= 2
        assert store.store.load("test", b"salt") == writer.book

    with_writer(tmp_path, body)


def test_nobody_hears_of_anything_before_it_is_on_disk(tmp_path: Path) -> None:
    async def body(writer: Writer, store: WatchedStore) -> None:
        heard: list[bool] = []

        def publish(committed: Committed) -> None:
            heard.append(store.store.load("test", b"salt") == committed.book == writer.book)

        writer.publish = publish
        await writer.ask(fund(1))
        await writer.ask(fund(1))
        assert heard == [True], "a repeat changes nothing, and nobody is told of it"

    with_writer(tmp_path, body)


def test_a_full_disk_is_told_to_whoever_asked_and_nothing_has_happened(tmp_path: Path) -> None:
    async def body(writer: Writer, store: WatchedStore) -> None:
        before = writer.book
        store.failure = Temporary("the disk is full")
        with pytest.raises(Temporary, match="the disk is full"):
            await writer.ask(fund(1))
        assert writer.book is before
        assert await writer.ask(fund(1)) == Funded(available=uact(1))

    with_writer(tmp_path, body)


def test_a_disk_that_fails_for_good_ends_the_writer(tmp_path: Path) -> None:
    async def body(writer: Writer, store: WatchedStore) -> None:
        store.failure = Permanent("the disk failed")
        with pytest.raises(Temporary, match="the coordinator is stopping"):
            await writer.ask(fund(1))
        await asyncio.Event().wait()

    with pytest.raises(BaseExceptionGroup) as caught:
        with_writer(tmp_path, body)
    assert caught.group_contains(Permanent, match="the disk failed")


def test_a_broken_invariant_costs_its_own_request_alone(tmp_path: Path) -> None:
    async def body(writer: Writer, store: WatchedStore) -> None:
        unheard_of: Request = object()  # type: ignore[assignment]  # as a bug would make it
        answers = await asyncio.gather(writer.ask(unheard_of), writer.ask(fund(1)), return_exceptions=True)
        assert [type(answer) for answer in answers] == [AssertionError, Funded]

    with_writer(tmp_path, body)


def test_who_waits_when_the_writer_ends_is_turned_away(tmp_path: Path) -> None:
    async def run() -> None:
        store = BookStore.open(tmp_path / "market.db")
        with Writer(store, store.load("test", b"salt"), SystemClock(), Rules()) as writer:
            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(writer.run())
                asking = tasks.create_task(writer.ask(fund(1)))
                await asyncio.sleep(0)
                running.cancel()
                with pytest.raises(Temporary, match="the coordinator is stopping"):
                    await asking
        store.close()

    with pytest.raises(BaseExceptionGroup):
        asyncio.run(run())
