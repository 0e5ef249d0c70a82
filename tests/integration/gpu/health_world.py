"""A whole agent on a simulated driver: real worker, probe, loop and watch; market and engine are fakes.

Two cards: lease 1 runs on the first, a bid is open for the second. Times of the health table are cut short.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import TypeVar

from provider import __version__
from provider.adapters.clock import SystemClock
from provider.adapters.gpu.probe import NvmlProbe
from provider.adapters.gpu.settings import NvmlSettings
from provider.adapters.telemetry.metrics import Metrics
from provider.app.lease_news import LeaseNews
from provider.app.observing import Observing
from provider.core.effects import Effect, EndLease, PlaceBid, WithdrawBid
from provider.core.events import ManifestArrived
from provider.core.gpu_records import record_of
from provider.core.health import HealthSettings, table
from provider.core.health_row import Row
from provider.core.lease import Phase
from provider.core.policy import Policy
from provider.core.state import Lease
from provider.domain.gpu import Gpu, GpuHealth
from provider.domain.gpu_health import GpuRecord, GpuSignal
from provider.domain.ids import HOME, GpuUuid, LeaseId
from provider.domain.journal import EventKind, Happening
from provider.domain.market import Award, CloseReason, GroupSpec
from provider.domain.moment import MINUTE, SECOND, Instant, Span
from provider.shell.attributing import Attribution, Sources
from provider.shell.commits import InlineCommits
from provider.shell.daemon import live
from provider.shell.health_watch import HealthSources, HealthWatch
from provider.shell.loop import Loop
from provider.shell.perform import Performer
from provider.shell.sources import Machine
from provider.sim.engine import SimulatedEngine
from provider.sim.host import SimulatedHost
from provider.sim.journal import MemoryJournal
from provider.sim.link import SimulatedLink
from provider.sim.market import SimulatedMarket
from provider.sim.nvml.state import SimulatedDriver
from provider.sim.pricer import SimulatedPricer
from provider.sim.runtime import SimulatedRuntime
from provider.sim.store import MemoryStore
from provider.sim.usage import MemoryTallies, SimulatedUsage
from tests.agents import HASH, NODE, POLICY, group, lease_of, manifest, order
from tests.probing import QUICK

E = TypeVar("E", bound=Effect)
PATIENCE_S = 30
LOOK_EVERY = Span(30)
SHORTEST, SILENCE = Span(200), Span(3 * SECOND)
"""In place of the table's seconds and minutes; silence is longer: workers start slowly on a busy machine."""
CAREFUL = replace(POLICY, checks_gpus=True)


def quickened() -> tuple[Row, ...]:
    """The table, in a hurry."""
    return tuple(map(_quick, table(HealthSettings(hold=SHORTEST, check_within=SHORTEST))))


def _quick(row: Row) -> Row:
    shortest = SILENCE if row.signal is GpuSignal.TELEMETRY_LOST else SHORTEST
    triggers = tuple(replace(each, after=min(each.after, shortest)) for each in row.triggers)
    clears_after = SHORTEST if row.clears_after is None else min(row.clears_after, SHORTEST)
    return replace(row, triggers=triggers, clears_after=clears_after)


DRIVEN: set[GpuSignal] = set()
"""Signals that have a test of their own beside the table's."""
T = TypeVar("T", bound=Callable[..., None])


def drives(*signals: GpuSignal) -> Callable[[T], T]:
    """The test takes these from the driver to what becomes of bids and leases."""

    def note(test: T) -> T:
        DRIVEN.update(signals)
        return test

    return note


class SteppedClock:
    """The daemon's, on a machine whose clock a test sets."""

    def __init__(self) -> None:
        self._ahead_ms = 0
        self._clock = SystemClock(lambda: time.time_ns() + self._ahead_ms * 1_000_000)
        self.now = self._clock.now
        self.sleep_until = self._clock.sleep_until

    def step(self, span: int) -> None:
        """Set forward, or back."""
        self._ahead_ms += span


