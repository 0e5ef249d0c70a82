"""The rows of the health table, and nothing else: see ``health`` for the rules.

Sources: NVIDIA's Xid catalogue and DCGM's health policies, gpud, NVSentinel, and the alert rules of
nvidia_gpu_exporter; thresholds are theirs where they give one.
"""

from __future__ import annotations

from collections.abc import Callable

from provider.core import health_conditions as conditions
from provider.core.faults import SETTLES
from provider.core.health_looks import CardWatch, Look
from provider.core.health_row import AT_ONCE, Action, Clears, Row, Stops, Trigger
from provider.domain.gpu_health import GpuSignal
from provider.domain.moment import HOUR, MINUTE, SECOND, Span


def _when(condition: Callable[[Look, CardWatch], str | None], after: Span = AT_ONCE) -> tuple[Trigger, ...]:
    return (Trigger(condition=condition, after=after),)


_S = GpuSignal
_HOLD = "for the hold time"

XID_ROWS = (
    Row(
        number="2",
        signal=_S.APP_FAULTS,
        action=Action.DRAIN,
        seen="the same programming Xid (not 43, 45) 3 times in 24 h, of 2 tenants or more",
        clears=Clears.OPERATOR,
    ),
    Row(
        number="3",
        signal=_S.SUSPECT_XID,
        action=Action.DRAIN,
        seen="Xid 32, 38, 44, 68, 69, 109, 121",
        clears=Clears.RESET,
    ),
    Row(
        number="4",
        signal=_S.REMAP_PENDING,
        action=Action.DRAIN,
        seen="Xid 63, or a row remap is pending",
        triggers=_when(conditions.remap_pending),
        clears=Clears.QUIET_OR_REBOOT,
        cleared_by=f"none pending {_HOLD} (a reboot resets the GPU), or at a reboot",
    ),
    Row(
        number="5",
        signal=_S.CONTAINED_ECC,
        action=Action.DRAIN,
        seen="Xid 94",
        clears=Clears.RESET,
    ),
    Row(
        number="6",
        signal=_S.UNCORRECTED_ECC,
        action=Action.EVICT,
        seen="Xid 48, or more uncorrectable errors, without Xid 63 or 94 within 5 s",
        triggers=_when(conditions.uncorrected, SETTLES),
        clears=Clears.RESET,
    ),
    Row(
        number="7",
        signal=_S.RESET_NEEDED,
        action=Action.EVICT,
        seen="Xid 46, 62, 95, 110, 119, 120, 136, 140, 143, 155, 156, 158, or the driver says so",
        clears=Clears.RESET,
    ),
    Row(
        number="7b",
        signal=_S.UNKNOWN_XID,
        action=Action.DRAIN,
        seen="an Xid that is in no list",
        clears=Clears.RESET,
    ),
    Row(
        number="3, 5, 7, 7b",
        signal=_S.XID_REPEATED,
        action=Action.EVICT,
        seen="a second suspect, contained or unknown Xid in 24 h, a minute apart; one of row 7 after a reset",
        clears=Clears.OPERATOR,
    ),
    Row(
        number="7c, 8",
        signal=_S.RECOVERY_ADVISED,
        action=Action.DRAIN,
        seen="the driver advises a reset (not on GeForce cards) or draining",
        triggers=_when(conditions.recovery),
        cleared_by=f"no advice {_HOLD}",
    ),
    Row(
        number="9",
        signal=_S.REMAP_FAILED,
        action=Action.EVICT,
        seen="Xid 64, or a row remap failed",
        triggers=_when(conditions.remap_failed),
        clears=Clears.OPERATOR,
    ),
    Row(
        number="12",
        signal=_S.REBOOT_NEEDED,
        action=Action.EVICT,
        seen="Xid 78, 151",
        clears=Clears.REBOOT,
        stops=Stops.ONE,
    ),
    Row(
        number="12",
        signal=_S.REBOOT_ADVISED,
        action=Action.DRAIN,
        seen="the driver advises a reboot",
        triggers=_when(conditions.reboot_advised),
        clears=Clears.REBOOT,
        stops=Stops.ONE,
    ),
    Row(
        number="14",
        signal=_S.NVLINK_FAULT,
        action=Action.DRAIN_LINKED,
        seen="Xid 74, 144 to 150",
        clears=Clears.RESET,
    ),
)

