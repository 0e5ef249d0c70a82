"""The watch over GPUs: readings, errors and the inventory against the health table, every two seconds.

Owns when a look is taken, what it sees, and whose an error is. The table is ``core.health``'s and so is what
follows. Readings are no events: only when the signals of a card change does one enter the loop.

Invariant: what is remembered here between looks may be lost at any time and costs patience only. A look whose
event the loop cannot take now is simply taken again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from provider.core import idling
from provider.core.events import GpuFaultSeen
from provider.core.gpu_records import holders, looked_at, record_of
from provider.core.health import HealthSettings, judge, table
from provider.core.health_looks import CardWatch, Look
from provider.core.health_row import Row
from provider.core.state import AgentState
from provider.domain.errors import Temporary
from provider.domain.gpu import Gpu, GpuFault, GpuReading
from provider.domain.ids import GpuUuid, LeaseId
from provider.domain.moment import SECOND, Instant, Span, after
from provider.ports import Clock, GpuProbe
from provider.shell.loop import Loop

log = structlog.get_logger()

EVERY = Span(2 * SECOND)
TOLD_EVERY = Span(10 * SECOND)
"""The same error of the same process is told once in this time, with how many there were: a program may make
thousands a second."""
PILES_MOST = 1_000

FaultKey = tuple[GpuUuid, int, int | None, int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthSources:
    """What is looked at, and how."""

    gpus: GpuProbe
    clock: Clock
    lease_of: Callable[[int], LeaseId | None]
    """Whose a process is, by its pid; None for one of nobody's."""
    rows: Sequence[Row] = table(HealthSettings())
    every: Span = EVERY


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pile:
    """Errors of one kind that came since one was told."""

    newest: GpuFault
    quiet_until: Instant
    count: int = 0


class HealthWatch:
    """One for a daemon. ``run`` goes on for ever."""

    def __init__(self, sources: HealthSources, loop: Loop) -> None:
        self._sources = sources
        self._loop = loop
        self._started = sources.clock.now()
        self._watches: dict[GpuUuid, CardWatch] = {}
        self._piles: dict[FaultKey, _Pile] = {}

    async def run(self) -> None:
        """Looks as soon as there is an inventory; errors from then on, those of before first."""
        clock, every = self._sources.clock, self._sources.every
        async with asyncio.TaskGroup() as group:
            listening: asyncio.Task[None] | None = None
            while True:
                if self._loop.state.nodes_as_read:
                    if listening is None:
                        listening = group.create_task(self._listen())
                    await self.look()
                await clock.sleep_until(after(clock.now(), every))

    async def look(self) -> None:
        """At every card and every place where one should be, once."""
        await self._tell_piles()
        state, readings = self._loop.state, {each.uuid: each for each in self._sources.gpus.readings()}
        wanted = looked_at(state)
        self._watches = {uuid: self._watches.get(uuid, CardWatch()) for uuid in wanted}
        for uuid, (gpu, is_unlisted) in wanted.items():
            await self._judge(state, uuid, gpu, readings.get(uuid), is_unlisted=is_unlisted)

    async def _judge(
        self,
        state: AgentState,
        uuid: GpuUuid,
        gpu: Gpu | None,
        reading: GpuReading | None,
        *,
        is_unlisted: bool | None,
    ) -> None:
        is_held, at = bool(holders(state, uuid)), self._sources.clock.now()
        look = Look(
            uuid=uuid,
            at=at,
            record=record_of(state, uuid),
            gpu=gpu,
            reading=reading,
            is_held=is_held,
            strangers=() if is_held else self._strangers(reading),
            has_idle_job=idling.uses(state, uuid, at if reading is None else reading.at),
            is_unlisted=is_unlisted,
        )
        judged = judge(self._watches[uuid], look, self._sources.rows)
        self._watches[uuid] = judged.watch
        event = judged.news(uuid)
        if event is None:
            return
        try:
            await self._loop.submit(event)
        except Temporary as busy:
            log.debug("gpu_look_not_taken", gpu=uuid, problem=busy.what)

    def _strangers(self, reading: GpuReading | None) -> tuple[str, ...] | None:
        """Processes on a card that no lease has, and not of the idle job; None where they cannot be told."""
        if reading is None or reading.processes is None:
            return None
        whose = [(each.pid, self._sources.lease_of(each.pid)) for each in reading.processes]
        return tuple(_words(pid, lease) for pid, lease in whose if lease is None or not lease.is_idle)

    # --- errors

    async def _listen(self) -> None:
        async for fault in self._sources.gpus.faults():
            key = (fault.uuid, fault.xid, fault.pid, fault.gpu_instance)
            pile = self._piles.get(key)
            if pile is not None and pile.quiet_until > fault.at >= pile.newest.at:
                self._piles[key] = replace(pile, newest=fault, count=pile.count + 1)
                continue
            if pile is not None and pile.count:
                await self._tell(pile.newest, pile.count)
            self._piles[key] = _Pile(newest=fault, quiet_until=after(fault.at, TOLD_EVERY))
            if len(self._piles) > PILES_MOST:
                await self._tell_piles(all_of_them=True)
            await self._tell(fault, 1)

    async def _tell_piles(self, *, all_of_them: bool = False) -> None:
        """Of errors that went on: how many there were, now that their time is over."""
        now = self._sources.clock.now()
        over = {key: pile for key, pile in self._piles.items() if all_of_them or pile.quiet_until <= now}
        for key in over:
            del self._piles[key]
        for pile in over.values():
            if pile.count:
                await self._tell(pile.newest, pile.count)

    async def _tell(self, fault: GpuFault, count: int) -> None:
        """The kernel says which process it was, and its control group says whose that is, while it lives."""
        lease = self._sources.lease_of(fault.pid) if fault.pid is not None else None
        lease = None if lease is not None and lease.is_idle else lease
        is_old = fault.at < self._started
        await self._loop.put(GpuFaultSeen(fault=fault, lease=lease, count=count, is_old=is_old))


def _words(pid: int, lease: LeaseId | None) -> str:
    return f"process {pid}" + (f" of lease {lease.key}" if lease is not None else "")
