"""A place where one agent lives on virtual time: the real shell over the fakes of every port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import TypeVar

from provider.core.effects import ConfirmLease, Effect, PlaceBid, ReportLease, ReportUsage
from provider.core.events import Event, ManifestArrived
from provider.core.lease import Phase
from provider.core.step import Step
from provider.domain.ids import HOME, LeaseId
from provider.domain.manifest import Manifest
from provider.domain.market import Award, LeaseHealth
from provider.domain.moment import Instant
from provider.ports import Store
from provider.shell.commits import InlineCommits
from provider.shell.daemon import live
from provider.shell.loop import Loop
from provider.shell.perform import Performer
from provider.shell.sources import Machine
from provider.sim.clock import LoopClock
from provider.sim.engine import SimulatedEngine
from provider.sim.gpu import SimulatedGpus, SimulatedProbe
from provider.sim.host import SimulatedHost
from provider.sim.link import SimulatedLink
from provider.sim.market import SimulatedMarket
from provider.sim.pricer import SimulatedPricer
from provider.sim.runtime import SimulatedRuntime
from tests.agents import HASH, NODE, group, lease_of, manifest, order

LEASE = lease_of()
E = TypeVar("E", bound=Effect)


class Quiet:
    """An observer that counts."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def step(self, event: Event, step: Step, at: Instant, took_us: int) -> None:
        self.events.append(event)


class Place:
    """What survives an agent: the machine, the market, and what was stored."""

    def __init__(self, store: Callable[[], Store]) -> None:
        self.clock = LoopClock()
        self.engine = SimulatedEngine(clock=self.clock)
        self.market = SimulatedMarket()
        self.probe = SimulatedProbe((SimulatedGpus(model="h100", count=2),), self.clock, seed="floor")
        self.observer = Quiet()
        self.host = SimulatedHost()
        self.loop: Loop
        self.link: SimulatedLink
        self.runtime: SimulatedRuntime
        self._store = store
        self.pricer = SimulatedPricer()

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[Loop]:
        """One life; leaving it kills the agent."""
        store = self._store()
        state, unfinished = store.load()
        self.loop = loop = Loop(state, InlineCommits(store), self.clock, self.observer)
        chance = Random(1)  # noqa: S311 -- jitter, and the same in every run
        self.link = SimulatedLink(self.market, lambda: loop.state.market().position)
        self.runtime = SimulatedRuntime(self.engine)
        async with self.runtime, self.link:
            performer = Performer(self.runtime, {HOME: self.link}, self.pricer, self.clock, chance)
            machine = Machine(
                name=NODE, gpus=self.probe, host=self.host, runtime=self.runtime, clock=self.clock
            )
            async with asyncio.TaskGroup() as tasks:
                life = tasks.create_task(live(loop, machine, {HOME: self.link}, performer, unfinished))
                try:
                    yield loop
                finally:
                    life.cancel()

    # --- what a tenant and a market do

    async def opens_and_awards(self) -> None:
        self.market.open_order(order())
        await self.told(PlaceBid)
        bid = self.last(PlaceBid).bid
        award = Award(
            id=LEASE, rate=bid.rate, manifest_hash=HASH, confirm_by=Instant(self.clock.now() + 10_000)
        )
        self.market.award(award)
        await self.told(ConfirmLease)

    async def sends(self, content: Manifest | None = None) -> Step:
        event = ManifestArrived(lease=LEASE, manifest=content or manifest(group()), manifest_hash=HASH)
        return await self.loop.submit(event)

    async def runs(self, content: Manifest | None = None) -> None:
        await self.opens_and_awards()
        step = await self.sends(content)
        assert step.refused is None
        await self.phase(Phase.RUNNING)

    # --- waiting, in virtual time

    async def until(self, condition: Callable[[], object], bound_s: float = 600) -> None:
        async with asyncio.timeout(bound_s):
            while not condition():  # noqa: ASYNC110 -- virtual time: looking costs nothing
                await asyncio.sleep(0.05)

    async def phase(self, phase: Phase | None, lease: LeaseId = LEASE) -> None:
        """Until the lease is in it; None: until it is gone."""
        await self.until(lambda: self.phase_of(lease) is phase)

    def phase_of(self, lease: LeaseId) -> Phase | None:
        found = self.loop.state.leases.get(lease)
        return found.phase if found else None

    async def told(self, kind: type[object]) -> None:
        await self.until(lambda: any(isinstance(each, kind) for each in self.market.told.values()))

    def last(self, kind: type[E]) -> E:
        return [each for each in self.market.told.values() if isinstance(each, kind)][-1]

    def usages(self) -> list[int]:
        return [each.usage.running_ms for each in self.market.told.values() if isinstance(each, ReportUsage)]

    def healths(self) -> list[LeaseHealth]:
        return [each.health for each in self.market.told.values() if isinstance(each, ReportLease)]
