"""``provider run`` on a machine that is simulated: all else is the daemon's own wiring. Tests kill it.

Its arguments: the configuration file, and ``--large`` for a machine with room for thousands of leases.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from provider.adapters.clock import SystemClock
from provider.adapters.telemetry.metrics import Metrics
from provider.app import logs
from provider.app.config import ProviderConfig
from provider.app.config_reading import load
from provider.app.lease_news import LeaseNews
from provider.app.memberships import memberships
from provider.app.signals import at_each, hangups, until_signalled
from provider.app.wiring import Agent, open_agent
from provider.domain.ids import LeaseId, NodeName, ProviderId
from provider.domain.node import HostCapacity
from provider.domain.resources import GIB
from provider.shell.daemon import live
from provider.shell.sources import Machine
from provider.sim.engine import SimulatedEngine
from provider.sim.gpu import SimulatedProbe
from provider.sim.host import SMALL_SERVER, SimulatedHost
from provider.sim.runtime import SimulatedRuntime

CLOCK = SystemClock()
LARGE = HostCapacity(
    cpu_millis=10_000_000, memory_bytes=100_000 * GIB, storage_bytes=10**16, boot_id="simulated-boot-1"
)


async def simulated_machine(
    config: ProviderConfig, provider: ProviderId, _metrics: Metrics, _news: LeaseNews, stack: AsyncExitStack
) -> tuple[Machine, Callable[[LeaseId], int | None]]:
    machine = Machine(
        name=NodeName("node-1"),
        gpus=await stack.enter_async_context(SimulatedProbe(config.gpu.simulate, CLOCK, seed=provider)),
        host=SimulatedHost(LARGE if "--large" in sys.argv else SMALL_SERVER),
        runtime=await stack.enter_async_context(SimulatedRuntime(SimulatedEngine(clock=CLOCK))),
        clock=CLOCK,
    )
    return machine, lambda _lease: None


async def main(config: ProviderConfig, path: Path) -> None:
    joined = memberships(config.state_dir, CLOCK.now())
    reread = partial(load, path, os.environ)
    with hangups() as asked:
        async with open_agent(config, joined, simulated_machine, reread) as agent:
            await serve(agent, asked)


async def serve(agent: Agent, asked: asyncio.Event) -> None:
    rereading = asyncio.create_task(at_each(asked, agent.reloading.reload))
    life = asyncio.create_task(
        live(agent.loop, agent.machine, agent.links, agent.performer, agent.unfinished)
    )
    stopping = asyncio.create_task(until_signalled())
    await asyncio.wait([life, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    rereading.cancel()
    life.cancel()
    await asyncio.wait([life])


if __name__ == "__main__":
    file = Path(sys.argv[1])
    settings = load(file, os.environ)
    logs.configure(settings.log_level)
    asyncio.run(main(settings, file))
