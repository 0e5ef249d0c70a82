"""What every Journal promises: one suite, run against memory and SQLite."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from provider.adapters.journal import JournalSettings, SqliteJournal
from provider.domain.journal import EventKind, Happening
from provider.domain.moment import Instant
from provider.ports import Journal
from provider.sim.journal import MemoryJournal
from tests.launches import lease_id

KEEP_S, MOST = 60, 5
Make = Callable[[], Journal]


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Called inside a running loop, as the daemon does."""
    if request.param == "memory":
        return lambda: MemoryJournal(keep_s=KEEP_S, events_per_lease=MOST)
    settings = JournalSettings(path=tmp_path / "journal.db", keep_s=KEEP_S, events_per_lease=MOST)
    return lambda: SqliteJournal(settings)


def happening(at: int, kind: EventKind = EventKind.EXITED, text: str = "") -> Happening:
    return Happening(at=Instant(at), kind=kind, text=text, service="web", replica=1)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(10):
            await scenario()

    asyncio.run(bounded())


def test_events_are_numbered_for_each_lease_and_read_from_a_number_on(make: Make) -> None:
    async def scenario() -> None:
        journal, one, other = make(), lease_id(), lease_id()
        journal.append(one, happening(1))
        journal.append(other, happening(2))
        journal.append(one, happening(3, text="twice"))
        told = [(event.number, event.happening) for event in journal.read(one, 0)]
        assert told == [(1, happening(1)), (2, happening(3, text="twice"))]
        assert [event.number for event in journal.read(one, 1)] == [2]
        assert [event.number for event in journal.read(other, 0)] == [1]
        assert journal.read(lease_id(), 0) == ()

    run(scenario)


def test_the_oldest_events_of_a_lease_go_first_and_numbers_go_on(make: Make) -> None:
    async def scenario() -> None:
        journal, lease = make(), lease_id()
        for at in range(1, 4 * MOST):
            journal.append(lease, happening(at))
        assert [event.number for event in journal.read(lease, 0)] == list(range(3 * MOST, 4 * MOST))

    run(scenario)


def test_a_lease_is_known_until_a_while_after_its_end_and_then_gone(make: Make) -> None:
    async def scenario() -> None:
        journal, lease, other = make(), lease_id(), lease_id()
        end = Instant(1_000_000)
        assert not journal.knows(lease, end)
        journal.append(lease, happening(1))
        assert journal.knows(lease, Instant(end * 1000))
        journal.append(lease, happening(end, EventKind.CLOSED))
        assert journal.knows(lease, Instant(end + KEEP_S * 1000))
        assert not journal.knows(lease, Instant(end + KEEP_S * 1000 + 1))
        journal.append(other, happening(end + KEEP_S * 1000 + 1, EventKind.CLOSED))
        assert journal.read(lease, 0) == ()
        assert len(journal.read(other, 0)) == 1

    run(scenario)


def test_a_follower_hears_everything_once_and_is_done_with_the_last(make: Make) -> None:
    async def scenario() -> None:
        journal, lease = make(), lease_id()
        heard: list[int] = []

        async def follow() -> None:
            async for event in journal.follow(lease, 1):
                heard.append(event.number)

        journal.append(lease, happening(1))
        journal.append(lease, happening(2))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(follow())
            for at in range(3, 3 + MOST):
                await asyncio.sleep(0)
                journal.append(lease, happening(at))
                await asyncio.sleep(0)
            journal.append(lease_id(), happening(8, EventKind.CLOSED))
            journal.append(lease, happening(9, EventKind.CLOSED))
        assert heard == list(range(2, 4 + MOST))

    run(scenario)
