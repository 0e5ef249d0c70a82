"""The agent's life: load, look at what really runs, perform what was not confirmed, then live.

Everything runs in one tree of tasks; leaving it (a signal, a crash) leaves the leases running, and the
next start takes them up again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from provider.core.effects import Effect
from provider.domain.ids import MarketId
from provider.ports import CoordinatorLink
from provider.shell.lanes import Lanes, Performs
from provider.shell.loop import Loop
from provider.shell.sources import Machine, listen, watch_machine, watch_workloads


async def live(
    loop: Loop,
    machine: Machine,
    links: Mapping[MarketId, CoordinatorLink],
    performer: Performs,
    unfinished: tuple[Effect, ...],
) -> None:
    """Until cancelled. ``unfinished`` are the effects that the store held at the start."""
    async with asyncio.TaskGroup() as group:
        lanes = Lanes(performer, loop.put, group)
        group.create_task(loop.run(lanes))
        group.create_task(watch_machine(machine, loop))
        group.create_task(watch_workloads(machine, loop))
        lanes.submit(unfinished)
        for market, link in links.items():
            group.create_task(listen(market, link, loop))
