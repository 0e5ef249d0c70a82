"""Every field of a reading, from the simulated library's numbers through the real worker; or its absence."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from provider.domain.gpu import ClockReason, GpuProcess, GpuReading
from provider.sim.nvml.state import SimulatedDriver
from provider.sim.nvml.structures import SimulatedCard
from provider.sim.waiting import until
from tests.probing import probing, run, simulated_library


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[SimulatedDriver]:
    with SimulatedDriver(simulated_library(), tmp_path) as simulated:
        yield simulated


def busy(card: SimulatedCard) -> None:
    """A number of its own in every place, so that none can stand in for another."""
    card.utilization_percent, card.memory_utilization_percent = 91, 47
    card.encoder_percent, card.decoder_percent = 11, 12
    card.sm_active_percent, card.tensor_active_percent = 83, 61
    card.memory_used, card.memory_reserved = 30 * 1024**3, 600 * 1024**2
    card.bar1_total, card.bar1_used = 128 * 1024**3, 7 * 1024**2
    card.energy_millijoules = 987_654_321
    card.temperature_celsius, card.margin_celsius = 71, 16
    card.clock_megahertz[:] = (1755, 1740, 2619, 1545)
    card.clock_reasons = 0x4 | 0x20
    card.performance_state = 1
    card.run(4242, 4243, memory_bytes=15 * 1024**3)
    card.has_ecc = card.is_ecc_on = 1
    card.ecc_errors[:] = (17, 2)
    card.remapped_banks[:] = (600, 30, 5, 3, 1)
    card.pcie_width, card.pcie_generation = 16, 5
    card.has_fabric, card.fabric_state, card.fabric_summary = 1, 3, 1
    numbers = {82: 88, 142: 5, 143: 6, 144: 1, 145: 0, 230: 4, 94: 21, 161: 31, 162: 32, 163: 33}
    for number, value in numbers.items():
        card.tell(number, value)
    for number, value in {197: 2**40 + 1, 198: 2**41 + 2, 138: 1000, 139: 2000}.items():
        card.tell(number, value, is_long=True)


EXPECTED = {
    "utilization_ratio": 0.91,
    "memory_utilization_ratio": 0.47,
    "encoder_ratio": 0.11,
    "decoder_ratio": 0.12,
    "memory_used_bytes": 30 * 1024**3,
    "memory_reserved_bytes": 600 * 1024**2,
    "bar1_used_bytes": 7 * 1024**2,
    "power_watts": 650.0,
    "energy_joules": 987_654.321,
    "temperature_celsius": 71.0,
    "temperature_memory_celsius": 88.0,
    "temperature_margin_celsius": 16.0,
    "fan_ratio": None,
    "clock_graphics_hertz": 1.755e9,
    "clock_sm_hertz": 1.74e9,
    "clock_memory_hertz": 2.619e9,
    "clock_video_hertz": 1.545e9,
    "performance_state": 1,
    "clock_reasons": frozenset({ClockReason.SW_POWER_CAP, ClockReason.SW_THERMAL}),
    "processes": tuple(GpuProcess(pid=pid, memory_bytes=15 * 1024**3) for pid in (4242, 4243)),
    "ecc_corrected": 17,
    "ecc_uncorrected": 2,
    "remapped_correctable": 5,
    "remapped_uncorrectable": 6,
    "is_remap_pending": True,
    "is_remap_failed": False,
    "remap_banks_exhausted": 4,
    "recovery_action": 4,
    "pcie_received_bytes": 2**41 + 2,
    "pcie_sent_bytes": 2**40 + 1,
    "pcie_replays": 21,
    "pcie_width": 16,
    "pcie_generation": 5,
    "nvlink_up": 18,
    "nvlink_received_bytes": 2000 * 1024,
    "nvlink_sent_bytes": 1000 * 1024,
    "nvlink_replays": 31,
    "nvlink_recoveries": 32,
    "nvlink_crc_errors": 33,
    "is_fabric_ready": True,
    "is_persistent": True,
}
BETWEEN_TWO_SAMPLES = {"sm_active_ratio": 0.83, "tensor_active_ratio": 0.61}


def facts(reading: GpuReading) -> dict[str, object]:
    told = {each.name: getattr(reading, each.name) for each in dataclasses.fields(reading)}
    return {name: value for name, value in told.items() if name not in {"uuid", "at"}}


def test_every_field_of_a_reading_comes_from_its_own_call(driver: SimulatedDriver) -> None:
    busy(driver.add("h100"))
    driver.link(0, None, 18)
    driver.set_power(0, 650)

    async def body() -> None:
        async with probing(driver) as probe:
            await until(lambda: bool(probe.readings()))
            await until(lambda: probe.readings()[0].sm_active_ratio is not None)
            assert facts(probe.readings()[0]) == EXPECTED | BETWEEN_TWO_SAMPLES
            assert probe.status().failures == ()

    run(body())


def test_a_card_that_tells_nothing_has_a_reading_without_figures(driver: SimulatedDriver) -> None:
    card = driver.add("rtx2080super")
    card.has_own_memory = card.has_fan = 0
    card.fields[186].is_supported = 0
    card.lacks(
        "nvmlDeviceGetUtilizationRates",
        "nvmlDeviceGetPowerUsage",
        "nvmlDeviceGetTotalEnergyConsumption",
        "nvmlDeviceGetTemperature",
        "nvmlDeviceGetTemperatureV",
        "nvmlDeviceGetMarginTemperature",
        "nvmlDeviceGetClockInfo",
        "nvmlDeviceGetCurrentClocksEventReasons",
        "nvmlDeviceGetCurrentClocksThrottleReasons",
        "nvmlDeviceGetPerformanceState",
        "nvmlDeviceGetComputeRunningProcesses_v3",
        "nvmlDeviceGetEncoderUtilization",
        "nvmlDeviceGetDecoderUtilization",
        "nvmlDeviceGetPersistenceMode",
    )

    async def body() -> None:
        async with probing(driver) as probe:
            await until(lambda: bool(probe.readings()))
            assert set(facts(probe.readings()[0]).values()) == {None}
            assert probe.status().failures == (), "what a card has not is no failure"

    run(body())


def test_what_is_known_to_be_absent_is_not_asked_again(driver: SimulatedDriver) -> None:
    driver.add("rtx2080super")
    fault = driver.fault("nvmlDeviceGetTotalEccErrors", code=3)
    links = driver.fault("nvmlDeviceGetNvLinkState", code=3)

    async def body() -> None:
        async with probing(driver) as probe:
            await until(lambda: bool(probe.readings()))
            sweeps: set[object] = set()

            def are_many() -> bool:
                sweeps.add(probe.status().last_success)
                return len(sweeps) > 10

            await until(are_many)
            assert fault.hits == 2, "once for each kind of error"
            assert links.hits == 3, "how many there are, where they lead, how many are up"

    run(body())


def test_counters_of_links_are_added_up_where_the_driver_does_not(driver: SimulatedDriver) -> None:
    card = driver.add("h100")
    driver.link(0, None, 4)
    card.counts_links_apart = 1
    card.tell(161, 5)
    card.tell(139, 100, is_long=True)

    async def body() -> None:
        async with probing(driver) as probe:
            await until(lambda: bool(probe.readings()))
            (reading,) = probe.readings()
            assert (reading.nvlink_replays, reading.nvlink_received_bytes) == (20, 400 * 1024)
            assert (reading.nvlink_crc_errors, reading.nvlink_sent_bytes) == (None, None)

    run(body())


def test_errors_are_counted_once_ecc_was_turned_on(driver: SimulatedDriver) -> None:
    card = driver.add("h100")
    card.has_ecc = 1

    async def body() -> None:
        async with probing(driver) as probe:
            await until(lambda: bool(probe.readings()))
            assert probe.readings()[0].ecc_corrected is None
            card.is_ecc_on = 1
            await until(lambda: probe.readings()[0].ecc_corrected == 0)

    run(body())


COMPLETED = {"fabric_state": 3, "fabric_summary": 1}


@pytest.mark.parametrize(
    ("version", "told", "ready"),
    [
        (3, COMPLETED, True),
        (3, COMPLETED | {"fabric_summary": 0}, True),
        (3, COMPLETED | {"fabric_summary": 2}, False),
        (3, COMPLETED | {"fabric_summary": 3}, False),
        (3, COMPLETED | {"fabric_state": 2}, False),
        (3, COMPLETED | {"fabric_status": 999}, False),
        (3, {"fabric_state": 0}, None),
        (2, COMPLETED | {"fabric_health_mask": 2}, True),
        (2, COMPLETED | {"fabric_health_mask": 1}, False),
        (2, {"fabric_state": 1}, False),
    ],
)
def test_a_card_is_ready_for_its_fabric_when_all_of_it_is_well(
    driver: SimulatedDriver, version: int, told: dict[str, int], ready: bool | None
) -> None:
    driver.state.fabric_version = version
    card = driver.add("h100")
    card.has_fabric = 1
    for name, value in told.items():
        setattr(card, name, value)

    async def body() -> None:
        async with probing(driver) as probe:
            await until(lambda: bool(probe.readings()))
            assert probe.readings()[0].is_fabric_ready is ready

    run(body())


def test_a_field_that_fails_this_time_is_a_gap_and_comes_back(driver: SimulatedDriver) -> None:
    driver.add("h100").tell(82, 60)

    async def body() -> None:
        async with probing(driver) as probe:
            await until(lambda: bool(probe.readings()))
            assert probe.readings()[0].temperature_memory_celsius == 60.0
            driver.fault("nvmlDeviceGetFieldValues", gpu=0, code=21)
            await until(lambda: probe.readings()[0].temperature_memory_celsius is None)
            assert probe.readings()[0].temperature_celsius == 34.0, "the others are read"
            driver.clear_faults()
            await until(lambda: probe.readings()[0].temperature_memory_celsius == 60.0)

    run(body())
