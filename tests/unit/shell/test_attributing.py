"""Sampling: whose cards and containers are counted, what is shown, and what a crash leaves of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from provider.adapters.usage import SqliteTallies, TallySettings
from provider.domain.gpu import GpuReading
from provider.domain.ids import GpuUuid
from provider.domain.moment import SECOND, Instant, Span
from provider.domain.usage import LeaseUsage, UsageCounter
from provider.domain.workload import Container, ContainerState, ExitCause, Workload
from provider.ports import TallyBook
from provider.shell.attributing import EVERY, SURE_AFTER, Attribution, Sources
from provider.sim.usage import Load, MemoryTallies, SimulatedUsage
from tests.agents import START, Agent, healthy, lease_of, settle
from tests.launches import lease_id

LEASE = lease_of()
CARD = GpuUuid("GPU-0")
SERVICE = "service1"
CPU = Load(a_second={UsageCounter.CPU_US: 1_000_000}, memory_bytes=7, memory_limit_bytes=9)


class Stage:
    """An agent, its machine and its sampler, with a clock that only the test turns."""

    def __init__(self, book: TallyBook | None = None) -> None:
        self.agent = Agent(*healthy(0, 1))
        self.steady_s = 0.0
        self.usage = SimulatedUsage(self)
        self.usage.loads[SERVICE] = CPU
        self.book = book or MemoryTallies()
        self.readings: dict[GpuUuid, GpuReading] = {}
        self.disk: dict[object, int] = {}
        self.restart()

    def now(self) -> Instant:
        return self.agent.at

    async def sleep_until(self, instant: Instant) -> None:
        raise AssertionError("nothing here waits")

    def restart(self) -> None:
        """kill -9, and another life of the sampler."""
        self.sampler = Attribution(
            Sources(
                state=lambda: self.agent.state,
                readings=lambda: tuple(self.readings.values()),
                probe=self.usage,
                book=self.book,
                clock=self,
                steady_s=lambda: self.steady_s,
                disk_bytes=self.disk.get,
            )
        )

    def tells(self, uuid: GpuUuid = CARD, **figures: float) -> None:
        self.readings[uuid] = GpuReading(uuid=uuid, at=self.agent.at, **figures)  # type: ignore[arg-type]

    def lists(self, *containers: Container) -> None:
        self.sampler.note_workloads([Workload(lease=LEASE, containers=containers)])

    async def samples(self, times: int = 1, *, every: int = EVERY) -> None:
        for _ in range(times):
            self.agent.passes(every)
            self.steady_s += every / 1000
            await self.sampler.sample()

    @property
    def shown(self) -> LeaseUsage:
        return self.sampler.usages[LEASE]


def container(number: int = 1, started_at: Instant = START, *, ended: ExitCause | None = None) -> Container:
    return Container(
        service=SERVICE,
        replica=0,
        state=ContainerState.EXITED if ended else ContainerState.RUNNING,
        id=f"c{number}",
        pid=None if ended else 1000 + number,
        cause=ended,
        started_at=started_at,
    )


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(bounded())


def test_a_lease_is_counted_from_its_start_and_gone_with_its_end() -> None:
    async def scenario() -> None:
        stage = Stage()
        stage.tells(memory_used_bytes=500, utilization_ratio=1.0)
        stage.agent.begin()
        await stage.samples(3)
        assert stage.sampler.usages == {}, "a lease that has nothing on the machine uses nothing"
        stage.agent.sends()
        stage.agent.done(stage.agent.wanted[-2])
        stage.lists(container(started_at=stage.now()))
        stage.tells(memory_used_bytes=2500, utilization_ratio=0.5, power_watts=300, energy_joules=1000)
        await stage.samples(3)
        stage.tells(memory_used_bytes=2500, utilization_ratio=0.5, power_watts=300, energy_joules=1600)
        await stage.samples()
        (card,) = stage.shown.gpus
        assert (card.uuid, card.busy_s, card.energy_joules, card.memory_bytes) == (CARD, 3.0, 600, 2000)
        assert card.allocated_s == 8
        assert not card.is_energy_estimated
        (service,) = stage.shown.services
        assert (service.service, service.counters) == (SERVICE, {UsageCounter.CPU_US: 8_000_000})
        assert (service.memory_bytes, service.memory_limit_bytes, service.restarts) == (7, 9, 0)
        stage.agent.ends()
        settle(stage.agent, type(stage.agent.wanted[-1]))
        stage.agent.state = replace(stage.agent.state, leases={})
        await stage.samples()
        assert stage.sampler.usages == {}
        assert await stage.book.load() == ()

    run(scenario)


def test_what_stands_for_the_time_before_a_lease_is_not_the_leases() -> None:
    async def scenario() -> None:
        stage = Stage()
        stage.tells(utilization_ratio=1.0)
        await stage.samples(5)
        stage.agent.run()
        await stage.samples()
        assert stage.shown.gpus[0].busy_s == 0
        await stage.samples()
        assert stage.shown.gpus[0].busy_s == 2

    run(scenario)


def test_another_leases_card_is_not_ours() -> None:
    async def scenario() -> None:
        stage = Stage()
        stage.agent.run()
        for uuid, busy in ((CARD, 0.25), (GpuUuid("GPU-1"), 1.0)):
            stage.tells(uuid, utilization_ratio=busy)
        stage.agent.run(2)
        await stage.samples(3)
        other = stage.sampler.usages[lease_of(2)]
        assert [each.busy_s for each in stage.shown.gpus] == [1.0]
        assert [(each.uuid, each.busy_s) for each in other.gpus] == [("GPU-1", 4.0)]

    run(scenario)


def test_a_card_that_is_silent_for_a_while_adds_nothing_for_it() -> None:
    async def scenario() -> None:
        stage = Stage()
        stage.agent.run()
        stage.tells(utilization_ratio=1.0, power_watts=10, memory_used_bytes=5)
        await stage.samples(3)
        stage.readings.clear()
        await stage.samples(5)
        (card,) = stage.shown.gpus
        assert (card.busy_s, card.utilization_ratio, card.memory_bytes) == (4.0, None, None)
        assert card.energy_joules == 40

    run(scenario)


def test_totals_live_through_restarts_of_a_container() -> None:
    async def scenario() -> None:
        stage = Stage()
        stage.agent.run()
        stage.lists(container())
        await stage.samples(3)
        again = container(started_at=stage.now())
        stage.lists(again)
        await stage.samples()
        (service,) = stage.shown.services
        assert (service.counters[UsageCounter.CPU_US], service.restarts) == (8_000_000, 1)
        stage.lists(container(ended=ExitCause.OWN, started_at=again.started_at or START))
        await stage.samples(2)
        (service,) = stage.shown.services
        assert (service.counters[UsageCounter.CPU_US], service.memory_bytes) == (8_000_000, None)

    run(scenario)


def test_containers_that_came_and_went_between_two_samples_are_counted() -> None:
    async def scenario() -> None:
        stage = Stage()
        stage.agent.run()
        for number in range(4):
            start = Instant(START + number * 100)
            stage.lists(container(number, start))
            stage.lists(container(number, start, ended=ExitCause.OOM))
        stage.lists(container(9, Instant(START + 500)))
        await stage.samples()
        (service,) = stage.shown.services
        assert (service.counters[UsageCounter.OOM_KILLS], service.restarts) == (4, 4)

    run(scenario)


def test_an_engine_that_is_away_changes_nothing() -> None:
    """Nothing is noted then: what was listed last is read on."""

    async def scenario() -> None:
        stage = Stage()
        stage.agent.run()
        stage.lists(container())
        await stage.samples(30)
        assert stage.shown.services[0].counters[UsageCounter.CPU_US] == 60_000_000

    run(scenario)


def test_clocks_that_are_set_make_no_total_fall_or_jump() -> None:
    async def scenario() -> None:
        stage = Stage()
        stage.agent.run()
        stage.tells(utilization_ratio=1.0, power_watts=100)
        await stage.samples(2)
        before = stage.shown.gpus[0]
        stage.agent.at = Instant(stage.agent.at - 3600 * SECOND)
        await stage.samples()
        stage.agent.at = Instant(stage.agent.at + 7200 * SECOND)
        await stage.samples()
        after = stage.shown.gpus[0]
        assert (before.busy_s, after.busy_s) == (2, 6)
        assert (before.energy_joules, after.energy_joules) == (200, 600)

    run(scenario)


def test_what_a_disk_holds_is_shown_once_it_was_measured() -> None:
    async def scenario() -> None:
        stage = Stage()
        stage.agent.run()
        await stage.samples()
        assert stage.shown.disk_bytes is None
        stage.disk[LEASE] = 77
        await stage.samples()
        assert stage.shown.disk_bytes == 77

    run(scenario)


def test_containers_out_of_sight_are_said_once_it_is_sure() -> None:
    async def scenario() -> None:
        stage = Stage()
        stage.agent.run()
        stage.lists(container())
        await stage.samples()
        stage.usage.problem = "out of sight"
        await stage.samples(SURE_AFTER - 1)
        assert stage.sampler.problem is None
        await stage.samples()
        assert stage.sampler.problem == "out of sight"
        assert stage.shown.services[0].counters[UsageCounter.CPU_US] == 2_000_000, "totals stay"
        stage.usage.problem = None
        await stage.samples()
        assert stage.sampler.problem is None

    run(scenario)


def test_whose_process_it_is() -> None:
    async def scenario() -> None:
        stage = Stage()
        stage.agent.run()
        stage.lists(container())
        await stage.samples()
        assert stage.sampler.lease_of(1001) == LEASE
        assert stage.sampler.lease_of(1) is None
        stage.sampler.note_workloads([])
        assert stage.sampler.lease_of(1001) is None

    run(scenario)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_crash_costs_one_sample_at_most(kind: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "usage.db"
        book = MemoryTallies() if kind == "memory" else SqliteTallies(TallySettings(path=path))
        stage = Stage(book)
        stage.tells(memory_used_bytes=100, energy_joules=50)
        await stage.samples()
        stage.agent.run()
        stage.lists(container())
        stage.tells(utilization_ratio=0.5, energy_joules=50, memory_used_bytes=600)
        await stage.samples(11)
        before = stage.shown
        if kind == "sqlite":
            stage.book = SqliteTallies(TallySettings(path=path))  # the old one is not closed
        stage.restart()
        stage.agent.passes(60_000)
        stage.tells(utilization_ratio=0.5, energy_joules=950, memory_used_bytes=600)
        stage.lists(container())
        await stage.samples()
        after = stage.shown
        assert before.gpus[0].busy_s == after.gpus[0].busy_s == 10
        assert after.gpus[0].energy_joules == 900, "the driver counted on meanwhile"
        assert after.gpus[0].memory_bytes == 500, "the baseline is kept"
        used = (
            after.services[0].counters[UsageCounter.CPU_US] - before.services[0].counters[UsageCounter.CPU_US]
        )
        assert used == 62_000_000, "and so did the kernel"
        assert after.services[0].restarts == 0
        await stage.samples()
        assert stage.shown.gpus[0].busy_s == 11

    run(scenario)


def test_a_lease_that_ended_while_nobody_looked_is_closed_in_the_book() -> None:
    async def scenario() -> None:
        stage = Stage()
        stage.agent.run()
        await stage.samples()
        assert len(await stage.book.load()) == 1
        stage.agent.state = replace(stage.agent.state, leases={})
        stage.restart()
        await stage.samples()
        assert await stage.book.load() == ()

    run(scenario)


def test_a_thousand_leases_leave_nothing_behind() -> None:
    async def scenario() -> None:
        book = MemoryTallies(keep_s=60)
        stage = Stage(book)
        stage.agent.run()
        template = stage.agent.lease()
        for _ in range(1000):
            one = lease_id()
            stage.agent.state = replace(stage.agent.state, leases={one: replace(template, id=one)})
            stage.sampler.note_workloads([Workload(lease=one, containers=(container(),))])
            await stage.samples()
            assert stage.sampler.usages.keys() == {one}
            assert book.held <= 60 * SECOND // EVERY + 2

    run(scenario)


def test_simulated_containers_need_no_card() -> None:
    """A lease without GPUs has services, and no cards."""

    async def scenario() -> None:
        stage = Stage()
        stage.agent.run()
        lease = stage.agent.lease()
        bare = replace(lease, placement=replace(lease.placement, replicas=()))
        stage.agent.state = replace(stage.agent.state, leases={LEASE: bare})
        stage.lists(container())
        await stage.samples()
        assert stage.shown.gpus == ()
        assert len(stage.shown.services) == 1

    run(scenario)


def test_it_is_looked_as_often_as_is_set() -> None:
    class Over(Exception):
        pass

    class Paced(Stage):
        async def sleep_until(self, instant: Instant) -> None:
            waits.append(instant - self.now())
            self.agent.passes(instant - self.now())
            if len(waits) == 3:
                raise Over

    waits: list[int] = []
    stage = Paced()
    with pytest.raises(Over):
        asyncio.run(Attribution(stage.sampler._sources, every=Span(700)).run())
    assert waits == [700, 700, 700]
