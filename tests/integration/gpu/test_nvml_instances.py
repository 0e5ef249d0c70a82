"""MIG instances as units of their own: found, sold apart, read, gone again; with their card's troubles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from provider.domain.gpu import Gpu, GpuInventory, MigSlice
from provider.sim.nvml.state import MIG_CONFIG_EVENT, SimulatedDriver
from provider.sim.waiting import until
from tests.probing import DEGRADED, HEALTHY, QUICK, UNHEALTHY, change, health, probing, run, simulated_library

GIB = 1024**3


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[SimulatedDriver]:
    """An A100 of two instances, in the second and the fifth place, and a whole H100."""
    with SimulatedDriver(simulated_library(), tmp_path) as simulated:
        card = simulated.add("a100")
        card.is_mig_on = card.is_mig_pending = 1
        card.instance(1, "3g.40gb", 40 * GIB)
        card.instance(4, "1g.10gb", 10 * GIB)
        simulated.add("h100")
        yield simulated


def instances(inventory: GpuInventory) -> list[Gpu]:
    return [gpu for gpu in inventory.gpus if gpu.mig is not None]


def test_instances_of_a_sparse_table_are_units_beside_their_card(driver: SimulatedDriver) -> None:
    async def body() -> None:
        async with probing(driver) as probe:
            inventory = await probe.discover()
            card, large, small, whole = inventory.gpus
            assert health(inventory) == [DEGRADED, HEALTHY, HEALTHY, HEALTHY]
            assert card.problem == "MIG is on: its instances are offered, and the card is not sold whole"
            assert (card.is_mig_on, card.is_mig_to_change, card.mig) == (True, False, None)
            assert large.mig == MigSlice(
                parent=card.uuid, profile="3g.40gb", gpu_instance=8, compute_instance=0, slices=3
            )
            assert small.mig == MigSlice(
                parent=card.uuid, profile="1g.10gb", gpu_instance=11, compute_instance=0, slices=1
            )
            assert [gpu.index for gpu in inventory.gpus] == [0, 0, 0, 1]
            assert {gpu.uuid[:4] for gpu in (large, small)} == {"MIG-"}
            assert len({gpu.uuid for gpu in inventory.gpus}) == 4
            assert (large.memory_bytes, small.memory_bytes) == (40 * GIB, 10 * GIB)
            assert {(gpu.model, gpu.interface, gpu.architecture) for gpu in (card, large, small)} == {
                ("a100", "sxm", "ampere")
            }
            assert small.name == "NVIDIA A100-SXM4-80GB MIG 1g.10gb"
            assert (small.pci_bus_id, small.minor) == (card.pci_bus_id, card.minor)
            assert (small.power_limit_watts, small.is_mig_on, small.nvlinks) == (None, None, None)
            assert (whole.is_mig_on, whole.mig) == (False, None)

    run(body())


def test_an_instance_has_its_own_memory_and_processes(driver: SimulatedDriver) -> None:
    card = driver.card(0)
    card.run(11, 12)
    card.processes[0].gpu_instance, card.processes[1].gpu_instance = 8, 11
    card.instances[1].memory_used, card.instances[4].memory_used = 5 * GIB, GIB

    async def body() -> None:
        async with probing(driver) as probe:
            inventory = await probe.discover()
            await until(lambda: len(probe.readings()) == 4)
            readings = {each.uuid: each for each in probe.readings()}
            _, large, small, _ = (readings[gpu.uuid] for gpu in inventory.gpus)
            assert (large.memory_used_bytes, small.memory_used_bytes) == (5 * GIB, GIB)
            assert [[each.pid for each in told.processes or ()] for told in (large, small)] == [[11], [12]]
            assert {(told.utilization_ratio, told.power_watts) for told in (large, small)} == {(None, None)}
            assert [each.uuid for each in probe.readings()] == [gpu.uuid for gpu in inventory.gpus]

    run(body())


def test_what_an_instance_does_is_known_where_the_driver_measures_it(driver: SimulatedDriver) -> None:
    card = driver.card(1)
    card.is_mig_on = card.is_mig_pending = 1
    card.sm_active_percent = 90
    made = card.instance(2, "1g.10gb", 10 * GIB)
    made.sm_active_percent, made.tensor_active_percent = 55, 22

    async def body() -> None:
        async with probing(driver) as probe:
            uuid = instances(await probe.discover())[-1].uuid

            def told() -> tuple[float | None, float | None]:
                reading = next(each for each in probe.readings() if each.uuid == uuid)
                return reading.sm_active_ratio, reading.tensor_active_ratio

            await until(lambda: len(probe.readings()) == 5)
            await until(lambda: told() != (None, None))
            assert told() == (0.55, 0.22)

    run(body())


def test_instances_come_and_go(driver: SimulatedDriver) -> None:
    card = driver.card(0)

    async def body() -> None:
        async with probing(driver) as probe:
            before = await probe.discover()
            card.instance(2, "2g.20gb", 20 * GIB)
            more = await change(probe, lambda inventory: len(inventory.gpus) == 5)
            assert [gpu.mig.profile for gpu in more.gpus if gpu.mig] == ["3g.40gb", "2g.20gb", "1g.10gb"]
            card.instances[2].is_there = 0
            assert await change(probe, lambda inventory: len(inventory.gpus) == 4) == before
            card.is_mig_on = card.is_mig_pending = 0
            assert probe.readings()[0].utilization_ratio is None
            whole = await change(probe, lambda inventory: len(inventory.gpus) == 2)
            assert health(whole) == [HEALTHY, HEALTHY]
            await until(lambda: probe.readings()[0].utilization_ratio == 0.0)

    run(body())


def test_the_driver_says_when_instances_change(driver: SimulatedDriver) -> None:
    card = driver.card(0)

    async def body() -> None:
        async with probing(driver, replace(QUICK, discover_every_s=3600)) as probe:
            await probe.discover()
            await until(lambda: driver.hears_events)
            card.instance(2, "2g.20gb", 20 * GIB)
            driver.event(0, MIG_CONFIG_EVENT, 0)
            await change(probe, lambda inventory: len(inventory.gpus) == 5)

    run(body())


def test_a_table_that_cannot_be_read_for_once_takes_no_instance_away(driver: SimulatedDriver) -> None:
    async def body() -> None:
        async with probing(driver) as probe:
            before = await probe.discover()
            fault = driver.fault("nvmlDeviceGetMigDeviceHandleByIndex", gpu=0, code=999)
            assert await probe.discover() == before
            assert fault.hits > 0

    run(body())


def test_what_holds_against_a_card_holds_against_its_instances(driver: SimulatedDriver) -> None:
    async def body() -> None:
        async with probing(driver) as probe:
            before = await probe.discover()
            driver.card(0).is_lost = 1
            lost = await change(probe, lambda inventory: UNHEALTHY in health(inventory))
            assert health(lost) == [UNHEALTHY, UNHEALTHY, UNHEALTHY, HEALTHY]
            assert [gpu.uuid for gpu in lost.gpus] == [gpu.uuid for gpu in before.gpus]
            driver.card(0).is_lost = 0
            assert await change(probe, lambda inventory: UNHEALTHY not in health(inventory)) == before

    run(body())


def test_instances_that_share_memory_are_not_sold(driver: SimulatedDriver) -> None:
    card = driver.card(0)
    twin = card.instance(2, "1c.3g.40gb", 40 * GIB)
    twin.gpu_instance, twin.compute_instance = 8, 1

    async def body() -> None:
        async with probing(driver) as probe:
            inventory = await probe.discover()
            told = {gpu.mig.profile: gpu for gpu in inventory.gpus if gpu.mig}
            assert [told[profile].health for profile in ("3g.40gb", "1c.3g.40gb", "1g.10gb")] == [
                DEGRADED,
                DEGRADED,
                HEALTHY,
            ]
            assert "shares its memory" in (told["1c.3g.40gb"].problem or "")

    run(body())


def test_a_card_without_instances_says_how_to_make_some(driver: SimulatedDriver) -> None:
    card = driver.card(0)
    card.instances[1].is_there = card.instances[4].is_there = 0

    async def body() -> None:
        async with probing(driver) as probe:
            gpus = (await probe.discover()).gpus
            assert [gpu.problem for gpu in gpus] == [
                "MIG is on and there are no instances: make some with nvidia-smi mig, or turn it off",
                None,
            ]

    run(body())


def test_an_error_of_an_instance_is_its_cards_and_names_it(driver: SimulatedDriver) -> None:
    async def body() -> None:
        async with probing(driver) as probe:
            card = (await probe.discover()).gpus[0]
            await until(lambda: driver.hears_events)
            driver.xid(0, 94, gpu_instance=11)
            fault = await anext(probe.faults())
            assert (fault.uuid, fault.xid, fault.gpu_instance) == (card.uuid, 94, 11)

    run(body())