@dataclass(kw_only=True)
class HealthWorld:
    """What a test takes hold of."""

    driver: SimulatedDriver
    nvml: NvmlSettings = QUICK
    clock: SteppedClock = field(default_factory=SteppedClock)
    market: SimulatedMarket = field(default_factory=SimulatedMarket)
    policy: Policy = CAREFUL
    processes: dict[int, LeaseId] = field(default_factory=dict)
    """Whose those are that no simulated container has."""
    host: SimulatedHost = field(default_factory=SimulatedHost)

    def __post_init__(self) -> None:
        self.store = MemoryStore(self.policy)
        self.engine = SimulatedEngine(clock=self.clock)
        self.journal = MemoryJournal()
        self.usage = SimulatedUsage(self.clock)

    @asynccontextmanager
    async def alive(self) -> AsyncIterator[None]:
        """The daemon runs for the length of the block; what was stored is there in the next."""
        self.store = self.store.restarted(self.policy)
        state, unfinished = self.store.load()
        observing = Observing(Metrics(version=__version__), self.clock, LeaseNews(self.journal, self.clock))
        self.loop = Loop(state, InlineCommits(self.store), self.clock, observing)
        settings = replace(self.nvml, nvml_library=self.driver.library)
        runtime = SimulatedRuntime(self.engine)
        self.link = SimulatedLink(self.market, lambda: self.loop.state.market().position)
        async with NvmlProbe(settings, self.clock) as probe, runtime, self.link:
            self.probe = probe
            self.attribution = Attribution(
                Sources(
                    state=lambda: self.loop.state,
                    readings=probe.readings,
                    probe=self.usage,
                    book=MemoryTallies(),
                    clock=self.clock,
                    steady_s=asyncio.get_running_loop().time,
                )
            )
            observing.on_workloads = self.attribution.note_workloads
            machine = Machine(name=NODE, gpus=probe, host=self.host, runtime=runtime, clock=self.clock)
            watch = HealthWatch(
                HealthSources(
                    gpus=probe,
                    clock=self.clock,
                    lease_of=self.whose,
                    rows=quickened(),
                    every=LOOK_EVERY,
                ),
                self.loop,
            )
            chance = Random(1)  # noqa: S311 - jitter
            performer = Performer(runtime, {HOME: self.link}, SimulatedPricer(), self.clock, chance)
            async with asyncio.TaskGroup() as tasks:
                beside = [
                    tasks.create_task(live(self.loop, machine, {HOME: self.link}, performer, unfinished)),
                    tasks.create_task(self.attribution.run()),
                    tasks.create_task(watch.run()),
                ]
                await self.until(lambda: self.loop.state.nodes and self.loop.state.connected, "it lives")
                try:
                    yield
                finally:
                    for task in beside:
                        task.cancel()

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for a condition that other processes bring about."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"never: {what}; {self.described()}") from None

    def described(self) -> str:
        """For a test that fails: what is, instead of what was waited for."""
        signals = {gpu.uuid: (gpu.health, gpu.problem) for gpu in self.cards()}
        leases = {str(each.id): each.phase for each in self.loop.state.leases.values()}
        return f"cards {signals}, leases {leases}, bids {list(map(str, self.loop.state.bids))}"

    def whose(self, pid: int) -> LeaseId | None:
        return self.processes.get(pid) or self.attribution.lease_of(pid)

    # --- what is seen

    def cards(self) -> Sequence[Gpu]:
        return [gpu for node in self.loop.state.nodes for gpu in node.gpus]

    def health(self, index: int) -> GpuHealth:
        return self.cards()[index].health

    def record(self, index: int) -> GpuRecord:
        return record_of(self.loop.state, self.cards()[index].uuid)

    def signals(self, index: int) -> set[GpuSignal]:
        return {each.signal for each in self.record(index).active}

    def holds(self, uuid: str) -> set[GpuSignal]:
        """The same of a card that is not there."""
        return {each.signal for each in record_of(self.loop.state, GpuUuid(uuid)).active}

    def ever(self, index: int) -> set[GpuSignal]:
        """All that was ever held against it."""
        return {each.signal for each in self.record(index).history}

    async def heard(self) -> None:
        """Somebody waits for events: one that comes before is lost, as it is with NVML."""
        await self.until(lambda: self.driver.hears_events, "somebody hears events")

    def lease(self, number: int = 1, owner: str = "alice") -> Lease | None:
        return self.loop.state.leases.get(lease_of(number, owner))

    def told(self, kind: type[E]) -> list[E]:
        """What the market heard."""
        return [each for each in self.market.told.values() if isinstance(each, kind)]

    def news(self, number: int = 1, owner: str = "alice") -> list[Happening]:
        """What the tenant heard."""
        return [each.happening for each in self.journal.read(lease_of(number, owner), 0)]

    def faults(self, number: int = 1, owner: str = "alice") -> list[Happening]:
        """Of its cards, as the tenant heard of them."""
        return [each for each in self.news(number, owner) if each.kind is EventKind.GPU_FAULT]

    # --- what happens

    async def bid(self, number: int, of: GroupSpec | None = None, owner: str = "alice") -> LeaseId:
        """Returns the lease that it may become."""
        lease = lease_of(number, owner)
        self.market.open_order(order(number, of, owner))
        await self.until(lambda: lease in self.loop.state.bids, f"a bid on {lease}")
        await self.until(
            lambda: any(each.bid.id == lease for each in self.told(PlaceBid)), "the market has it"
        )
        return lease

    async def rent(self, number: int = 1, of: GroupSpec | None = None, owner: str = "alice") -> LeaseId:
        """From the order to a running lease."""
        await self.bid(number, of, owner)
        return await self.award(number, of, owner)

    async def award(self, number: int = 1, of: GroupSpec | None = None, owner: str = "alice") -> LeaseId:
        """From the bid to a running lease."""
        lease = lease_of(number, owner)
        award = Award(
            id=lease,
            rate=self.loop.state.bids[lease].bid.rate,
            manifest_hash=HASH,
            confirm_by=Instant(self.clock.now() + MINUTE),
        )
        self.market.award(award)
        await self.until(lambda: self.lease(number, owner), "an award")
        await self.loop.submit(
            ManifestArrived(lease=lease, manifest=manifest(of or group()), manifest_hash=HASH)
        )
        await self.until(lambda: self.is_running(number, owner), "it runs")
        return lease

    async def ends(self, number: int = 1, owner: str = "alice") -> None:
        """The tenant closes it, and its card is looked at."""
        lease = self.lease(number, owner)
        assert lease is not None
        self.market.end_lease(lease.id, CloseReason.TENANT_CLOSED)
        await self.until(lambda: self.lease(number, owner) is None, "the lease is over")

    def is_running(self, number: int = 1, owner: str = "alice") -> bool:
        lease = self.lease(number, owner)
        return lease is not None and lease.phase is Phase.RUNNING

    def was_evicted(self, number: int = 1) -> bool:
        """Ended by the GPU, told to the market, and gone from the engine."""
        ends = [each for each in self.told(EndLease) if each.lease == lease_of(number)]
        return self.lease(number) is None and [each.reason for each in ends] == [CloseReason.GPU_FAILED]

    def was_withdrawn(self, number: int) -> bool:
        return any(each.bid == lease_of(number) for each in self.told(WithdrawBid))


def quiet(_driver: SimulatedDriver) -> None:
    """Nothing special."""


@asynccontextmanager
async def rented(
    built: Path, folder: Path, prepare: Callable[[SimulatedDriver], None], nvml: NvmlSettings = QUICK
) -> AsyncIterator[HealthWorld]:
    """Two H100s: lease 1 on the first, a bid on order 2 for the second."""
    with SimulatedDriver(built, folder) as driver:
        for _ in range(2):
            driver.add("h100")
        prepare(driver)
        world = HealthWorld(driver=driver, nvml=nvml)
        async with world.alive():
            await world.until(lambda: len(world.cards()) == 2, "the cards are read")
            await world.rent(1)
            await world.bid(2)
            yield world
