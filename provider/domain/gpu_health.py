"""Why a GPU may not be trusted, as values: what holds against it, since when, and how that goes away.

Which signal follows from what, and what follows from it, is ``core.health``'s table. Nothing here decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from provider.domain.gpu import GpuHealth
from provider.domain.ids import GpuUuid, LeaseId
from provider.domain.moment import Instant

PLACE = "PCI-"
"""What the name of a card begins with that has no UUID; its place on the PCI bus follows."""
HISTORY_MOST = 50
FAULTS_MOST = 64


class GpuSignal(StrEnum):
    """What can hold against a GPU. A bounded set, also as a metric's label; names are kept with the state."""

    CORDONED = "cordoned"
    """Taken out by the operator."""
    APP_FAULTS = "app_faults"
    """The same programming error from several tenants: perhaps it is not theirs."""
    SUSPECT_XID = "suspect_xid"
    UNKNOWN_XID = "unknown_xid"
    XID_REPEATED = "xid_repeated"
    RESET_NEEDED = "reset_needed"
    REBOOT_NEEDED = "reboot_needed"
    RECOVERY_ADVISED = "recovery_advised"
    REBOOT_ADVISED = "reboot_advised"
    CONTAINED_ECC = "contained_ecc"
    UNCORRECTED_ECC = "uncorrected_ecc"
    CORRECTABLE_ECC = "correctable_ecc"
    REMAP_PENDING = "remap_pending"
    REMAP_FAILED = "remap_failed"
    REMAP_EXHAUSTED = "remap_exhausted"
    GPU_LOST = "gpu_lost"
    GPU_MISSING = "gpu_missing"
    NVLINK_FAULT = "nvlink_fault"
    NVLINK_DOWN = "nvlink_down"
    NVLINK_ERRORS = "nvlink_errors"
    FABRIC_NOT_READY = "fabric_not_ready"
    HW_THERMAL = "hw_thermal"
    SW_THERMAL = "sw_thermal"
    POWER_BRAKE = "power_brake"
    TOO_HOT = "too_hot"
    NEAR_SHUTDOWN = "near_shutdown"
    PCIE_NARROW = "pcie_narrow"
    PCIE_REPLAYS = "pcie_replays"
    MODE_CHANGE_PENDING = "mode_change_pending"
    CONFIDENTIAL_NOT_READY = "confidential_not_ready"
    PERSISTENCE_OFF = "persistence_off"
    GHOST_LOAD = "ghost_load"
    AWAITING_CHECK = "awaiting_check"
    """A lease on it has ended; nobody has looked yet what it left behind."""
    NOT_CLEAN = "not_clean"
    FOREIGN_PROCESS = "foreign_process"
    GPU_UNLISTED = "gpu_unlisted"
    """It is on the PCI bus and was never seen by the driver: it has no UUID, its place is its name."""
    INFOROM_CORRUPT = "inforom_corrupt"
    PROBE_SLOW = "probe_slow"
    PROBE_TROUBLE = "probe_trouble"
    """It answers badly or not at all, which says nothing of how it does."""
    TELEMETRY_LOST = "telemetry_lost"


class XidClass(StrEnum):
    """What kind of error an Xid is; also a metric's label."""

    APP = "app"
    """The tenant's program."""
    INFO = "info"
    """NVIDIA says to ignore it."""
    SUSPECT = "suspect"
    """The sources disagree whether the card is at fault."""
    CONTAINED = "contained"
    """The card's, and it was kept to one process."""
    LINK = "link"
    """NVLink's."""
    RESET = "reset"
    """The card needs a reset."""
    NODE = "node"
    """The machine needs a reboot."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveSignal:
    """One thing that holds against a GPU."""

    signal: GpuSignal
    since: Instant
    detail: str
    """One line, with the figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalChange:
    """A line of a GPU's history: a signal came, or went."""

    at: Instant
    signal: GpuSignal
    is_raised: bool
    detail: str = ""
    """When it came: the figures. When it went: how."""
    health: GpuHealth = GpuHealth.HEALTHY
    """Of the GPU from then on, as far as signals say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenFault:
    """An Xid as it is remembered. The same one of the same lease within a minute is one incident."""

    xid: int
    at: Instant
    """Of the last one."""
    began: Instant
    count: int = 1
    lease: LeaseId | None = None
    """Whose process it was, or who had the GPU."""
    boot_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorCount:
    """Errors of one kind as they came to be, over restarts of the daemon and of the driver's own counter."""

    told: int
    """By the driver, when this was last kept."""
    total: int = 0
    """Since the card was first seen."""
    samples: tuple[tuple[Instant, int], ...] = ()
    """When there were how many in ``total``, the oldest first: as far back as anybody asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuRecord:
    """What is remembered of a GPU over restarts of the daemon; what a reboot clears goes with ``boot_id``."""

    uuid: GpuUuid
    boot_id: str = ""
    acknowledged_at: Instant | None = None
    """When the operator last said that it is well: faults before that do not count any more."""
    active: tuple[ActiveSignal, ...] = ()
    """In the order in which they came."""
    history: tuple[SignalChange, ...] = ()
    """The newest ``HISTORY_MOST``."""
    faults: tuple[SeenFault, ...] = ()
    """The newest ``FAULTS_MOST``."""
    stopped_at: Instant | None = None
    """When containers on it were last ended or replaced by us."""
    ecc_uncorrected: int | None = None
    """The driver's count of which what follows is known."""
    ecc_corrected: ErrorCount | None = None
    energy_joules: float | None = None
    """The driver's count when this was last kept: with less it began anew."""
    reset_at: Instant | None = None
    """When it was last seen to have been reset, the machine's boots aside."""
    is_expected: bool = False
    """It was there, and nobody said that it was taken out."""

    def has(self, signal: GpuSignal) -> bool:
        return any(each.signal is signal for each in self.active)

    def since(self, signal: GpuSignal) -> Instant | None:
        """Since when it holds; None where it does not."""
        return next((each.since for each in self.active if each.signal is signal), None)