READING_ROWS = (
    Row(
        number="10",
        signal=_S.REMAP_EXHAUSTED,
        action=Action.DRAIN,
        seen="a memory bank has few or no spare rows",
        triggers=_when(conditions.remap_exhausted),
        clears=Clears.OPERATOR,
    ),
    Row(
        number="10",
        signal=_S.CORRECTABLE_ECC,
        action=Action.DRAIN,
        seen="more than 1000 correctable errors in 24 h",
        triggers=_when(conditions.corrected),
        clears=Clears.OPERATOR,
    ),
    Row(
        number="14",
        signal=_S.NVLINK_DOWN,
        action=Action.DRAIN_LINKED,
        seen="a link that was up is down, 10 s",
        triggers=_when(conditions.nvlink_down, Span(10 * SECOND)),
        cleared_by=f"all up {_HOLD}",
    ),
    Row(
        number="14",
        signal=_S.NVLINK_ERRORS,
        action=Action.DRAIN,
        seen="more than 10 replays and recoveries an hour, or 100 CRC errors a second",
        triggers=_when(conditions.nvlink_errors),
        cleared_by="1 h quiet",
        clears_after=HOUR,
    ),
    Row(
        number="15",
        signal=_S.FABRIC_NOT_READY,
        action=Action.DRAIN,
        seen="not in its NVSwitch fabric in full health, 60 s",
        triggers=_when(conditions.fabric, MINUTE),
        cleared_by=f"ready {_HOLD}",
    ),
    Row(
        number="16",
        signal=_S.HW_THERMAL,
        action=Action.DRAIN,
        seen="hardware slowdown by heat, 60 s, or 6 times in 10 min",
        triggers=(
            Trigger(condition=conditions.hw_thermal, after=MINUTE),
            Trigger(condition=conditions.hw_thermal_often),
        ),
        cleared_by="10 min without",
        clears_after=Span(10 * MINUTE),
    ),
    Row(
        number="17",
        signal=_S.POWER_BRAKE,
        action=Action.DRAIN,
        seen="power brake, 60 s",
        triggers=_when(conditions.power_brake, MINUTE),
        cleared_by="10 min without",
        clears_after=Span(10 * MINUTE),
        stops=Stops.TWO,
    ),
    Row(
        number="18",
        signal=_S.SW_THERMAL,
        action=Action.DRAIN,
        seen="slowdown by the driver because of heat, 5 min",
        triggers=_when(conditions.sw_thermal, Span(5 * MINUTE)),
        cleared_by=f"without {_HOLD}",
    ),
    Row(
        number="20",
        signal=_S.TOO_HOT,
        action=Action.DRAIN,
        seen="within 3 °C of slowing down, or memory too hot, 60 s",
        triggers=_when(conditions.too_hot, MINUTE),
        cleared_by=f"10 °C cooler {_HOLD}",
    ),
    Row(
        number="20",
        signal=_S.NEAR_SHUTDOWN,
        action=Action.EVICT,
        seen="within 2 °C of shutting down",
        triggers=_when(conditions.near_shutdown),
        clears=Clears.REBOOT,
    ),
    Row(
        number="21",
        signal=_S.PCIE_NARROW,
        action=Action.DRAIN,
        seen="fewer PCIe lanes than it has, under load, 5 min",
        triggers=_when(conditions.pcie_narrow, Span(5 * MINUTE)),
        cleared_by=f"all lanes {_HOLD}",
    ),
    Row(
        number="21",
        signal=_S.PCIE_REPLAYS,
        action=Action.DRAIN,
        seen="more than 10 PCIe replays a minute",
        triggers=_when(conditions.pcie_replays),
        cleared_by=f"fewer {_HOLD}",
    ),
    Row(
        number="23",
        signal=_S.PERSISTENCE_OFF,
        action=Action.NOTE,
        seen="persistence mode is off",
        triggers=_when(conditions.persistence),
        cleared_by=f"on {_HOLD}",
    ),
    Row(
        number="24",
        signal=_S.FOREIGN_PROCESS,
        action=Action.DRAIN,
        seen="a process on a card that no lease has, 10 s",
        triggers=_when(conditions.strangers, Span(10 * SECOND)),
        cleared_by=f"gone {_HOLD}",
    ),
    Row(
        number="25",
        signal=_S.GHOST_LOAD,
        action=Action.NOTE,
        seen="95 % busy without a process or a lease, 5 min",
        triggers=_when(conditions.ghost_load, Span(5 * MINUTE)),
        cleared_by=f"idle {_HOLD}",
    ),
    Row(
        number="31",
        signal=_S.AWAITING_CHECK,
        action=Action.DRAIN,
        seen="a lease on it ended",
        triggers=_when(conditions.unchecked),
        cleared_by="at once when it is clean: no process, its memory free",
        clears_after=AT_ONCE,
    ),
    Row(
        number="31",
        signal=_S.NOT_CLEAN,
        action=Action.DRAIN,
        seen="a lease's processes or more than 500 MiB left, 60 s after its end",
        triggers=_when(conditions.left_behind, MINUTE),
        cleared_by=f"clean {_HOLD}",
    ),
)

