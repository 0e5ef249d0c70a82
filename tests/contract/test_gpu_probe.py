"""What every GpuProbe promises: on the simulated one, and on NVML's over the simulated library."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from provider.adapters.gpu.probe import NvmlProbe
from provider.adapters.gpu.settings import NvmlSettings
from provider.domain.gpu import GpuHealth
from provider.domain.moment import Instant
from provider.ports import GpuProbe
from provider.sim.gpu import SimulatedGpus, SimulatedProbe
from provider.sim.nvml.state import SimulatedDriver
from provider.sim.waiting import until
from tests.probing import run, simulated_library

NOW = Instant(1_800_000_000_000)


class StandingClock:
    """Always the same instant."""

    def now(self) -> Instant:
        return NOW

    async def sleep_until(self, instant: Instant) -> None:
        assert instant <= NOW, "this clock never gets there"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A probe over some cards of one model, and what can be done to them."""

    probe: GpuProbe
    is_simulated: bool
    lose: Callable[[int], None]
    report: Callable[[int, int], None]
    """The driver reports an error of the card at that index: its number."""
    mend: Callable[[], None]


Make = Callable[[int], AbstractAsyncContextManager[Host]]


@asynccontextmanager
async def simulated(count: int) -> AsyncIterator[Host]:
    probe = SimulatedProbe([SimulatedGpus(model="h100", count=count)], StandingClock(), seed="node-1")
    uuids = [gpu.uuid for gpu in (await probe.discover()).gpus]
    async with probe:
        yield Host(
            probe=probe,
            is_simulated=True,
            lose=lambda index: probe.fail(uuids[index]),
            report=lambda index, xid: probe.report(uuids[index], xid),
            mend=probe.restore,
        )


@pytest.fixture(params=["simulated", "nvml"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    if request.param == "simulated":
        return simulated
    library = simulated_library()

    @asynccontextmanager
    async def nvml(count: int) -> AsyncIterator[Host]:
        with SimulatedDriver(library, tmp_path) as driver:
            for _ in range(count):
                driver.add("h100")

            def lose(index: int) -> None:
                driver.card(index).is_lost = 1

            def mend() -> None:
                for index in range(count):
                    driver.card(index).is_lost = 0

            settings = NvmlSettings(
                interval_s=0.05, discover_every_s=0.1, nvml_library=driver.library, kernel_log=None
            )
            async with NvmlProbe(settings, StandingClock()) as probe:
                await until(lambda: driver.hears_events)
                yield Host(probe=probe, is_simulated=False, lose=lose, mend=mend, report=driver.xid)

    return nvml


def test_discovers_cards_in_order_each_with_a_name_of_its_own(make: Make) -> None:
    async def body() -> None:
        async with make(3) as host:
            inventory = await host.probe.discover()
            assert [gpu.index for gpu in inventory.gpus] == [0, 1, 2]
            assert len({gpu.uuid for gpu in inventory.gpus}) == 3
            assert {gpu.uuid.startswith("GPU-") for gpu in inventory.gpus} == {True}
            assert {gpu.model for gpu in inventory.gpus} == {"h100"}
            assert {gpu.interface for gpu in inventory.gpus} == {"sxm"}
            assert {gpu.memory_bytes for gpu in inventory.gpus} == {81559 * 1024**2}
            assert {gpu.health for gpu in inventory.gpus} == {GpuHealth.HEALTHY}
            assert inventory.problem is None
            assert inventory.cuda_version == "12.8"

    run(body())


def test_what_is_simulated_says_so_everywhere(make: Make) -> None:
    async def body() -> None:
        async with make(2) as host:
            inventory = await host.probe.discover()
            assert inventory.simulated == host.is_simulated
            assert {gpu.simulated for gpu in inventory.gpus} == {host.is_simulated}
            assert {"SIMULATED" in gpu.name for gpu in inventory.gpus} == {host.is_simulated}
            assert {gpu.uuid.startswith("GPU-SIM-") for gpu in inventory.gpus} == {host.is_simulated}

    run(body())


def test_discovering_again_finds_the_same(make: Make) -> None:
    async def body() -> None:
        async with make(2) as host:
            assert await host.probe.discover() == await host.probe.discover()

    run(body())


def test_reads_every_card_in_order(make: Make) -> None:
    async def body() -> None:
        async with make(3) as host:
            inventory = await host.probe.discover()
            await until(lambda: len(host.probe.readings()) == 3)
            readings = host.probe.readings()
            assert [each.uuid for each in readings] == [gpu.uuid for gpu in inventory.gpus]
            assert {each.at for each in readings} == {NOW}
            for each in readings:
                assert each.utilization_ratio is not None
                assert 0 <= each.utilization_ratio <= 1
                assert each.power_watts is not None
                assert 0 < each.power_watts <= 700
                assert each.fan_ratio is None, "an H100 has none: absent, not zero"

    run(body())


def test_one_lost_card_is_data_and_leaves_the_others(make: Make) -> None:
    async def body() -> None:
        async with make(3) as host:
            before = await host.probe.discover()
            host.lose(1)
            after = await host.probe.discover()
            assert [gpu.uuid for gpu in after.gpus] == [gpu.uuid for gpu in before.gpus]
            assert [gpu.health for gpu in after.gpus] == [
                GpuHealth.HEALTHY,
                GpuHealth.UNHEALTHY,
                GpuHealth.HEALTHY,
            ]
            assert after.gpus[1].problem
            assert after.gpus[1].model == "h100", "what is known of it stays known"
            read = [before.gpus[0].uuid, before.gpus[2].uuid]
            await until(lambda: [each.uuid for each in host.probe.readings()] == read)

    run(body())


def test_tells_changes_and_only_changes(make: Make) -> None:
    async def body() -> None:
        async with make(2) as host:
            before = await host.probe.discover()
            changes = host.probe.changes()
            host.lose(0)
            async with asyncio.timeout(10):
                ill = await anext(changes)
            assert ill.gpus[0].health is GpuHealth.UNHEALTHY
            assert ill.gpus[1] == before.gpus[1]
            host.mend()
            async with asyncio.timeout(10):
                well = await anext(changes)
            assert well == before

    run(body())


def test_every_error_is_told_once_to_everybody_in_order(make: Make) -> None:
    async def body() -> None:
        async with make(2) as host:
            gpus = (await host.probe.discover()).gpus
            early = host.probe.faults()
            host.report(1, 79)
            async with asyncio.timeout(10):
                first = await anext(early)
            assert (first.uuid, first.xid, first.at) == (gpus[1].uuid, 79, NOW)
            assert (first.gpu_instance, first.pid, first.process) == (None, None, None)
            host.report(0, 31)
            host.report(0, 31)
            late = host.probe.faults()
            async with asyncio.timeout(10):
                told = [await anext(early), await anext(early)]
                all_of_them = [await anext(late) for _ in range(3)]
            assert [(each.uuid, each.xid) for each in told] == [(gpus[0].uuid, 31)] * 2
            assert all_of_them == [first, *told], "who comes late hears what was before"

    run(body())


def test_no_card_at_all_is_an_empty_inventory_with_a_problem(make: Make) -> None:
    async def body() -> None:
        async with make(0) as host:
            inventory = await host.probe.discover()
            assert inventory.gpus == ()
            assert inventory.problem
            assert host.probe.readings() == ()

    run(body())
