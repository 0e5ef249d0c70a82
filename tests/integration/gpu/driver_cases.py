"""The rows of the health table that a simulated driver can show: what breaks a card so, and what mends it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from provider.adapters.gpu.settings import NvmlSettings
from provider.domain.gpu_health import GpuSignal
from provider.domain.moment import MINUTE, Span
from provider.sim.nvml.state import SimulatedDriver
from tests.probing import QUICK

S = GpuSignal
Act = Callable[[SimulatedDriver, int], object]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One way to show a signal, on a card of the simulated driver."""

    signal: GpuSignal
    breaks: Act
    mends: Act | None = None
    """None where nothing that the driver shows does."""
    before: Act = lambda _driver, _index: None
    only_idle: bool = False
    """It is nothing on a card that a lease has."""
    again_after: Span | None = None
    """It takes the same once more, so much later by the clock."""
    nvml: NvmlSettings = QUICK
    xid: int | None = None
    """That the driver reports; None where it is read."""


def of_xid(signal: GpuSignal, number: int, again_after: Span | None = None) -> Case:
    return Case(
        signal=signal,
        breaks=lambda driver, index: driver.xid(index, number),
        again_after=again_after,
        xid=number,
    )


def tells(field: int, value: int) -> Act:
    return lambda driver, index: driver.card(index).tell(field, value)


def has(name: str, value: object) -> Act:
    return lambda driver, index: setattr(driver.card(index), name, value)


def _errors(place: int, count: int) -> Act:
    def add(driver: SimulatedDriver, index: int) -> None:
        driver.card(index).ecc_errors[place] += count

    return add


def _with_ecc(driver: SimulatedDriver, index: int) -> None:
    card = driver.card(index)
    card.has_ecc = card.is_ecc_on = card.is_ecc_pending = 1


def _with_limits(driver: SimulatedDriver, index: int) -> None:
    driver.card(index).thresholds_celsius[0:2] = [95, 90]


def _with_fabric(driver: SimulatedDriver, index: int) -> None:
    card = driver.card(index)
    card.has_fabric, card.fabric_state, card.fabric_summary = 1, 3, 1


def _with_width(driver: SimulatedDriver, index: int) -> None:
    card = driver.card(index)
    card.pcie_width = card.pcie_width_most = 16
    card.utilization_percent = 80


def _linked(driver: SimulatedDriver, index: int) -> None:
    if index == 0:
        driver.link(0, 1, 4)


def _linked_and_counting(driver: SimulatedDriver, index: int) -> None:
    _linked(driver, index)
    driver.card(index).tell(161, 0)


def _link(is_up: int) -> Act:
    def change(driver: SimulatedDriver, index: int) -> None:
        driver.card(index).links[0].is_up = is_up

    return change


def _banks(driver: SimulatedDriver, index: int) -> None:
    driver.card(index).remapped_banks[:] = (600, 30, 5, 3, 1)


def _well_banks(driver: SimulatedDriver, index: int) -> None:
    driver.card(index).tell(142, 0)  # a card that tells the one tells the other
    driver.card(index).remapped_banks[:] = (639, 0, 0, 0, 0)


def _in_use(driver: SimulatedDriver, index: int) -> None:
    driver.card(index).run(4_000_000, memory_bytes=10**9)


