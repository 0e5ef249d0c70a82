"""GPUs as values: what one is (``Gpu``), how it does (``GpuReading``), whether it may be trusted.

Data and health are apart, and a fact that could not be read is ``None``: absent, never zero.
The calls behind every field are listed in ``adapters/gpu/nvml.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from provider.domain.ids import GpuUuid
from provider.domain.moment import Instant


class GpuHealth(StrEnum):
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    """Not sold again; a running lease goes on."""
    UNHEALTHY = "unhealthy"
    """Cordoned; its lease is closed and the GPU named."""
    UNKNOWN = "unknown"


class GpuLinkKind(StrEnum):
    """How two GPUs of a host reach each other, the nearest first (``nvidia-smi topo -m`` in brackets)."""

    NVSWITCH = "nvswitch"
    """Through switches: every pair of the fabric at full width."""
    NVLINK = "nvlink"
    """Bridged directly (NV#)."""
    PCIE_SWITCH = "pcie_switch"
    """One PCIe switch between them (PIX)."""
    PCIE_SWITCHES = "pcie_switches"
    """Several, without the host bridge (PXB)."""
    HOST_BRIDGE = "host_bridge"
    """Through the CPU's PCIe host bridge (PHB)."""
    NUMA_NODE = "numa_node"
    """Across host bridges of one NUMA node (NODE)."""
    SYSTEM = "system"
    """Across NUMA nodes (SYS)."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class GpuLink:
    """The best way between two whole GPUs. ``first`` sorts before ``second``."""

    first: GpuUuid
    second: GpuUuid
    kind: GpuLinkKind
    lanes: int | None = None
    """NVLinks between them that are up; None where it is no NVLink, or not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MigSlice:
    """What makes a GPU a MIG instance: a part of ``parent`` with memory and engines of its own."""

    parent: GpuUuid
    profile: str
    """As NVIDIA writes it, ``1g.10gb``."""
    gpu_instance: int
    compute_instance: int
    slices: int | None = None
    """Compute slices of the card's seven."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """What one GPU (or MIG instance) is. Constant until the next discovery."""

    uuid: GpuUuid
    index: int
    """Position in NVML's list: for people, it can change at a reboot."""
    name: str
    """As NVML prints it, ``NVIDIA H100 80GB HBM3``."""
    model: str
    """The marketplace's spelling of the name, ``h100``."""
    memory_bytes: int | None = None
    """All of it; None on parts that share the host's memory."""
    interface: str | None = None
    """``sxm`` or ``pcie``; None where the name does not tell."""
    pci_bus_id: str | None = None
    """As sysfs writes it, ``0000:18:00.0``."""
    minor: int | None = None
    """``/dev/nvidia<minor>``."""
    numa_node: int | None = None
    architecture: str | None = None
    """``hopper``, ``ada`` …"""
    compute_capability: str | None = None
    """``9.0``."""
    power_limit_watts: float | None = None
    power_limit_default_watts: float | None = None
    load_watts: int | None = None
    """What the whole card draws while it works, as measured here; None where that is not known yet."""
    vbios: str | None = None
    is_ecc_on: bool | None = None
    is_ecc_to_change: bool = False
    """At the next reset."""
    is_mig_on: bool | None = None
    """None where the card has no MIG."""
    is_mig_to_change: bool = False
    is_confidential: bool | None = None
    """Confidential computing is on; None where the card has none."""
    is_confidential_ready: bool | None = None
    clock_graphics_most_hertz: float | None = None
    clock_sm_most_hertz: float | None = None
    clock_memory_most_hertz: float | None = None
    clock_video_most_hertz: float | None = None
    pcie_width_most: int | None = None
    pcie_generation_most: int | None = None
    nvlinks: int | None = None
    """Links that it has."""
    slowdown_celsius: float | None = None
    shutdown_celsius: float | None = None
    memory_most_celsius: float | None = None
    mig: MigSlice | None = None
    """None for a whole card."""
    is_inforom_corrupt: bool | None = None
    """What the card keeps of itself, in a memory of its own; None where it cannot be told."""
    is_reset_needed: bool = False
    """The driver says so, and answers nothing else of it."""
    slow_call: str | None = None
    """A call on it that took far too long in one of the last sweeps, in words."""
    health: GpuHealth = GpuHealth.HEALTHY
    problem: str | None = None
    """Why it is not healthy, one line."""
    simulated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuInventory:
    """Every GPU of one host at one discovery. ``gpus`` is sorted by index."""

    gpus: tuple[Gpu, ...] = ()
    driver_version: str | None = None
    cuda_version: str | None = None
    """``12.8``: the newest CUDA that the driver serves."""
    problem: str | None = None
    """Why there are none, or why not all could be read; one line. None when all is well."""
    simulated: bool = False
    links: tuple[GpuLink, ...] = ()
    """Between every two whole cards of which it is known, sorted."""
    missing: int = 0
    """NVIDIA GPUs that the PCI bus lists and the driver does not."""
    unlisted: tuple[str, ...] = ()
    """Where they are, ``0000:38:00.0``, once two looks in a row found so. Where the driver does not tell the
    places of all that it lists there may be more than are missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFault:
    """An error that the driver reported: an Xid (NVIDIA's "Xid Errors" catalogue has their meanings)."""

    uuid: GpuUuid
    """The whole card's, also where an instance of it failed."""
    xid: int
    at: Instant
    gpu_instance: int | None = None
    """MIG: the instance that failed; None for the whole card."""
    pid: int | None = None
    """The process that did it, as the kernel saw it."""
    process: str | None = None
    """Its name."""


class ClockReason(StrEnum):
    """Why clocks are not at their highest (``nvmlClocksEventReason*``)."""

    IDLE = "idle"
    APPLICATION_CLOCKS = "application_clocks"
    SW_POWER_CAP = "sw_power_cap"
    HW_SLOWDOWN = "hw_slowdown"
    SYNC_BOOST = "sync_boost"
    SW_THERMAL = "sw_thermal"
    HW_THERMAL = "hw_thermal"
    HW_POWER_BRAKE = "hw_power_brake"
    DISPLAY_CLOCKS = "display_clocks"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProcess:
    """A process with a context on the card, of whomever. ``memory_bytes`` is None where not told."""

    pid: int
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """One sample of one GPU. ``None`` where the card, or the moment, does not tell.

    Counters (``energy_joules``, ``ecc_*``, ``*_bytes`` of links, errors) are the driver's own: they begin
    again when it is loaded again.
    """

    uuid: GpuUuid
    at: Instant
    utilization_ratio: float | None = None
    """Share of the last sample window in which a kernel ran, 0 to 1 (nvidia-smi: utilization.gpu)."""
    memory_utilization_ratio: float | None = None
    """The same for reading and writing memory."""
    encoder_ratio: float | None = None
    decoder_ratio: float | None = None
    sm_active_ratio: float | None = None
    """Share of multiprocessors that worked (GPM, Hopper and newer)."""
    tensor_active_ratio: float | None = None
    memory_used_bytes: int | None = None
    memory_reserved_bytes: int | None = None
    """Held by driver and firmware; not in ``memory_used_bytes``."""
    bar1_used_bytes: int | None = None
    power_watts: float | None = None
    energy_joules: float | None = None
    """Since the driver was loaded."""
    temperature_celsius: float | None = None
    temperature_memory_celsius: float | None = None
    temperature_margin_celsius: float | None = None
    """To the point where it slows down."""
    fan_ratio: float | None = None
    clock_graphics_hertz: float | None = None
    clock_sm_hertz: float | None = None
    clock_memory_hertz: float | None = None
    clock_video_hertz: float | None = None
    performance_state: int | None = None
    """0 is the fastest, 15 the slowest."""
    clock_reasons: frozenset[ClockReason] | None = None
    processes: tuple[GpuProcess, ...] | None = None
    """Compute processes on it, of whomever, by pid; None where they cannot be told."""
    ecc_corrected: int | None = None
    """Since the driver was loaded."""
    ecc_uncorrected: int | None = None
    remapped_correctable: int | None = None
    """Rows of memory replaced for good, by the kind of error."""
    remapped_uncorrectable: int | None = None
    is_remap_pending: bool | None = None
    is_remap_failed: bool | None = None
    remap_banks_exhausted: int | None = None
    """Banks with few or no rows left to replace others."""
    recovery_action: int | None = None
    """What the driver wants done: ``NVML_FI_DEV_GET_GPU_RECOVERY_ACTION``, 0 for nothing."""
    pcie_received_bytes: int | None = None
    pcie_sent_bytes: int | None = None
    pcie_replays: int | None = None
    pcie_width: int | None = None
    pcie_generation: int | None = None
    """Falls while idle, which means nothing."""
    nvlink_up: int | None = None
    """Links that are up."""
    nvlink_received_bytes: int | None = None
    nvlink_sent_bytes: int | None = None
    nvlink_replays: int | None = None
    nvlink_recoveries: int | None = None
    nvlink_crc_errors: int | None = None
    is_fabric_ready: bool | None = None
    """NVSwitch systems: whether the card has joined its fabric in full health."""
    is_persistent: bool | None = None
    """Persistence mode."""
