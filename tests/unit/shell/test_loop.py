"""The loop: commit before anything is seen, in batches, bounded, awake when the core asked to be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from provider.core.effects import Effect
from provider.core.events import (
    CoordinatorConnected,
    CoordinatorLost,
    Event,
    LeaseAwarded,
    NodesRead,
    OrderOpened,
    TimeReached,
)
from provider.core.state import AgentState
from provider.core.step import Step
from provider.domain.errors import Permanent, Temporary
from provider.domain.market import Award
from provider.domain.moment import HOUR, MINUTE, SECOND, Instant
from provider.shell.commits import InlineCommits
from provider.shell.loop import BATCH_MOST, INBOX_MOST, Loop
from provider.sim import vtime
from provider.sim.clock import EPOCH, LoopClock
from provider.sim.store import MemoryStore
from tests.agents import HASH, POLICY, gpu, node, nodes_read, order

LOST = CoordinatorLost(why="gone")


class Watched:
    """A store, an observer and lanes that write down who was called when."""

    def __init__(self) -> None:
        self.memory = MemoryStore(POLICY)
        self.seen: list[str] = []
        self.batches: list[int] = []
        self.events: list[tuple[Instant, Event]] = []
        self.fails: Exception | None = None

    def load(self) -> tuple[AgentState, tuple[Effect, ...]]:
        return self.memory.load()

    def commit(self, steps: Sequence[Step]) -> None:
        if self.fails:
            raise self.fails
        self.seen.append("commit")
        self.batches.append(len(steps))
        self.memory.commit(steps)

    def step(self, event: Event, step: Step, at: Instant, took_us: int) -> None:
        self.seen.append(f"observe {type(event).__name__}")
        self.events.append((at, event))

    def submit(self, effects: Sequence[Effect]) -> None:
        self.seen += [f"perform {type(effect).__name__}" for effect in effects]


def looping(body: Callable[[Loop, Watched], Awaitable[None]]) -> Watched:
    async def main() -> Watched:
        watched = Watched()
        lanes: Any = watched
        loop = Loop(AgentState(policy=POLICY), InlineCommits(watched), LoopClock(), watched)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(loop.run(lanes))
            await body(loop, watched)
            running.cancel()
        return watched

    return vtime.run(main())


def read() -> NodesRead:
    return nodes_read(node(gpu(0)))


def test_commit_then_acknowledge_then_observe_then_perform() -> None:
    async def body(loop: Loop, watched: Watched) -> None:
        await loop.submit(read())
        watched.seen.clear()
        await loop.put(OrderOpened(order=order(), version=1), lambda: watched.seen.append("acknowledge"))
        await loop.submit(LOST)
        assert loop.state.bids

    seen = looping(body).seen
    assert seen[:5] == [
        "commit",
        "acknowledge",
        "observe OrderOpened",
        "observe CoordinatorLost",
        "perform PlaceBid",
    ]


def test_bids_alone_are_on_their_way_before_all_else_but_the_commit() -> None:
    async def body(loop: Loop, watched: Watched) -> None:
        await loop.submit(read())
        watched.seen.clear()
        await loop.put(OrderOpened(order=order(), version=1), lambda: watched.seen.append("acknowledge"))
        await asyncio.sleep(1)

    assert looping(body).seen == ["commit", "perform PlaceBid", "acknowledge", "observe OrderOpened"]


def test_a_store_that_is_full_is_asked_again_and_nothing_is_seen_before() -> None:
    """A full disk is no reason to end: what came in waits, and what would follow too."""

    async def body(loop: Loop, watched: Watched) -> None:
        watched.fails = Temporary("the disk is full")
        opened = OrderOpened(order=order(), version=1)
        await loop.put(opened, lambda: watched.seen.append("acknowledge"))
        await asyncio.sleep(HOUR / SECOND)
        assert watched.seen == []
        assert loop.state == AgentState(policy=POLICY)
        watched.fails = None
        await loop.submit(LOST)
        assert watched.seen[:3] == ["commit", "acknowledge", "observe OrderOpened"]

    looping(body)


def test_a_store_that_is_broken_ends_the_loop() -> None:
    async def main(watched: Watched) -> None:
        lanes: Any = watched
        loop = Loop(AgentState(policy=POLICY), InlineCommits(watched), LoopClock(), watched)
        await loop.put(LOST, lambda: watched.seen.append("acknowledge"))
        watched.fails = Permanent("the disk failed")
        await loop.run(lanes)

    watched = Watched()
    with pytest.raises(ExceptionGroup, match="TaskGroup"):
        vtime.run(main(watched))
    assert watched.seen == []


def test_events_that_wait_together_are_committed_together_and_within_bounds() -> None:
    async def body(loop: Loop, _: Watched) -> None:
        for _each in range(BATCH_MOST + 10):
            await loop.put(LOST)
        await loop.submit(LOST)

    assert looping(body).batches == [BATCH_MOST, 11]


def test_what_keeps_coming_shares_the_transaction() -> None:
    """As a link brings it: one message a turn of the event loop."""

    async def body(loop: Loop, _: Watched) -> None:
        for _each in range(20):
            await loop.put(LOST)
            await asyncio.sleep(0)
        await loop.submit(LOST)

    batches = looping(body).batches
    assert sum(batches) == 21
    assert len(batches) <= 3


def test_what_comes_out_of_silence_is_not_held_up() -> None:
    async def body(loop: Loop, watched: Watched) -> None:
        for _each in range(3):
            await asyncio.sleep(1)
            before = len(watched.batches)
            await loop.put(LOST)
            await asyncio.sleep(0)
            assert len(watched.batches) == before + 1

    looping(body)


def test_a_step_answers_whoever_asked() -> None:
    async def body(loop: Loop, _: Watched) -> None:
        first, second = await asyncio.gather(
            loop.submit(CoordinatorConnected(market="m", epoch=1)), loop.submit(LOST)
        )
        assert (first.state.connected, second.state.connected) == (True, False)
        assert loop.state.link_problem == "gone"

    looping(body)


def test_a_full_inbox_turns_tenants_away_and_lets_sources_wait() -> None:
    async def body(loop: Loop, watched: Watched) -> None:
        for _ in range(INBOX_MOST):
            await loop.put(LOST)
        with pytest.raises(Temporary, match="too many events wait"):
            await loop.submit(LOST)
        async with asyncio.TaskGroup() as group:
            late = [group.create_task(loop.put(LOST)) for _ in range(5)]
            await asyncio.wait(late)
        await loop.submit(LOST)
        assert sum(watched.batches) == INBOX_MOST + 6

    looping(body)


@pytest.mark.parametrize("turns", [2, 4, 6])
def test_a_timer_that_falls_due_while_the_inbox_is_full_waits_like_any_source(turns: int) -> None:
    """How many turns the waking takes is asyncio's affair: one of these hits the full inbox."""

    async def body(loop: Loop, watched: Watched) -> None:
        await loop.submit(read())
        await loop.submit(OrderOpened(order=order(), version=1))
        await asyncio.sleep(5 * MINUTE / 1000)
        for _ in range(turns):
            await asyncio.sleep(0)
        async with asyncio.TaskGroup() as group:
            for _ in range(INBOX_MOST + 1000):
                group.create_task(loop.put(LOST))
        await loop.submit(LOST)
        assert TimeReached() in [event for _, event in watched.events]
        assert loop.state.bids == {}

    looping(body)


