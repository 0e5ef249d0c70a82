"""Each row of the health table that a driver can show, from its signal to what becomes of bids and leases.

The genuine nvidia-ml-py in its worker on the simulated library, the real loop, watch and lanes.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from provider.core.events import GpuCordoned, GpuUncordoned
from provider.core.health import ROW
from provider.core.health_row import Action
from provider.core.health_rows import ROWS
from provider.core.xids import raised_by
from provider.domain.gpu import GpuHealth
from provider.domain.gpu_health import GpuSignal
from provider.domain.journal import EventKind
from provider.domain.market import Refusal
from provider.domain.moment import MINUTE
from provider.domain.resources import MIB
from provider.sim.nvml.state import SimulatedDriver
from tests.agents import H100, ask, group, lease_of, order, resources, unit
from tests.integration.gpu.driver_cases import CASES, Case
from tests.integration.gpu.health_world import DRIVEN, HealthWorld, drives, quiet, rented
from tests.probing import QUICK, run, simulated_library

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

        async with rented(built, tmp_path, prepare, case.nvml) as world:
            await world.heard()
            if not case.only_idle:
                await _on_the_leased_card(world, case, action)
            await _on_the_offered_card(world, case, action)
            if case.mends is not None:
                await _mended(world, case)

    run(body())


async def _breaks(world: HealthWorld, case: Case, index: int) -> None:
    case.breaks(world.driver, index)
    if case.again_after is not None:
        await world.until(lambda: world.signals(index), "the first is taken in")
        assert case.signal not in world.signals(index), "it takes a second"
        world.clock.step(case.again_after)
        case.breaks(world.driver, index)


async def _on_the_leased_card(world: HealthWorld, case: Case, action: Action) -> None:
    await _breaks(world, case, 0)
    await world.until(lambda: case.signal in world.signals(0), f"{case.signal} on the leased card")
    if action is Action.EVICT:
        await world.until(world.was_evicted, "the lease ends")
        assert "GPU-00000000" in next(each.text for each in world.news() if each.kind is EventKind.GPU_FAILED)
    else:
        assert world.is_running(), "the lease lives"
        assert world.health(0) is ROW[case.signal].state


async def _on_the_offered_card(world: HealthWorld, case: Case, action: Action) -> None:
    await _breaks(world, case, 1)
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


def test_every_row_of_the_table_drives_an_agent_somewhere() -> None:
    """A row that is added without a test of the whole agent fails here."""
    importlib.import_module("tests.integration.gpu.test_health_upsets")
    of_table = {case.signal for case in CASES}
    assert of_table | DRIVEN == {row.signal for row in ROWS} == set(GpuSignal)
    assert not of_table & DRIVEN, "one place for each"


def test_every_signal_that_an_xid_raises_is_driven_by_one() -> None:
    raised = {raised_by(number) for number in range(1, 1000)} - {None}
    assert raised <= {case.signal for case in CASES if case.xid is not None}


def test_a_programs_error_is_told_to_its_tenant_and_the_card_sold_on(built: Path, tmp_path: Path) -> None:
    async def body() -> None:
        async with rented(built, tmp_path, quiet) as world:
            await world.heard()
            world.driver.xid(0, 31)
            await world.until(world.faults, "the tenant is told")
            (told,) = world.faults()
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
                await world.until(world.faults, "it is told")
                (told,) = world.faults()
                assert told.text.startswith(f"[your program] {world.cards()[1].uuid}: Xid 13")
                assert told.text.endswith("(python3)")

    writer = os.open(log, os.O_RDWR)
    try:
        run(body())
    finally:
        os.close(writer)


@drives(S.APP_FAULTS)
def test_a_program_that_fails_for_several_tenants_is_perhaps_the_cards_fault(
    built: Path, tmp_path: Path
) -> None:
    """For one of them it is not, however often it starts anew; the one who has the card then keeps it."""

    async def body() -> None:
        async with rented(built, tmp_path, quiet) as world:
            await world.heard()
            await world.award(2)  # the other card is taken, and stays so

            async def fails(number: int, owner: str, times: int) -> None:
                world.clock.step(2 * MINUTE)
                world.driver.xid(0, 13)
                await world.until(lambda: len(world.faults(number, owner)) == times, f"{owner} is told")

            await fails(1, "alice", 1)
            await fails(1, "alice", 2)
            await world.ends(1)
            await world.rent(3)
            await fails(3, "alice", 1)
            assert (world.signals(0), world.health(0)) == (set(), HEALTHY)
            await world.ends(3)
            await world.rent(1, owner="bob")
            await fails(1, "bob", 1)
            await world.until(lambda: S.APP_FAULTS in world.signals(0), "it is held against the card")
            assert world.is_running(1, "bob")
            assert world.is_running(2)
            await world.ends(1, "bob")
            world.market.open_order(order(4))
            await world.until(lambda: order(4).id in world.loop.state.orders, "an order that is refused")
            assert lease_of(4) not in world.loop.state.bids

    run(body())


@drives(S.AWAITING_CHECK)
def test_a_card_is_sold_again_only_when_it_is_clean(built: Path, tmp_path: Path) -> None:
    async def body() -> None:
        async with rented(built, tmp_path, quiet) as world:
            world.market.open_order(order(3))
            await world.until(lambda: order(3).id in world.loop.state.orders, "no card is left")
            card = world.driver.card(0)
            card.run(4_000_000, memory_bytes=10**10)
            card.memory_used = 10**10
            await world.ends()
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


@drives(S.CONFIDENTIAL_NOT_READY)
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


@drives(S.CORDONED)
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
                await world.heard()
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
            await world.heard()
            for _ in range(40):
                world.driver.xid(0, 13)
                await asyncio.sleep(0.01)
            await world.until(world.faults, "it is remembered")
            (seen,) = world.loop.state.gpu_records[world.cards()[0].uuid].faults
            assert seen.xid == 13
            assert len(world.faults()) == 1

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
                await world.heard()
                await world.rent(1, INSTANCE)
                await world.ends()
                await world.rent(2, INSTANCE)
                await world.rent(3, INSTANCE)
                driver.xid(0, 62)
                for number in (2, 3):
                    await world.until(partial(world.was_evicted, number), "its lease ends")

    run(body())
