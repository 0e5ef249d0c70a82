"""How full the engine's disk is."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskUse:
    """Of the file system that holds the engine's images. ``free_bytes`` is what the engine can take."""

    total_bytes: int
    free_bytes: int

    def freed_below(self, percent: int) -> int:
        """How many bytes have to go until at most ``percent`` are in use; 0 where that holds."""
        return max(self.total_bytes * (100 - percent) // 100 - self.free_bytes, 0)


DiskReading = Callable[[str], DiskUse | None]
"""Of the folder where the engine keeps its images; None where it cannot be seen from here."""


def read_disk(folder: str) -> DiskUse | None:
    try:
        use = shutil.disk_usage(folder)
    except OSError:
        return None
    # What is kept for root counts as used, as `df` shows it.
    return DiskUse(total_bytes=use.used + use.free, free_bytes=use.free)


def images_folder(info: Mapping[str, object]) -> str:
    """Where ``GET /info`` says that images are: not the engine's folder with the containerd image store."""
    status = info.get("DriverStatus")
    told = dict(status) if isinstance(status, list) else {}
    return "/var/lib/containerd" if "driver-type" in told else str(info.get("DockerRootDir", ""))
