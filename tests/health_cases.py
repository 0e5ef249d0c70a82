"""The rows of the health table that look at readings: for each what is fine, what is not, how long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from provider.domain.gpu import ClockReason, GpuHealth
from provider.domain.gpu_health import GpuSignal
from provider.domain.moment import MINUTE, SECOND
from provider.domain.resources import MIB

HOLD = 5 * MINUTE
HOT = frozenset({ClockReason.HW_THERMAL, ClockReason.HW_SLOWDOWN})
BRAKED = frozenset({ClockReason.HW_POWER_BRAKE, ClockReason.HW_SLOWDOWN})
COOL: frozenset[ClockReason] = frozenset({ClockReason.SW_POWER_CAP, ClockReason.IDLE})
Facts = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A row that looks at readings: what is fine however long, what is not after ``after``."""

    signal: GpuSignal
    fine: Facts
    bad: Facts
    after: int = 0
    clears_after: int | None = HOLD
    """None: not by itself."""
    card: Facts = field(default_factory=dict)
    first: Facts = field(default_factory=dict)
    """A look before all."""


S = GpuSignal
CASES = (
    Case(signal=S.REMAP_PENDING, fine={"is_remap_pending": False}, bad={"is_remap_pending": True}),
    Case(
        signal=S.REMAP_FAILED,
        fine={"is_remap_failed": False},
        bad={"is_remap_failed": True},
        clears_after=None,
    ),
    Case(
        signal=S.REMAP_EXHAUSTED,
        fine={"remap_banks_exhausted": 0},
        bad={"remap_banks_exhausted": 1},
        clears_after=None,
    ),
    Case(
        signal=S.UNCORRECTED_ECC,
        first={"ecc_uncorrected": 3},
        fine={"ecc_uncorrected": 3},
        bad={"ecc_uncorrected": 4},
        after=5 * SECOND,
        clears_after=None,
    ),
    Case(
        signal=S.CORRECTABLE_ECC,
        first={"ecc_corrected": 50},
        fine={"ecc_corrected": 1050},
        bad={"ecc_corrected": 1051},
        clears_after=None,
    ),
    Case(signal=S.RECOVERY_ADVISED, fine={"recovery_action": 0}, bad={"recovery_action": 1}),
    Case(
        signal=S.RECOVERY_ADVISED,
        card={"name": "NVIDIA GeForce RTX 5090"},
        fine={"recovery_action": 1},
        bad={"recovery_action": 4},
    ),
    Case(
        signal=S.REBOOT_ADVISED,
        fine={"recovery_action": 1},
        bad={"recovery_action": 2},
        clears_after=None,
    ),
    Case(
        signal=S.NVLINK_DOWN,
        first={"nvlink_up": 18},
        fine={"nvlink_up": 18},
        bad={"nvlink_up": 17},
        after=10 * SECOND,
    ),
    Case(
        signal=S.NVLINK_ERRORS,
        first={"nvlink_replays": 0, "nvlink_recoveries": 0},
        fine={"nvlink_replays": 10, "nvlink_recoveries": 0},
        bad={"nvlink_replays": 10, "nvlink_recoveries": 1},
        clears_after=None,  # the window itself is an hour: below
    ),
    Case(
        signal=S.FABRIC_NOT_READY,
        fine={"is_fabric_ready": True},
        bad={"is_fabric_ready": False},
        after=MINUTE,
    ),
    Case(
        signal=S.HW_THERMAL,
        fine={"clock_reasons": BRAKED | COOL},
        bad={"clock_reasons": HOT},
        after=MINUTE,
        clears_after=10 * MINUTE,
    ),
    Case(
        signal=S.POWER_BRAKE,
        fine={"clock_reasons": HOT},
        bad={"clock_reasons": BRAKED},
        after=MINUTE,
        clears_after=10 * MINUTE,
    ),
    Case(
        signal=S.SW_THERMAL,
        fine={"clock_reasons": COOL},
        bad={"clock_reasons": frozenset({ClockReason.SW_THERMAL})},
        after=5 * MINUTE,
    ),
    Case(
        signal=S.TOO_HOT,
        card={"slowdown_celsius": 90.0},
        fine={"temperature_celsius": 76.0},
        bad={"temperature_celsius": 87.0},
        after=MINUTE,
    ),
    Case(
        signal=S.TOO_HOT,
        fine={"temperature_margin_celsius": 14.0},
        bad={"temperature_margin_celsius": 3.0},
        after=MINUTE,
    ),
    Case(
        signal=S.TOO_HOT,
        card={"memory_most_celsius": 95.0},
        fine={"temperature_memory_celsius": 84.0},
        bad={"temperature_memory_celsius": 96.0},
        after=MINUTE,
    ),
    Case(
        signal=S.NEAR_SHUTDOWN,
        card={"shutdown_celsius": 95.0},
        fine={"temperature_celsius": 92.0},
        bad={"temperature_celsius": 93.0},
        clears_after=None,
    ),
    Case(
        signal=S.PCIE_NARROW,
        card={"pcie_width_most": 16},
        fine={"pcie_width": 16, "utilization_ratio": 0.9},
        bad={"pcie_width": 8, "utilization_ratio": 0.9},
        after=5 * MINUTE,
    ),
    Case(
        signal=S.PCIE_REPLAYS,
        first={"pcie_replays": 0},
        fine={"pcie_replays": 10},
        bad={"pcie_replays": 11},
    ),
    Case(signal=S.PERSISTENCE_OFF, fine={"is_persistent": True}, bad={"is_persistent": False}),
    Case(
        signal=S.FOREIGN_PROCESS,
        fine={"strangers": ()},
        bad={"strangers": ("process 42 (python)",)},
        after=10 * SECOND,
    ),
    Case(
        signal=S.NOT_CLEAN,
        first={"memory_used_bytes": 100 * MIB},
        fine={"memory_used_bytes": 600 * MIB},
        bad={"memory_used_bytes": 601 * MIB},
        after=MINUTE,
    ),
    Case(
        signal=S.GHOST_LOAD,
        fine={"utilization_ratio": 0.94},
        bad={"utilization_ratio": 0.95},
        after=5 * MINUTE,
    ),
    Case(
        signal=S.TELEMETRY_LOST,
        fine={"utilization_ratio": 0.0},
        bad={"is_told": False},
        after=15 * SECOND,
        clears_after=10 * SECOND,
    ),
)
BY_INVENTORY: Sequence[tuple[GpuSignal, Facts, Facts, int]] = (
    (S.MODE_CHANGE_PENDING, {"is_ecc_to_change": True}, {"is_ecc_to_change": False}, HOLD),
    (S.MODE_CHANGE_PENDING, {"is_mig_to_change": True}, {"is_mig_to_change": False}, HOLD),
    (
        S.CONFIDENTIAL_NOT_READY,
        {"is_confidential": True, "is_confidential_ready": False},
        {"is_confidential": True, "is_confidential_ready": True},
        HOLD,
    ),
    (
        S.PROBE_SLOW,
        {"slow_call": "nvmlDeviceGetPowerUsage took 2.4 s"},
        {"slow_call": None},
        0,
    ),
    (
        S.PROBE_TROUBLE,
        {"health": GpuHealth.DEGRADED, "problem": "NVML hung in nvmlDeviceGetPowerUsage on this card"},
        {"health": GpuHealth.HEALTHY, "problem": None},
        10 * SECOND,
    ),
)
