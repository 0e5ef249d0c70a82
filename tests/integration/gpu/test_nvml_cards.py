"""What the real probe and the real worker read from the simulated library, and make of what they cannot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from provider.sim.nvml.state import SimulatedDriver
from provider.sim.waiting import until
from tests.probing import DEGRADED, HEALTHY, QUICK, change, health, probing, run, simulated_library


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[SimulatedDriver]:
    with SimulatedDriver(simulated_library(), tmp_path) as simulated:
        yield simulated


def test_reads_what_the_driver_says(driver: SimulatedDriver) -> None:
    card = driver.add("rtx4090")
    card.utilization_percent = 37
    card.memory_used = 3 * 1024**3
    card.energy_millijoules = 123_456
    card.run(4711, 4712, memory_bytes=1024**3)
    driver.set_power(0, 311)

    async def body() -> None:
        async with probing(driver) as probe:
            (gpu,) = (await probe.discover()).gpus
            assert (gpu.model, gpu.interface, gpu.architecture) == ("rtx4090", "pcie", "ada")
            assert (gpu.compute_capability, gpu.power_limit_watts) == ("8.9", 450.0)
            assert (gpu.pci_bus_id, gpu.minor) == ("0000:18:00.0", 0)
            await until(lambda: bool(probe.readings()))
            (reading,) = probe.readings()
            assert reading.utilization_ratio == 0.37
            assert reading.memory_used_bytes == 3 * 1024**3
            assert reading.memory_reserved_bytes == 500 * 1024**2
            assert reading.power_watts == 311.0
            assert reading.energy_joules == 123.456
            assert reading.temperature_celsius == 34.0
            assert reading.fan_ratio == 0.3
            assert reading.clock_sm_hertz == 2.52e9
            assert reading.processes is not None
            assert len(reading.processes) == 2

    run(body())


def test_what_a_card_cannot_tell_is_absent_and_never_zero(driver: SimulatedDriver) -> None:
    driver.add("gb10").lacks("nvmlDeviceGetUtilizationRates")
    driver.add("t4").lacks("nvmlDeviceGetTotalEnergyConsumption")

    async def body() -> None:
        async with probing(driver) as probe:
            inventory = await probe.discover()
            assert [gpu.memory_bytes for gpu in inventory.gpus] == [None, 15360 * 1024**2]
            assert health(inventory) == [HEALTHY, HEALTHY]
            await until(lambda: len(probe.readings()) == 2)
            spark, t4 = probe.readings()
            assert (spark.utilization_ratio, spark.memory_used_bytes, spark.fan_ratio) == (None, None, None)
            assert (t4.utilization_ratio, t4.energy_joules) == (0.0, None)
            assert probe.status().failures == (), "an absent capability is not a failure"

    run(body())


def test_older_calls_stand_in_for_newer_ones(driver: SimulatedDriver) -> None:
    card = driver.add("h100")
    card.lacks("nvmlDeviceGetMemoryInfo_v2")
    card.lacks("nvmlDeviceGetTemperatureV")
    card.fields[186].is_supported = 0
    card.memory_used = 1024**3

    async def body() -> None:
        async with probing(driver) as probe:
            assert (await probe.discover()).gpus[0].memory_bytes == 81559 * 1024**2
            await until(lambda: bool(probe.readings()))
            (reading,) = probe.readings()
            assert reading.memory_used_bytes == 1024**3 + 500 * 1024**2, (
                "the old call counts reserved as used"
            )
            assert reading.memory_reserved_bytes is None
            assert reading.power_watts == 70.0
            assert reading.temperature_celsius == 34.0

    run(body())


def test_a_driver_older_than_the_bindings_is_read_by_its_older_calls(tmp_path: Path) -> None:
    absent = (
        "nvmlDeviceGetMemoryInfo_v2",
        "nvmlDeviceGetTemperatureV",
        "nvmlDeviceGetComputeRunningProcesses_v3",
        "nvmlDeviceGetMigMode",
    )
    older = simulated_library(without=absent)

    async def body() -> None:
        with SimulatedDriver(older, tmp_path) as driver:
            driver.add("h100")
            async with probing(driver) as probe:
                assert health(await probe.discover()) == [HEALTHY]
                await until(lambda: bool(probe.readings()))
                (reading,) = probe.readings()
                assert reading.memory_used_bytes == 500 * 1024**2
                assert reading.temperature_celsius == 34.0
                assert reading.processes is None
                assert probe.status().failures == ()

    run(body())


@pytest.mark.parametrize("code", [15, 999])
def test_one_dead_handle_among_eight_leaves_seven(driver: SimulatedDriver, code: int) -> None:
    for _ in range(8):
        driver.add("h100")
    driver.fault("nvmlDeviceGetHandleByIndex_v2", gpu=3, code=code)

    async def body() -> None:
        async with probing(driver) as probe:
            inventory = await probe.discover()
            assert [gpu.index for gpu in inventory.gpus] == [0, 1, 2, 4, 5, 6, 7]
            assert health(inventory) == [HEALTHY] * 7
            assert inventory.problem is not None
            assert inventory.problem.startswith("1 of 8 GPUs cannot be read (index 3: ")
            await until(lambda: len(probe.readings()) == 7)

    run(body())


def test_a_card_that_keeps_failing_is_degraded_until_it_stops(driver: SimulatedDriver) -> None:
    driver.add("h100")
    driver.add("h100")

    async def body() -> None:
        async with probing(driver) as probe:
            await probe.discover()
            driver.fault("nvmlDeviceGetUtilizationRates", gpu=1, code=999)
            ill = await change(probe, lambda inventory: DEGRADED in health(inventory))
            assert health(ill) == [HEALTHY, DEGRADED]
            assert ill.gpus[1].problem == "nvmlDeviceGetUtilizationRates keeps failing: unknown error"
            await until(lambda: [each.utilization_ratio for each in probe.readings()] == [0.0, None])
            driver.clear_faults()
            well = await change(probe, lambda inventory: DEGRADED not in health(inventory))
            assert health(well) == [HEALTHY, HEALTHY]
            ((symbol, code, count),) = probe.status().failures
            assert (symbol, code) == ("nvmlDeviceGetUtilizationRates", 999)
            assert count >= 3

    run(body())


def test_a_single_failure_is_nothing(driver: SimulatedDriver) -> None:
    driver.add("h100")

    async def body() -> None:
        async with probing(driver) as probe:
            before = await probe.discover()
            fault = driver.fault("nvmlDeviceGetTemperatureV", gpu=0, code=999, times=2)
            sweeps = probe.status().last_success
            await until(lambda: fault.hits == 2 and probe.status().last_success != sweeps)
            assert await probe.discover() == before

    run(body())


def test_an_unreadable_name_is_no_crash_and_no_sale(driver: SimulatedDriver) -> None:
    driver.add("h100").name = b"\xff\xfe garbage"
    driver.add("h100")

    async def body() -> None:
        async with probing(driver) as probe:
            inventory = await probe.discover()
            assert health(inventory) == [DEGRADED, HEALTHY]
            assert (inventory.gpus[0].model, inventory.gpus[0].problem) == (
                "unknown",
                "its name cannot be read",
            )

    run(body())


def test_answers_that_make_no_sense_are_gaps_and_no_crash(driver: SimulatedDriver) -> None:
    strange = driver.add("h100")
    strange.pci_bus_id = b"\xff\xfe:00.0"
    strange.fields[82].is_supported, strange.fields[82].value_type = 1, 99
    driver.add("h100").pci_bus_id = b"nonsense"

    async def body() -> None:
        async with probing(driver) as probe:
            inventory = await probe.discover()
            assert [gpu.pci_bus_id for gpu in inventory.gpus] == [None, None]
            assert [gpu.model for gpu in inventory.gpus] == ["h100", "h100"]
            await until(lambda: len(probe.readings()) == 2)
            assert probe.readings()[0].temperature_memory_celsius is None
            assert probe.readings()[0].power_watts == 70.0
            assert probe.status().restarts == ()
            assert {code for _, code, _ in probe.status().failures} == {-1}

    run(body())


@pytest.mark.parametrize(
    ("version", "is_told"),
    [(b"535.54.03", False), (b"535.86.10", False), (b"535.104.05", True), (b"590.48.01", True), (b"?", True)],
)
def test_drivers_whose_list_of_processes_is_garbage_are_not_asked_for_it(
    driver: SimulatedDriver, version: bytes, is_told: bool
) -> None:
    driver.state.driver_version = version
    driver.add("h100").run(7)

    async def body() -> None:
        async with probing(driver) as probe:
            await until(lambda: bool(probe.readings()))
            told = probe.readings()[0].processes
            assert (told is not None) is is_told

    run(body())


def test_a_call_that_takes_long_is_told_and_the_check_of_a_slow_memory_is_not(
    driver: SimulatedDriver,
) -> None:
    for _ in range(3):
        driver.add("h100")
    driver.card(2).lacks("nvmlDeviceValidateInforom")
    driver.slow("nvmlDeviceValidateInforom", 150, gpu=0)
    settings = replace(QUICK, slow_call_s=0.1)

    async def body() -> None:
        async with probing(driver, settings) as probe:
            assert [gpu.is_inforom_corrupt for gpu in (await probe.discover()).gpus] == [False, False, None]
            driver.slow("nvmlDeviceGetUtilizationRates", 150, gpu=1)
            told = await change(probe, lambda told: told.gpus[1].slow_call is not None)
            assert (told.gpus[1].slow_call or "").startswith("nvmlDeviceGetUtilizationRates took 0.")
            assert told.gpus[0].slow_call is None
            driver.clear_faults()
            driver.card(0).is_inforom_corrupt = 1
            told = await change(probe, lambda told: bool(told.gpus[0].is_inforom_corrupt))
            await change(probe, lambda told: told.gpus[1].slow_call is None)
            assert health(told) == [HEALTHY] * 3, "whether that keeps it from sale is the table's"

    run(body())


def test_what_a_card_is_comes_each_from_its_own_call(driver: SimulatedDriver) -> None:
    card = driver.add("h100")
    card.vbios = b"96.00.A5.00.01"
    card.power_limit_milliwatts, card.power_default_milliwatts = 500_000, 700_000
    card.has_ecc, card.is_ecc_on, card.is_ecc_pending = 1, 1, 0
    card.is_mig_pending = 1
    card.clock_most_megahertz[:] = (1980, 1981, 2619, 1545)
    card.pcie_width_most, card.pcie_generation_most = 16, 5
    card.thresholds_celsius[:3] = (95, 92, 105)
    card.link_count = 6
    driver.state.has_confidential = driver.state.is_confidential = 1
    driver.add("l40s")

    async def body() -> None:
        async with probing(driver) as probe:
            gpu, older = (await probe.discover()).gpus
            assert (gpu.vbios, gpu.power_limit_watts, gpu.power_limit_default_watts) == (
                "96.00.A5.00.01",
                500.0,
                700.0,
            )
            assert (gpu.is_ecc_on, gpu.is_ecc_to_change) == (True, True)
            assert (gpu.is_mig_on, gpu.is_mig_to_change) == (False, True)
            assert (gpu.clock_graphics_most_hertz, gpu.clock_sm_most_hertz) == (1.98e9, 1.981e9)
            assert (gpu.clock_memory_most_hertz, gpu.clock_video_most_hertz) == (2.619e9, 1.545e9)
            assert (gpu.pcie_width_most, gpu.pcie_generation_most) == (16, 5)
            assert (gpu.shutdown_celsius, gpu.slowdown_celsius, gpu.memory_most_celsius) == (95, 92, 105)
            assert gpu.nvlinks == 6, "counted, where the driver does not tell"
            assert (gpu.is_confidential, gpu.is_confidential_ready) == (True, False)
            assert (older.is_confidential, older.is_ecc_on, older.nvlinks) == (None, None, None)
            driver.state.is_confidential_ready = 1
            ready = await change(probe, lambda told: bool(told.gpus[0].is_confidential_ready))
            driver.state.is_confidential = 0
            off = await change(probe, lambda told: told.gpus[0].is_confidential is False)
            assert (ready.gpus[1], off.gpus[0].is_confidential_ready) == (older, None)

    run(body())


def test_a_card_that_comes_or_goes_is_noticed(driver: SimulatedDriver) -> None:
    driver.add("h100")

    async def body() -> None:
        async with probing(driver) as probe:
            await probe.discover()
            driver.add("t4")
            both = await change(probe, lambda inventory: len(inventory.gpus) == 2)
            assert [gpu.model for gpu in both.gpus] == ["h100", "t4"]
            driver.state.gpu_count = 1
            one = await change(probe, lambda inventory: len(inventory.gpus) == 1)
            assert [gpu.model for gpu in one.gpus] == ["h100"]

    run(body())
