"""What happened to a lease, told to its tenant: values only.

Not the metrics nor the log of the daemon: few words, in the tenant's own terms, kept with the lease.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from provider.domain.moment import Instant


class EventKind(StrEnum):
    """Names travel as they are: add some, never rename one."""

    AWARDED = "awarded"
    STARTING = "starting"
    PULL_BEGAN = "pull_began"
    PULL_DONE = "pull_done"
    PULL_FAILED = "pull_failed"
    RUNNING = "running"
    EXITED = "exited"
    """A container's process ended, by itself or not."""
    OOM_KILLED = "oom_killed"
    """It used more memory than the lease has."""
    GPU_FAILED = "gpu_failed"
    GPU_FAULT = "gpu_fault"
    """The driver reported an error on its GPU."""
    GPU_DEGRADED = "gpu_degraded"
    """Its GPU is not as it should be; the lease goes on."""
    GPU_RECOVERED = "gpu_recovered"
    REPAIRING = "repairing"
    """Another start is due."""
    RESTARTED = "restarted"
    """On the tenant's word."""
    UPDATED = "updated"
    """A newer manifest was taken."""
    UPDATE_TAKEN_BACK = "update_taken_back"
    NOTICE = "notice"
    """The provider takes the lease back at a time it names."""
    STOPPING = "stopping"
    CLOSED = "closed"
    """The last one."""


WARNINGS = frozenset(
    {
        EventKind.PULL_FAILED,
        EventKind.EXITED,
        EventKind.OOM_KILLED,
        EventKind.GPU_FAILED,
        EventKind.GPU_FAULT,
        EventKind.GPU_DEGRADED,
        EventKind.REPAIRING,
        EventKind.UPDATE_TAKEN_BACK,
        EventKind.NOTICE,
    }
)
"""What a tenant should look at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """Something that happened, on its way into the journal."""

    at: Instant
    kind: EventKind
    text: str = ""
    """One line."""
    service: str = ""
    """Empty where it is the whole lease's."""
    replica: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseEvent:
    """The same, as it was written down: the ``number``-th of its lease, from 1."""

    number: int
    happening: Happening
