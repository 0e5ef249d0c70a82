"""Each row of the health table that a driver can show, from its signal to what becomes of bids and leases.

The genuine nvidia-ml-py in its worker on the simulated library, the real loop, watch and lanes.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from provider.core.events import GpuCordoned, GpuUncordoned
from provider.core.health import ROW
from provider.core.health_row import Action
from provider.domain.gpu import GpuHealth
from provider.domain.gpu_health import GpuSignal
from provider.domain.journal import EventKind
from provider.domain.market import CloseReason, Refusal
from provider.domain.resources import MIB
from provider.sim.nvml.state import SimulatedDriver
from tests.agents import H100, ask, group, lease_of, order, resources, unit
from tests.integration.gpu.driver_cases import CASES, Case
from tests.integration.gpu.health_world import HealthWorld, rented
from tests.probing import IMPATIENT, QUICK, run, simulated_library

S = GpuSignal
HEALTHY = GpuHealth.HEALTHY
INSTANCE = group(unit(resources(gpus=ask(1, replace(H100, ram="10Gi")))))
NAMES = [f"{case.signal}-{number}" for number, case in enumerate(CASES)]


@pytest.fixture(scope="module")
def built() -> Path:
    return simulated_library()


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_a_signal_is_followed_by_its_action(case: Case, built: Path, tmp_path: Path) -> None:
    """On the card with the lease first, then on the one with the bid; then it is mended."""
    action = ROW[case.signal].action

    async def body() -> None:
        def prepare(driver: SimulatedDriver) -> None:
            for index in (0, 1):
                case.before(driver, index)

        async with rented(built, tmp_path, prepare) as world:
            await heard(world)
            if not case.only_idle:
                await _on_the_leased_card(world, case, action)
            await _on_the_offered_card(world, case, action)
            if case.mends is not None:
                await _mended(world, case)

    run(body())


async def heard(world: HealthWorld) -> None:
    """Somebody waits for events: one that comes before is lost, as it is with NVML."""
    await world.until(lambda: world.driver.hears_events, "somebody hears events")


async def _on_the_leased_card(world: HealthWorld, case: Case, action: Action) -> None:
    case.breaks(world.driver, 0)
    await world.until(lambda: case.signal in world.signals(0), f"{case.signal} on the leased card")
    if action is Action.EVICT:
        await world.until(world.was_evicted, "the lease ends")
        assert "GPU-00000000" in next(each.text for each in world.news() if each.kind is EventKind.GPU_FAILED)
    else:
        assert world.is_running(), "the lease lives"
        assert world.health(0) is ROW[case.signal].state


async def _on_the_offered_card(world: HealthWorld, case: Case, action: Action) -> None:
    case.breaks(world.driver, 1)
    await world.until(lambda: case.signal in world.signals(1), f"{case.signal} on the offered card")
    if action is Action.NOTE:
        assert world.health(1) is HEALTHY
        assert lease_of(2) in world.loop.state.bids
        return
    await world.until(lambda: world.was_withdrawn(2), "its bid is withdrawn")
    world.market.open_order(order(3))
    await world.until(lambda: order(3).id in world.loop.state.orders, "an order that is refused")
    refused = world.loop.state.orders[order(3).id].refused
    of_others = {Refusal.GPU_BUSY} if case.only_idle else set()
    assert refused.why in {Refusal.GPU_UNHEALTHY, Refusal.NOT_BIDDING, *of_others}
    assert lease_of(3) not in world.loop.state.bids


async def _mended(world: HealthWorld, case: Case) -> None:
    assert case.mends is not None
    for index in (0, 1):
        case.mends(world.driver, index)
    await world.until(lambda: world.health(1) is HEALTHY, "the card is well again")
    if ROW[case.signal].action is not Action.NOTE:
        await world.until(lambda: lease_of(3) in world.loop.state.bids, "and sold again")
    if not case.only_idle:
        assert world.is_running()


def test_every_row_that_a_driver_shows_is_tried() -> None:
    by_other_means = {
        S.CORDONED,  # below
        S.AWAITING_CHECK,  # below
        S.APP_FAULTS,  # below
        S.XID_REPEATED,  # takes a minute between two: tests/unit/core/test_gpu_faults.py
        S.TELEMETRY_LOST,  # below
        S.GPU_MISSING,  # below
        S.CONFIDENTIAL_NOT_READY,  # below
    }
    assert {case.signal for case in CASES} == set(GpuSignal) - by_other_means


def quiet(_driver: SimulatedDriver) -> None:
    """Nothing special."""


def test_a_programs_error_is_told_to_its_tenant_and_the_card_sold_on(built: Path, tmp_path: Path) -> None:
    async def body() -> None:
        async with rented(built, tmp_path, quiet) as world:
            await heard(world)
            world.driver.xid(0, 31)
            await world.until(
                lambda: any(each.kind is EventKind.GPU_FAULT for each in world.news()), "the tenant is told"
            )
            (told,) = [each for each in world.news() if each.kind is EventKind.GPU_FAULT]
            assert told.text.startswith("[your program] GPU-00000000-")
            assert "Xid 31: a kernel of the program touched memory that is not its own" in told.text
            assert world.health(0) is HEALTHY
            assert world.is_running()

    run(body())


def test_an_error_is_told_to_the_lease_whose_process_the_kernel_names(built: Path, tmp_path: Path) -> None:
    """Even on a card that it does not have."""
    log = tmp_path / "kmsg"
    os.mkfifo(log)

    async def body() -> None:
        with SimulatedDriver(built, tmp_path) as driver:
            for _ in range(2):
                driver.add("h100")
            world = HealthWorld(driver=driver, nvml=replace(QUICK, kernel_log=log))
            async with world.alive():
                await world.until(lambda: len(world.cards()) == 2, "the cards are read")
                lease = await world.rent(1)
                (container,) = world.engine.leases[lease].values()
                pid = container.described(world.clock.now()).pid
                assert pid is not None
                await world.until(lambda: world.attribution.lease_of(pid) == lease, "its process is known")
                uptime_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
                text = f"4,1,{uptime_us},-;NVRM: Xid (PCI:0000:28:00): 13, pid={pid}, name=python3, Ch 1\n"
                os.write(writer, text.encode())
                await world.until(
                    lambda: any(each.kind is EventKind.GPU_FAULT for each in world.news()), "it is told"
                )
                (told,) = [each for each in world.news() if each.kind is EventKind.GPU_FAULT]
                assert told.text.startswith(f"[your program] {world.cards()[1].uuid}: Xid 13")
                assert told.text.endswith("(python3)")

    writer = os.open(log, os.O_RDWR)
    try:
        run(body())
    finally:
        os.close(writer)


def test_a_card_is_sold_again_only_when_it_is_clean(built: Path, tmp_path: Path) -> None:
    async def body() -> None:
        async with rented(built, tmp_path, quiet) as world:
            world.market.open_order(order(3))
            await world.until(lambda: order(3).id in world.loop.state.orders, "no card is left")
            card = world.driver.card(0)
            card.run(4_000_000, memory_bytes=10**10)
            card.memory_used = 10**10
            world.market.end_lease(lease_of(1), CloseReason.TENANT_CLOSED)
            await world.until(lambda: world.lease() is None, "the lease is over")
            await world.until(lambda: S.NOT_CLEAN in world.signals(0), "something was left")
            assert lease_of(3) not in world.loop.state.bids
            card.process_count = 0
            await world.until(
                lambda: world.loop.state.gpu_records[world.cards()[0].uuid].active, "it still holds"
            )
            card.memory_used = 0
            await world.until(lambda: lease_of(3) in world.loop.state.bids, "it is sold again")
            assert world.signals(0) == set()

    run(body())


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
                driver.hang("nvmlDeviceGetUtilizationRates", gpu=0)
                await world.until(lambda: S.PROBE_TROUBLE in world.signals(0), "it is blamed")
                await world.until(lambda: world.health(1) is HEALTHY, "the other is well")
                assert world.is_running()
                driver.clear_faults()

    run(body())


def test_a_card_that_vanishes_is_missed_and_its_lease_left_alone(built: Path, tmp_path: Path) -> None:
    async def body() -> None:
        async with rented(built, tmp_path, quiet) as world:
            second = world.cards()[1].uuid
            world.driver.state.gpu_count = 1
            await world.until(lambda: len(world.cards()) == 1, "it is gone")
            await world.until(lambda: world.was_withdrawn(2), "its bid is withdrawn")
            await world.until(
                lambda: (
                    second in world.loop.state.gpu_records
                    and world.loop.state.gpu_records[second].has(S.GPU_MISSING)
                ),
                "it is missed",
            )
            assert world.is_running()
            world.driver.state.gpu_count = 2
            await world.until(lambda: len(world.cards()) == 2 and world.health(1) is HEALTHY, "it is back")

    run(body())


def test_confidential_cards_that_are_not_ready_are_not_sold(built: Path, tmp_path: Path) -> None:
    def prepare(driver: SimulatedDriver) -> None:
        state = driver.state
        state.has_confidential = state.is_confidential = state.is_confidential_ready = 1

    async def body() -> None:
        async with rented(built, tmp_path, prepare) as world:
            world.driver.state.is_confidential_ready = 0
            await world.until(lambda: S.CONFIDENTIAL_NOT_READY in world.signals(1), "it is seen")
            await world.until(lambda: world.was_withdrawn(2), "its bid is withdrawn")
            assert world.is_running()

    run(body())


def test_an_operators_word_holds_over_a_restart_and_a_reboot_mends_a_lost_card(
    built: Path, tmp_path: Path
) -> None:
    async def body() -> None:
        with SimulatedDriver(built, tmp_path) as driver:
            for _ in range(2):
                driver.add("h100")
            world = HealthWorld(driver=driver)
            async with world.alive():
                await world.until(lambda: len(world.cards()) == 2, "the cards are read")
                await heard(world)
                first = world.cards()[0].uuid
                await world.loop.submit(GpuCordoned(gpu=first, why="its fan rattles"))
                driver.xid(1, 79)
                await world.until(lambda: S.GPU_LOST in world.signals(1), "it is lost")
            async with world.alive():
                await world.until(lambda: len(world.cards()) == 2, "the cards are read")
                assert world.signals(0) == {S.CORDONED}
                assert world.signals(1) == {S.GPU_LOST}
                world.market.open_order(order(1))
                await world.until(lambda: order(1).id in world.loop.state.orders, "nothing is for sale")
            world.host.reboot()
            async with world.alive():
                await world.until(lambda: len(world.cards()) == 2, "the cards are read")
                assert (world.signals(0), world.signals(1)) == ({S.CORDONED}, set())
                await world.until(lambda: lease_of(1) in world.loop.state.bids, "the other is for sale")
                await world.loop.submit(GpuUncordoned(gpu=first))
                assert world.health(0) is HEALTHY

    run(body())


def test_the_same_error_a_thousand_times_is_few_events(built: Path, tmp_path: Path) -> None:
    async def body() -> None:
        async with rented(built, tmp_path, quiet) as world:
            await heard(world)
            for _ in range(40):
                world.driver.xid(0, 13)
                await asyncio.sleep(0.01)
            await world.until(lambda: world.loop.state.gpu_records, "it is remembered")
            (seen,) = world.loop.state.gpu_records[world.cards()[0].uuid].faults
            assert seen.xid == 13
            assert len([each for each in world.news() if each.kind is EventKind.GPU_FAULT]) == 1

    run(body())


def test_an_instance_is_checked_and_sold_again_and_falls_with_its_card(built: Path, tmp_path: Path) -> None:
    async def body() -> None:
        with SimulatedDriver(built, tmp_path) as driver:
            card = driver.add("h100")
            card.is_mig_on = card.is_mig_pending = 1
            for place in (0, 1):
                card.instance(place, "1g.10gb", 9856 * MIB)
            world = HealthWorld(driver=driver)
            async with world.alive():
                await world.until(lambda: len(world.cards()) == 3, "the card and its instances are read")
                await heard(world)
                await world.rent(1, INSTANCE)
                world.market.end_lease(lease_of(1), CloseReason.TENANT_CLOSED)
                await world.until(lambda: world.lease() is None, "the lease is over")
                await world.rent(2, INSTANCE)
                await world.rent(3, INSTANCE)
                driver.xid(0, 62)
                for number in (2, 3):
                    await world.until(partial(world.was_evicted, number), "its lease ends")

    run(body())
