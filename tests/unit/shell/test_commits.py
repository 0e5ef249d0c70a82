"""Commits: on the event loop while the disk is quick, beside it while it is not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from provider.core.agent import transition
from provider.core.effects import Effect
from provider.core.state import AgentState
from provider.core.step import Step
from provider.domain.errors import Temporary
from provider.shell.commits import QUICK_IN_A_ROW, SLOW_S, PatientCommits
from provider.sim.store import MemoryStore
from tests.agents import POLICY, START, gpu, node, nodes_read

STEP = transition(AgentState(policy=POLICY), nodes_read(node(gpu(0))), START)


class Disk:
    """Takes as long as it is told, by a clock that only it turns; notes in which thread."""

    def __init__(self) -> None:
        self.memory = MemoryStore(POLICY)
        self.now_s = 0.0
        self.takes_s = 0.0
        self.threads: list[bool] = []
        """Whether it was the main one."""
        self.fails: Exception | None = None
        self.reached = threading.Event()
        self.goes_on = threading.Event()
        self.goes_on.set()

    def load(self) -> tuple[AgentState, tuple[Effect, ...]]:
        return self.memory.load()

    def commit(self, steps: Sequence[Step]) -> None:
        self.threads.append(threading.current_thread() is threading.main_thread())
        self.now_s += self.takes_s
        self.reached.set()
        assert self.goes_on.wait(10), "somebody lets it go on"
        if self.fails:
            raise self.fails
        self.memory.commit(steps)


async def commit(commits: PatientCommits, times: int = 1) -> None:
    for _ in range(times):
        await commits.commit([STEP])


async def held_up(commits: PatientCommits, disk: Disk) -> asyncio.Task[None]:
    """A commit that is in its thread and goes on when ``disk`` does."""
    disk.takes_s = 2 * SLOW_S
    await commit(commits)
    disk.reached.clear()
    disk.goes_on.clear()
    writing = asyncio.create_task(commit(commits))
    assert await asyncio.to_thread(disk.reached.wait, 10)
    return writing


def test_a_quick_disk_is_waited_for_on_the_loop() -> None:
    disk = Disk()
    disk.takes_s = SLOW_S / 2
    asyncio.run(commit(PatientCommits(disk, lambda: disk.now_s), 100))
    assert disk.threads == [True] * 100


def test_after_a_slow_commit_the_next_are_made_in_a_thread_until_so_many_were_quick() -> None:
    async def body() -> None:
        disk.takes_s = 2 * SLOW_S
        await commit(commits, 2)
        disk.takes_s = SLOW_S / 2
        await commit(commits, QUICK_IN_A_ROW - 1)
        disk.takes_s = 2 * SLOW_S
        await commit(commits)
        disk.takes_s = SLOW_S / 2
        await commit(commits, QUICK_IN_A_ROW + 3)

    disk = Disk()
    commits = PatientCommits(disk, lambda: disk.now_s)
    asyncio.run(body())
    commits.close()
    in_thread = 1 + (QUICK_IN_A_ROW - 1) + 1 + QUICK_IN_A_ROW
    assert disk.threads == [True] + [False] * in_thread + [True] * 3


def test_a_failure_that_took_its_time_counts_and_comes_through_from_the_thread() -> None:
    async def body() -> None:
        disk.takes_s = 2 * SLOW_S
        for _ in range(2):
            disk.fails = Temporary("the disk is full")
            with pytest.raises(Temporary, match="full"):
                await commit(commits)
        disk.fails = None
        await commit(commits)

    disk = Disk()
    commits = PatientCommits(disk, lambda: disk.now_s)
    asyncio.run(body())
    commits.close()
    assert disk.threads == [True, False, False]
    assert disk.load()[0].policy == POLICY


def test_while_a_slow_disk_writes_all_else_goes_on() -> None:
    async def body() -> None:
        writing = await held_up(commits, disk)
        assert not writing.done(), "it waits for the disk, and this runs"
        disk.goes_on.set()
        await asyncio.wait_for(writing, 10)

    disk = Disk()
    commits = PatientCommits(disk, lambda: disk.now_s)
    asyncio.run(body())
    commits.close()


def test_closing_waits_for_a_commit_that_nobody_waits_for_any_more() -> None:
    async def body() -> None:
        writing = await held_up(commits, disk)
        writing.cancel()
        await asyncio.wait({writing}, timeout=10)
        assert writing.cancelled()
        closing = asyncio.create_task(asyncio.to_thread(commits.close))
        await asyncio.wait({closing}, timeout=0.05)
        assert not closing.done()
        disk.goes_on.set()
        await asyncio.wait_for(closing, 10)

    disk = Disk()
    commits = PatientCommits(disk, lambda: disk.now_s)
    asyncio.run(body())
