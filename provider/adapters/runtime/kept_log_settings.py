"""What is kept of the logs of containers that are gone. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from provider.domain.resources import GIB, MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptLogSettings:
    """All of it is bounded: a log is never worth a full disk, nor a container that does not end."""

    folder: Path
    """Of this provider alone; one folder a lease in it."""
    container_bytes: int = 8 * MIB
    """Of one container, the newest."""
    keep_s: int = 86_400
    """After the lease's end."""
    disk_bytes: int = GIB
    """Of all leases, compressed; then the oldest go."""
    files_per_replica: int = 5
    """So many containers before the one that is there."""
    patience_s: float = 5.0
    """For keeping one container's log; then it goes without."""