CASES = (
    of_xid(S.SUSPECT_XID, 32),
    of_xid(S.UNKNOWN_XID, 999),
    of_xid(S.CONTAINED_ECC, 94),
    of_xid(S.XID_REPEATED, 32, again_after=Span(2 * MINUTE)),
    of_xid(S.REMAP_PENDING, 63),
    of_xid(S.RESET_NEEDED, 62),
    of_xid(S.REMAP_FAILED, 64),
    of_xid(S.UNCORRECTED_ECC, 48),
    of_xid(S.GPU_LOST, 79),
    of_xid(S.REBOOT_NEEDED, 151),
    of_xid(S.NVLINK_FAULT, 74),
    Case(signal=S.REMAP_PENDING, before=tells(144, 0), breaks=tells(144, 1), mends=tells(144, 0)),
    Case(signal=S.REMAP_FAILED, before=tells(145, 0), breaks=tells(145, 1)),
    Case(signal=S.REMAP_EXHAUSTED, before=_well_banks, breaks=_banks),
    Case(signal=S.UNCORRECTED_ECC, before=_with_ecc, breaks=_errors(1, 1)),
    Case(signal=S.CORRECTABLE_ECC, before=_with_ecc, breaks=_errors(0, 1001)),
    Case(signal=S.RECOVERY_ADVISED, before=tells(230, 0), breaks=tells(230, 1), mends=tells(230, 0)),
    Case(signal=S.REBOOT_ADVISED, before=tells(230, 0), breaks=tells(230, 2)),
    Case(signal=S.NVLINK_DOWN, before=_linked, breaks=_link(0), mends=_link(1)),
    Case(signal=S.NVLINK_ERRORS, before=_linked_and_counting, breaks=tells(161, 11)),
    Case(
        signal=S.FABRIC_NOT_READY,
        before=_with_fabric,
        breaks=has("fabric_state", 2),
        mends=has("fabric_state", 3),
    ),
    Case(signal=S.HW_THERMAL, breaks=has("clock_reasons", 0x48), mends=has("clock_reasons", 0x1)),
    Case(signal=S.POWER_BRAKE, breaks=has("clock_reasons", 0x88), mends=has("clock_reasons", 0x1)),
    Case(signal=S.SW_THERMAL, breaks=has("clock_reasons", 0x20), mends=has("clock_reasons", 0x1)),
    Case(
        signal=S.TOO_HOT,
        before=_with_limits,
        breaks=has("temperature_celsius", 88),
        mends=has("temperature_celsius", 70),
    ),
    Case(signal=S.TOO_HOT, breaks=has("margin_celsius", 2), mends=has("margin_celsius", 40)),
    Case(signal=S.NEAR_SHUTDOWN, before=_with_limits, breaks=has("temperature_celsius", 94)),
    Case(signal=S.PCIE_NARROW, before=_with_width, breaks=has("pcie_width", 8), mends=has("pcie_width", 16)),
    Case(signal=S.PCIE_REPLAYS, before=tells(94, 0), breaks=tells(94, 11)),
    Case(
        signal=S.MODE_CHANGE_PENDING,
        before=_with_ecc,
        breaks=has("is_ecc_pending", 0),
        mends=has("is_ecc_pending", 1),
    ),
    Case(signal=S.PERSISTENCE_OFF, breaks=has("is_persistent", 0), mends=has("is_persistent", 1)),
    Case(signal=S.FOREIGN_PROCESS, breaks=_in_use, mends=has("process_count", 0), only_idle=True),
    Case(
        signal=S.NOT_CLEAN,
        breaks=has("memory_used", 2 * 10**9),
        mends=has("memory_used", 0),
        only_idle=True,
    ),
    Case(
        signal=S.GHOST_LOAD,
        breaks=has("utilization_percent", 97),
        mends=has("utilization_percent", 1),
        only_idle=True,
    ),
    Case(
        signal=S.PROBE_TROUBLE,
        breaks=lambda driver, index: driver.fault("nvmlDeviceGetUtilizationRates", gpu=index, code=999),
        mends=lambda driver, _index: driver.clear_faults(),
    ),
    Case(signal=S.GPU_LOST, breaks=has("is_lost", 1)),
    Case(
        signal=S.RESET_NEEDED,
        breaks=lambda driver, index: driver.fault("nvmlDeviceGetUtilizationRates", gpu=index, code=16),
    ),
    Case(
        signal=S.PROBE_SLOW,
        breaks=lambda driver, index: driver.slow("nvmlDeviceGetUtilizationRates", 150, gpu=index),
        mends=lambda driver, _index: driver.clear_faults(),
        nvml=replace(QUICK, slow_call_s=0.1),
    ),
    Case(signal=S.INFOROM_CORRUPT, breaks=has("is_inforom_corrupt", 1)),
)