HOST_ROWS = (
    Row(
        number="-",
        signal=_S.CORDONED,
        action=Action.DRAIN,
        seen="`provider gpus cordon`",
        clears=Clears.OPERATOR,
    ),
    Row(
        number="11",
        signal=_S.GPU_LOST,
        action=Action.EVICT,
        seen="Xid 79, the driver says it is lost, it cannot be opened",
        clears=Clears.REBOOT,
    ),
    Row(
        number="13",
        signal=_S.GPU_MISSING,
        action=Action.DRAIN,
        seen="a card that was there is not listed any more, 10 s",
        triggers=_when(conditions.missing, Span(10 * SECOND)),
        cleared_by=f"listed {_HOLD}",
    ),
    Row(
        number="13",
        signal=_S.GPU_UNLISTED,
        action=Action.EVICT,
        seen="the PCI bus has a card that the driver does not list, twice in a row",
        triggers=_when(conditions.unlisted),
        cleared_by=f"listed {_HOLD}",
    ),
    Row(
        number="22",
        signal=_S.MODE_CHANGE_PENDING,
        action=Action.DRAIN,
        seen="ECC or MIG mode changes at the next reset",
        triggers=_when(conditions.mode_change),
        cleared_by=f"as it will be {_HOLD}",
    ),
    Row(
        number="26",
        signal=_S.PROBE_SLOW,
        action=Action.DRAIN,
        seen="a call on it took more than 2 s",
        triggers=_when(conditions.slow),
        cleared_by="5 quick sweeps",
        clears_after=AT_ONCE,
    ),
    Row(
        number="27",
        signal=_S.PROBE_TROUBLE,
        action=Action.DRAIN,
        seen="a call on it hung, or keeps failing",
        triggers=_when(conditions.trouble),
        cleared_by="10 s of good answers",
        clears_after=Span(10 * SECOND),
    ),
    Row(
        number="27, 28",
        signal=_S.TELEMETRY_LOST,
        action=Action.DRAIN,
        seen="no reading, 15 s: worker, driver or library away",
        triggers=_when(conditions.silence, Span(15 * SECOND)),
        cleared_by="10 s of readings",
        clears_after=Span(10 * SECOND),
        stops=Stops.EVERY,
    ),
    Row(
        number="29",
        signal=_S.CONFIDENTIAL_NOT_READY,
        action=Action.DRAIN,
        seen="confidential computing is on and not ready",
        triggers=_when(conditions.confidential),
        cleared_by=f"ready {_HOLD}",
    ),
    Row(
        number="30",
        signal=_S.INFOROM_CORRUPT,
        action=Action.DRAIN,
        seen="its InfoROM is corrupt (looked at once an hour, and where a call says so)",
        triggers=_when(conditions.inforom),
        clears=Clears.OPERATOR,
    ),
)

ROWS: tuple[Row, ...] = (*XID_ROWS, *READING_ROWS, *HOST_ROWS)
