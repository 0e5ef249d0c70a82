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


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """One sample of one GPU. ``None`` where the card, or the moment, does not tell."""

    uuid: GpuUuid
    at: Instant
    utilization_ratio: float | None = None
    """Share of the last sample window in which a kernel ran, 0 to 1 (nvidia-smi: utilization.gpu)."""
    memory_used_bytes: int | None = None
    memory_reserved_bytes: int | None = None
    """Held by driver and firmware; not in ``memory_used_bytes``."""
    power_watts: float | None = None
    energy_joules: float | None = None
    """Since the driver was loaded."""
    temperature_celsius: float | None = None
    fan_ratio: float | None = None
    clock_sm_hertz: float | None = None
    clock_memory_hertz: float | None = None
    processes: int | None = None
    """Compute processes on it, of whomever."""
