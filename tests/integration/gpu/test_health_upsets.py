"""What befalls the reading of cards, and what becomes of bids and leases: a driver that hangs, goes, answers
nonsense or is old, and a clock that is set.

The genuine nvidia-ml-py in its worker on the simulated library, the real loop, watch and lanes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from provider.core.events import GpuUncordoned
from provider.domain.gpu import GpuHealth
from provider.domain.gpu_health import GpuSignal
from provider.domain.moment import HOUR, MINUTE
from provider.sim.nvml.state import SimulatedDriver
from tests.agents import lease_of, order
from tests.integration.gpu.health_world import HealthWorld, drives, quiet, rented
from tests.probing import IMPATIENT, QUICK, pci_device, run, simulated_library

S = GpuSignal
HEALTHY = GpuHealth.HEALTHY


@pytest.fixture(scope="module")
def built() -> Path:
    return simulated_library()


@drives(S.TELEMETRY_LOST)
def test_a_dead_worker_ends_no_lease_and_no_bid_is_made_while_nobody_sees(
    built: Path, tmp_path: Path
) -> None:
    async def body() -> None:
        async with rented(built, tmp_path, quiet) as world:
            world.driver.fault("nvmlInitWithFlags", code=18)
            world.driver.fault("nvmlDeviceGetCount_v2", code=18)
            world.driver.fault("nvmlDeviceGetUtilizationRates", code=18)
            await world.until(lambda: S.TELEMETRY_LOST in world.signals(0) & world.signals(1), "it is blind")
            await world.until(lambda: world.was_withdrawn(2), "its bid is withdrawn")
            assert world.is_running()
            assert {world.health(index) for index in (0, 1)} == {GpuHealth.DEGRADED}
            world.driver.clear_faults()
            await world.until(lambda: world.health(0) is world.health(1) is HEALTHY, "it sees again")
            assert world.is_running()

    run(body())


def test_a_hung_call_degrades_its_card_and_no_other(built: Path, tmp_path: Path) -> None:
    async def body() -> None:
        with SimulatedDriver(built, tmp_path) as driver:
            for _ in range(2):
                driver.add("h100")
            world = HealthWorld(driver=driver, nvml=replace(IMPATIENT, quarantine_s=60))
            async with world.alive():
                await world.until(lambda: len(world.cards()) == 2, "the cards are read")
                await world.rent(1)
                await world.bid(2)
                driver.hang("nvmlDeviceGetUtilizationRates", gpu=0)
                await world.until(lambda: S.PROBE_TROUBLE in world.signals(0), "it is blamed")
                await world.until(lambda: world.health(1) is HEALTHY, "the other is well")
                assert world.is_running()
                assert lease_of(2) in world.loop.state.bids
                driver.clear_faults()

    run(body())


@drives(S.GPU_MISSING)
def test_a_card_that_vanishes_is_missed_and_its_lease_left_alone(built: Path, tmp_path: Path) -> None:
    async def body() -> None:
        async with rented(built, tmp_path, quiet) as world:
            second = world.cards()[1].uuid
            world.driver.state.gpu_count = 1
            await world.until(lambda: len(world.cards()) == 1, "it is gone")
            await world.until(lambda: world.was_withdrawn(2), "its bid is withdrawn")
            await world.until(
                lambda: S.GPU_MISSING in world.holds(second),
                "it is missed",
            )
            assert world.is_running()
            world.driver.state.gpu_count = 2
            await world.until(lambda: len(world.cards()) == 2 and world.health(1) is HEALTHY, "it is back")

    run(body())


def test_a_card_that_did_not_come_back_with_the_daemon_is_missed_too(built: Path, tmp_path: Path) -> None:
    async def body() -> None:
        with SimulatedDriver(built, tmp_path) as driver:
            for _ in range(2):
                driver.add("h100")
            world = HealthWorld(driver=driver)
            async with world.alive():
                await world.until(lambda: len(world.cards()) == 2, "the cards are read")
                second = world.cards()[1].uuid
            driver.state.gpu_count = 1
            world.host.reboot()
            async with world.alive():
                await world.until(lambda: len(world.cards()) == 1, "one is read")
                await world.until(lambda: S.GPU_MISSING in world.holds(second), "the other is missed")
                await world.rent(1)
                await world.loop.submit(GpuUncordoned(gpu=second))
                assert world.holds(second) == set(), "the operator took it out"

    run(body())


@drives(S.GPU_UNLISTED)
def test_a_card_that_only_the_bus_knows_is_told_and_the_others_are_sold(built: Path, tmp_path: Path) -> None:
    for bus_id in ("0000:18:00.0", "0000:28:00.0", "0000:38:00.0"):
        pci_device(tmp_path, bus_id, "0x10de", "0x030200")

    async def body() -> None:
        nvml = replace(QUICK, pci_devices=tmp_path / "devices")
        async with rented(built, tmp_path, quiet, nvml) as world:
            place = "PCI-0000:38:00.0"
            await world.until(lambda: world.holds(place) == {S.GPU_UNLISTED}, "it is told")
            assert world.is_running()
            assert lease_of(2) in world.loop.state.bids
            world.market.open_order(order(3))
            await world.until(lambda: order(3).id in world.loop.state.orders, "there is no third to be sold")
            world.driver.add("h100")
            await world.until(lambda: lease_of(3) in world.loop.state.bids, "there is")
            await world.until(lambda: not world.holds(place), "nothing is missing")

    run(body())


def test_errors_of_a_day_are_counted_over_a_restart(built: Path, tmp_path: Path) -> None:
    async def body() -> None:
        with SimulatedDriver(built, tmp_path) as driver:
            card = driver.add("h100")
            card.has_ecc = card.is_ecc_on = card.is_ecc_pending = 1
            world = HealthWorld(driver=driver)
            async with world.alive():
                await world.bid(1)
                await world.until(lambda: world.record(0).ecc_corrected, "it is counted")
            card.ecc_errors[0] = 900
            world.clock.step(23 * HOUR)
            async with world.alive():
                await world.until(world.probe.readings, "it is read")
                assert world.signals(0) == set()
                card.ecc_errors[0] = 1001
                await world.until(lambda: S.CORRECTABLE_ECC in world.signals(0), "too many within a day")

    run(body())


def test_a_reset_is_noticed_and_its_card_sold_again(built: Path, tmp_path: Path) -> None:
    def prepare(driver: SimulatedDriver) -> None:
        for index in (0, 1):
            driver.card(index).energy_millijoules = 10**9

    async def body() -> None:
        async with rented(built, tmp_path, prepare) as world:
            await world.heard()
            await world.until(
                lambda: world.record(0).energy_joules and world.record(1).energy_joules, "it is read"
            )
            world.driver.xid(0, 62)
            await world.until(world.was_evicted, "the lease ends")
            world.driver.xid(1, 94)
            await world.until(lambda: world.was_withdrawn(2), "its bid is withdrawn")
            world.driver.card(0).energy_millijoules = 7_000
            await world.bid(3)
            assert world.signals(0) == set()
            assert world.signals(1) == {S.CONTAINED_ECC}, "the other was not reset"
            world.clock.step(2 * MINUTE)
            world.driver.xid(0, 62)
            await world.until(
                lambda: world.signals(0) == {S.RESET_NEEDED, S.XID_REPEATED}, "a reset is no cure for it"
            )

    run(body())


@pytest.mark.parametrize("step", [-HOUR, HOUR])
def test_a_clock_that_is_set_holds_nothing_against_a_card_and_hides_nothing(
    built: Path, tmp_path: Path, step: int
) -> None:
    """Looks go on, whatever the hour: what comes after it is seen on both cards."""

    def prepare(driver: SimulatedDriver) -> None:
        driver.card(1).tell(144, 0)

    async def body() -> None:
        async with rented(built, tmp_path, prepare) as world:
            await world.heard()
            world.clock.step(step)
            world.driver.card(1).tell(144, 1)
            await world.until(lambda: S.REMAP_PENDING in world.signals(1), "readings are judged")
            if step < 0:  # else it has expired, as it should
                await world.until(lambda: world.was_withdrawn(2), "its bid is withdrawn")
            assert world.is_running()
            world.driver.xid(0, 79)
            await world.until(world.was_evicted, "errors are heard")
            assert world.ever(0) <= {S.GPU_LOST, S.AWAITING_CHECK}
            assert world.ever(1) == {S.REMAP_PENDING}

    run(body())


def test_a_name_that_becomes_unreadable_keeps_its_card_from_sale_and_its_lease(
    built: Path, tmp_path: Path
) -> None:
    """Bytes that are no text, as a damaged card was seen to answer."""

    async def body() -> None:
        async with rented(built, tmp_path, quiet) as world:
            names = [bytes(world.driver.card(index).name) for index in (0, 1)]
            for index in (0, 1):
                world.driver.card(index).name = b"NVIDIA \xff\xfe\x80"
            await world.until(lambda: S.PROBE_TROUBLE in world.signals(0) & world.signals(1), "both are so")
            await world.until(lambda: world.was_withdrawn(2), "its bid is withdrawn")
            assert world.is_running()
            for index in (0, 1):
                world.driver.card(index).name = names[index]
            await world.bid(3)
            assert world.health(0) is world.health(1) is HEALTHY

    run(body())


def test_a_driver_that_lacks_what_came_later_is_sold_like_any_other(tmp_path: Path) -> None:
    """Symbols that older libraries do not have, the way to hear of errors among them."""
    older = simulated_library(without=ABSENT)

    async def body() -> None:
        async with rented(older, tmp_path, quiet) as world:
            await world.until(world.probe.readings, "it is read")
            assert [world.signals(index) for index in (0, 1)] == [set(), set()]
            world.driver.card(0).is_lost = 1
            await world.until(world.was_evicted, "a lost card ends its lease")
            assert lease_of(2) in world.loop.state.bids
            assert not world.driver.hears_events
            await world.rent(2)

    run(body())


ABSENT = (
    "nvmlDeviceGetMemoryInfo_v2",
    "nvmlDeviceGetTemperatureV",
    "nvmlDeviceGetComputeRunningProcesses_v3",
    "nvmlDeviceGetMigMode",
    "nvmlDeviceGetGpuFabricInfoV",
    "nvmlDeviceGetFieldValues",
    "nvmlEventSetCreate",
)
