"""What every TallyBook promises: one suite, run against memory and SQLite."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from provider.adapters.usage import SqliteTallies, TallySettings
from provider.core.attribution import CardTally, ReplicaTally, Tally
from provider.domain.ids import GpuUuid, LeaseId
from provider.domain.moment import Instant
from provider.domain.usage import UsageCounter
from provider.ports import TallyBook
from provider.sim.usage import MemoryTallies
from tests.launches import lease_id

KEEP_S = 60


@pytest.fixture(params=["memory", "sqlite"])
def book(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TallyBook]:
    if request.param == "memory":
        yield MemoryTallies(keep_s=KEEP_S)
        return
    tallies = SqliteTallies(TallySettings(path=tmp_path / "usage.db", keep_s=KEEP_S))
    yield tallies
    tallies.close()


def tally(lease: LeaseId, used: int = 5) -> Tally:
    return Tally(
        lease=lease,
        at=Instant(used),
        cards=(
            CardTally(
                uuid=GpuUuid("GPU-1"), busy_s=1.5, energy_joules=2.5, energy_mark=9.0, is_estimated=True
            ),
            CardTally(uuid=GpuUuid("GPU-2")),
        ),
        replicas=(
            ReplicaTally(
                service="web",
                replica=3,
                run="c1@7",
                former="c0@1",
                restarts=2,
                marks={UsageCounter.CPU_US: used},
                totals={UsageCounter.CPU_US: 10**15 + used, UsageCounter.OOM_KILLS: 0},
            ),
        ),
    )


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(10):
            await scenario()

    asyncio.run(bounded())


def test_what_was_saved_is_loaded_whole_and_by_lease(book: TallyBook) -> None:
    async def scenario() -> None:
        one, other = lease_id(), lease_id()
        assert await book.load() == ()
        await book.save((tally(other), tally(one)))
        assert await book.load() == (tally(one), tally(other))

    run(scenario)


def test_the_last_save_stands(book: TallyBook) -> None:
    async def scenario() -> None:
        lease = lease_id()
        await book.save((tally(lease, 1),))
        await book.save(())
        await book.save((tally(lease, 2),))
        assert await book.load() == (tally(lease, 2),)

    run(scenario)


def test_a_closed_lease_is_not_loaded_and_closing_may_be_repeated(book: TallyBook) -> None:
    async def scenario() -> None:
        lease, other = lease_id(), lease_id()
        await book.save((tally(lease), tally(other)))
        await book.close_lease(lease, Instant(0))
        await book.close_lease(lease, Instant(0))
        await book.close_lease(lease_id(), Instant(0))
        assert await book.load() == (tally(other),)

    run(scenario)


def test_rows_go_some_time_after_the_end(tmp_path: Path) -> None:
    async def scenario() -> None:
        memory = MemoryTallies(keep_s=KEEP_S)
        path = tmp_path / "usage.db"
        sqlite = SqliteTallies(TallySettings(path=path, keep_s=KEEP_S))
        for number in range(50):
            lease = lease_id()
            for each in (memory, sqlite):
                await each.save((tally(lease),))
                await each.close_lease(lease, Instant(number * 10_000))
        assert memory.held == KEEP_S // 10 + 1
        sqlite.close()
        assert rows(path) == KEEP_S // 10 + 1

    run(scenario)


def rows(path: Path) -> int:
    ((count,),) = sqlite3.connect(path).execute("SELECT count(*) FROM tally").fetchall()
    return int(count)
