"""What leases use of the machine: what was read of containers, and what is known of a lease so far.

Values only. Nothing here is billed from: the ledger is (``core.metering``). What could not be read is absent,
never zero. How totals come about: ``core.attribution``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from provider.domain.ids import GpuUuid, LeaseId
from provider.domain.moment import Instant


class UsageCounter(StrEnum):
    """What a container's counters count from its start, in whole units. The names are kept in a file."""

    CPU_US = "cpu_us"
    """Microseconds of CPU time."""
    THROTTLED_US = "throttled_us"
    """Microseconds for which it wanted CPU and was not let."""
    OOM_KILLS = "oom_kills"
    """Processes that were ended because its memory was used up."""
    RECEIVED_BYTES = "received_bytes"
    """Over its network, loopback left out."""
    SENT_BYTES = "sent_bytes"
    READ_BYTES = "read_bytes"
    """From block devices: what the page cache served is not among it."""
    WRITTEN_BYTES = "written_bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerReading:
    """One look at one container."""

    counters: Mapping[UsageCounter, int] = field(default_factory=dict)
    """Those that could be read."""
    memory_bytes: int | None = None
    """Its working set: what it uses, without page cache that can be given back."""
    memory_limit_bytes: int | None = None
    """None where there is no limit, or it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainersRead:
    """One look at several."""

    readings: Mapping[str, ContainerReading] = field(default_factory=dict)
    """By container id; those that ended meanwhile, or cannot be read, are missing."""
    problem: str | None = None
    """Why some cannot be read, with what helps, one line; None where all could."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuUsage:
    """A lease's use of one of its cards, totals over the lease's life."""

    uuid: GpuUuid
    utilization_ratio: float | None = None
    """Now, 0 to 1."""
    busy_s: float | None = None
    """Utilization over time: 30 s at one half are 15. None until it was read."""
    memory_bytes: int | None = None
    """Now, beyond what was in use before the lease started."""
    power_watts: float | None = None
    """Now; of a MIG instance the share of its card's."""
    energy_joules: float | None = None
    is_energy_estimated: bool = False
    """A MIG instance's share of its card's energy, by its slices."""
    allocated_s: float = 0.0
    """For which the lease ran with it, by the ledger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceUsage:
    """A service's use, all its replicas together, totals over the lease's life and all restarts."""

    service: str
    counters: Mapping[UsageCounter, int] = field(default_factory=dict)
    memory_bytes: int | None = None
    """Now, None where no replica of it runs."""
    memory_limit_bytes: int | None = None
    restarts: int = 0
    """Containers that took the place of one that ran before, for whatever reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseUsage:
    """What one lease uses, and has used so far."""

    lease: LeaseId
    at: Instant
    """Of the last sample."""
    gpus: tuple[GpuUsage, ...] = ()
    """In the placement's order."""
    services: tuple[ServiceUsage, ...] = ()
    """By name."""
    disk_bytes: int | None = None
    """Layers and volumes as last measured; None where they were not yet."""
