"""A simulated provider on virtual time whose metrics all say something: for dashboards, alerts and checks.

The real shell, core and telemetry over the fakes of every port; ``busy_story`` is what happens to it. Owns
how these are put together. Invariant: only facts that no fake can have (a driver's sweep, a rendering) are
said by hand; everything else comes about as it does on a real machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from random import Random

from prometheus_client import generate_latest

from provider import __version__
from provider.adapters.runtime.images.observer import Unobserved
from provider.adapters.telemetry.lag import watch_loop_lag
from provider.adapters.telemetry.metrics import Metrics
from provider.adapters.telemetry.view import Feed, Held, LinkFacts, look
from provider.app.measuring import TimedPerformer, TimedPulls, TimedStore, watch_readings
from provider.app.observing import Observing, telemetry_view
from provider.core.effects import Effect
from provider.core.policy import Policy, PriceScale
from provider.core.state import AgentState
from provider.core.step import Step
from provider.domain.errors import Temporary
from provider.domain.ids import HOME, NodeName, ProviderId
from provider.domain.moment import Instant
from provider.domain.node import HostCapacity
from provider.domain.resources import GIB
from provider.domain.usage import UsageCounter
from provider.ports import GpuProbe
from provider.shell.attributing import Attribution, Sources
from provider.shell.commits import InlineCommits
from provider.shell.daemon import live
from provider.shell.loop import Loop
from provider.shell.perform import Performer
from provider.shell.sources import Machine
from provider.sim.clock import LoopClock
from provider.sim.engine import SimulatedEngine
from provider.sim.gpu import SimulatedGpus, SimulatedProbe
from provider.sim.host import SMALL_SERVER, SimulatedHost
from provider.sim.link import SimulatedLink
from provider.sim.market import SimulatedMarket
from provider.sim.pricer import SimulatedPricer
from provider.sim.runtime import SimulatedRuntime
from provider.sim.store import MemoryStore
from provider.sim.usage import MODEST, MemoryTallies, SimulatedUsage

PROVIDER = ProviderId("simulated-1")
CARDS = (
    SimulatedGpus(model="h100", count=6),
    SimulatedGpus(model="l40s"),
    SimulatedGpus(model="rtx4090"),
    SimulatedGpus(model="h100-1g.10gb"),
)
PRICES = PriceScale(
    cpu_core_hour=Decimal(10_000),
    memory_gib_hour=Decimal(3_000),
    gpu_hour={"h100": Decimal(2_400_000), "*": Decimal(700_000)},
)
SAMPLE_EVERY_S = 10.0
PATIENCE_S = 600.0
"""Of virtual time, until what is waited for has to have come."""


class FullDisk:
    """A store that refuses as often as it is told to."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.refusals = 0

    def load(self) -> tuple[AgentState, tuple[Effect, ...]]:
        return self._store.load()

    def commit(self, steps: Sequence[Step]) -> None:
        if self.refusals:
            self.refusals -= 1
            raise Temporary("the disk is full", remedy="make room")
        self._store.commit(steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedNvml:
    """How a driver's telemetry does that has had one bad minute."""

    last_success: Instant
    is_up: bool = True
    restarts: tuple[tuple[str, int], ...] = (("timeout", 1),)
    failures: tuple[tuple[str, int, int], ...] = (("nvmlDeviceGetFieldValues", 999, 2),)
    unreapable: int = 0


@dataclass(kw_only=True)
class BusyHost:
    """Everything that the story can take hold of. Made and used inside one loop; on that of ``sim.vtime``
    hours cost nothing."""

    clock: LoopClock = field(default_factory=LoopClock)
    metrics: Metrics = field(default_factory=lambda: Metrics(version=__version__, revision="simulated"))
    market: SimulatedMarket = field(default_factory=SimulatedMarket)
    sample_every_s: float = SAMPLE_EVERY_S
    capacity: HostCapacity = SMALL_SERVER
    cards: GpuProbe | None = None
    """What reads the cards; None for ``probe``, of which the story tells."""

    def __post_init__(self) -> None:
        self.engine = SimulatedEngine(clock=self.clock)
        self.probe = SimulatedProbe(CARDS, self.clock, seed=PROVIDER)
        self._reader: GpuProbe = self.cards or self.probe
        self.store = FullDisk(MemoryStore(Policy(provider=PROVIDER, price=PRICES)))
        timed = TimedStore(self.store, InlineCommits(self.store), self.metrics)
        state, self._unfinished = timed.load()
        observing = Observing(self.metrics, self.clock)
        self.loop = Loop(state, timed, self.clock, observing)
        self.attribution = Attribution(
            Sources(
                state=lambda: self.loop.state,
                readings=self._reader.readings,
                probe=self._usage(),
                book=MemoryTallies(),
                clock=self.clock,
                steady_s=asyncio.get_running_loop().time,
                disk_bytes=lambda _lease: 3 * GIB,
            )
        )
        observing.on_workloads = self.attribution.note_workloads
        self.link = SimulatedLink(self.market, lambda: self.loop.state.market().position)

    @asynccontextmanager
    async def alive(self) -> AsyncIterator[None]:
        """The daemon runs for the length of the block."""
        pulls = TimedPulls(Unobserved(), self.metrics)
        runtime = SimulatedRuntime(self.engine, pulls=pulls, requests=self.metrics.engine_asked)
        async with runtime, self.link:
            machine = Machine(
                name=NodeName("node-1"),
                gpus=self._reader,
                host=SimulatedHost(self.capacity),
                runtime=runtime,
                clock=self.clock,
                looked=self.metrics.looked,
            )
            chance = Random(1)  # noqa: S311 - jitter, and the same in every run
            performer = TimedPerformer(
                Performer(runtime, {HOME: self.link}, SimulatedPricer(), self.clock, chance), self.metrics
            )
            async with asyncio.TaskGroup() as tasks:
                beside = [
                    tasks.create_task(
                        live(self.loop, machine, {HOME: self.link}, performer, self._unfinished)
                    ),
                    tasks.create_task(self.attribution.run()),
                    tasks.create_task(self._watch_readings()),
                    tasks.create_task(watch_loop_lag(self.metrics.loop_lag, every_s=self.sample_every_s)),
                    tasks.create_task(self._sweep()),
                ]
                try:
                    yield
                finally:
                    for task in beside:
                        task.cancel()

    def exposition(self) -> bytes:
        """As a scrape would have it, now."""
        self.metrics.rendered(0.004)
        self.metrics.show(look(self.feed()))
        return generate_latest(self.metrics.registry)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait, in virtual time."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110 - virtual time: looking costs nothing
                await asyncio.sleep(0.05)

    def _usage(self) -> SimulatedUsage:
        usage = SimulatedUsage(self.clock)
        usage.loads["app"] = replace(MODEST, a_second={**MODEST.a_second, UsageCounter.OOM_KILLS: 0.002})
        return usage

    async def _watch_readings(self) -> None:
        lease_of = self.attribution.lease_of
        await watch_readings(self._reader, self.metrics, lease_of, every_s=self.sample_every_s)

    def feed(self) -> Feed:
        """Where a scrape's figures come from."""
        return Feed(
            view=lambda: telemetry_view(
                self.loop.state, self.clock, {HOME: self.market.name}, self.attribution.usages
            ),
            readings=self._reader.readings,
            probe=lambda: SimulatedNvml(last_success=self.clock.now()),
            links=lambda: (self._link_facts(),),
            held=lambda: Held(store_bytes=1_400_000, image_bytes=42 * GIB),
        )

    def _link_facts(self) -> LinkFacts:
        stage = "connected" if self.loop.state.connected else "backoff"
        return LinkFacts(market=self.market.name, state=stage, last_message=self.clock.now())

    async def _sweep(self) -> None:
        self.metrics.ledger_lost(1)
        while True:
            self.metrics.nvml_sweep(0.002)
            await asyncio.sleep(self.sample_every_s)
