"""The single writer: every event passes here, one at a time, and nothing else changes the state.

The order is the promise (etcd-raft's): transition, then commit state and effects in one transaction,
then observe, then perform. Bids alone are on their way before all else: their market may take the first that
comes, and to tell of one takes as long as to decide on it. Events that wait together are committed
together, so a slow disk costs its latency once. A store that cannot take it now (its disk is full) is asked
again and nothing else happens meanwhile. Invariant: no effect is performed, no message acknowledged and no
question answered before what led to it is committed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter_ns

import structlog

from provider.core.agent import next_due, transition
from provider.core.effects import PlaceBid
from provider.core.events import Event, TimeReached
from provider.core.state import AgentState
from provider.core.step import Step
from provider.domain.errors import Temporary
from provider.domain.moment import SECOND, Instant, after
from provider.ports import Clock, Observer
from provider.shell.commits import Commits
from provider.shell.lanes import Lanes

log = structlog.get_logger()

INBOX_MOST = 10_000
"""Events that may wait. Above it tenants are told to come back; sources wait."""
COMMIT_AGAIN = SECOND
"""Between two tries of a commit that the store could not take."""
BATCH_MOST = 256
"""Events in one transaction: bounds how long the first of them waits for the last."""
YIELDS = 2
"""Turns of the event loop in which something must come in for more to be waited for: a message that was read
takes one to its source and one to the inbox. A bid takes one to its link and one to the wire."""
BUSY_S = 0.005
"""So soon after the last turn, more is likely to be on its way; what comes out of silence is not held up."""


@dataclass(slots=True)
class _Waiting:
    event: Event
    committed: Callable[[], None] | None = None
    answer: asyncio.Future[Step] | None = None


class Loop:
    """``ports.LiveAgent``: holds the state, takes events in, hands effects to the lanes."""

    def __init__(self, state: AgentState, commits: Commits, clock: Clock, observer: Observer) -> None:
        self._state = state
        self._commits = commits
        self._clock = clock
        self._observer = observer
        self._inbox: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._due: Instant | None = None
        self._due_changed = asyncio.Event()

    @property
    def state(self) -> AgentState:
        """As last committed."""
        return self._state

    async def put(self, event: Event, committed: Callable[[], None] | None = None) -> None:
        """Queue ``event``, waiting for room; ``committed`` is called once its step is."""
        while len(self._inbox) >= INBOX_MOST:
            self._room.clear()
            await self._room.wait()
        self._take(_Waiting(event=event, committed=committed))

    async def submit(self, event: Event) -> Step:
        """Take ``event`` in; return its step once it is committed. ``Temporary`` when too much waits."""
        if len(self._inbox) >= INBOX_MOST:
            raise Temporary("too many events wait", remedy="try again in a second", retry_after=SECOND)
        answer: asyncio.Future[Step] = asyncio.get_running_loop().create_future()
        self._take(_Waiting(event=event, answer=answer))
        return await answer

    def _take(self, waiting: _Waiting) -> None:
        self._inbox.append(waiting)
        self._arrived.set()

    async def run(self, lanes: Lanes) -> None:
        """For ever: take what waits, commit it, let it be seen and done."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._wake_when_due())
            time, turned_s = asyncio.get_running_loop().time, -BUSY_S
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                while self._inbox:
                    if time() - turned_s < BUSY_S:
                        await self._gather()
                    await self._turn(lanes)
                    turned_s = time()
                    await asyncio.sleep(0)  # let sources and lanes in between two transactions

    async def _gather(self) -> None:
        """Let in what is on its way already, so that it shares the transaction, while more keeps coming."""
        seen = 0
        while seen < len(self._inbox) < BATCH_MOST:
            seen = len(self._inbox)
            for _ in range(YIELDS):
                await asyncio.sleep(0)

    async def _turn(self, lanes: Lanes) -> None:
        batch = [self._inbox.popleft() for _ in range(min(len(self._inbox), BATCH_MOST))]
        at, state = self._clock.now(), self._state
        steps, took_us = [], []
        for waiting in batch:
            began = perf_counter_ns()
            step = transition(state, waiting.event, at)
            took_us.append((perf_counter_ns() - began) // 1000)
            state = step.state
            steps.append(step)
        await self._commit(steps)
        self._state = state
        is_urgent = _is_bids_alone(batch, steps)
        if is_urgent:
            self._perform(steps, lanes)
            for _ in range(YIELDS):
                await asyncio.sleep(0)
        for waiting, step, took in zip(batch, steps, took_us, strict=True):
            self._settle(waiting, step)
            self._observer.step(waiting.event, step, at, took)
        if not is_urgent:
            self._perform(steps, lanes)
        self._room.set()
        if next_due(state) != self._due:
            self._due_changed.set()

    @staticmethod
    def _perform(steps: Sequence[Step], lanes: Lanes) -> None:
        for step in steps:
            lanes.submit(step.effects)

    async def _commit(self, steps: Sequence[Step]) -> None:
        said = False
        while True:
            try:
                await self._commits.commit(steps)
            except Temporary as failure:
                if not said:
                    log.warning("store_refused", problem=failure.what, remedy=failure.remedy)
                    said = True
                await self._clock.sleep_until(after(self._clock.now(), COMMIT_AGAIN))
            else:
                return

    @staticmethod
    def _settle(waiting: _Waiting, step: Step) -> None:
        if waiting.committed is not None:
            waiting.committed()
        if waiting.answer is not None and not waiting.answer.done():
            waiting.answer.set_result(step)

    async def _wake_when_due(self) -> None:
        """Put ``TimeReached`` in whenever the core's earliest instant comes."""
        while True:
            self._due_changed.clear()
            due = self._due = next_due(self._state)
            if due is not None and due <= self._clock.now():
                taken_in = asyncio.Event()
                await self.put(TimeReached(), taken_in.set)
                await taken_in.wait()
                continue
            async with asyncio.TaskGroup() as group:
                waits: list[asyncio.Task[object]] = [group.create_task(self._due_changed.wait())]
                if due is not None:
                    waits.append(group.create_task(self._clock.sleep_until(due)))
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for wait in waits:
                    wait.cancel()


def _is_bids_alone(batch: Sequence[_Waiting], steps: Sequence[Step]) -> bool:
    """Whether bids are all that is wanted, and nobody was answered, who might look for what is observed."""
    effects = [effect for step in steps for effect in step.effects]
    return (
        bool(effects)
        and all(isinstance(effect, PlaceBid) for effect in effects)
        and all(waiting.answer is None for waiting in batch)
    )