def test_the_core_is_woken_at_the_instant_it_asked_for() -> None:
    async def body(loop: Loop, watched: Watched) -> None:
        await loop.submit(read())
        await asyncio.sleep(60)
        await loop.submit(OrderOpened(order=order(), version=1))
        await asyncio.sleep(1000)
        assert [at - EPOCH for at, event in watched.events if isinstance(event, TimeReached)] == [6 * MINUTE]
        assert loop.state.bids == {}

    looping(body)


def test_an_earlier_instant_wakes_it_earlier() -> None:
    async def body(loop: Loop, watched: Watched) -> None:
        await loop.submit(read())
        for number in (1, 2):
            await loop.submit(OrderOpened(order=order(number), version=number))
        await asyncio.sleep(200)
        lease = order(1).id.lease(POLICY.provider)
        bid = loop.state.bids[lease].bid
        award = Award(id=lease, rate=bid.rate, manifest_hash=HASH, confirm_by=EPOCH)
        await loop.submit(LeaseAwarded(award=award, version=3))
        await asyncio.sleep(1000)
        woken = [at - EPOCH for at, event in watched.events if isinstance(event, TimeReached)]
        assert woken == [8 * MINUTE + 20 * 1000], "the order that waited was bid on when the first one won"

    looping(body)


def test_whoever_stops_waiting_for_an_answer_stops_nobody_else() -> None:
    async def body(loop: Loop, watched: Watched) -> None:
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(loop.submit(LOST))
            await asyncio.sleep(0)
            asking.cancel()
        await loop.submit(LOST)
        assert len(watched.events) == 2

    looping(body)
