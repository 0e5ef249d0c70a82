"""What an operator decides about disk space for leases. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from provider.domain.errors import ConfigError
from provider.domain.workload import Enforcement

CLASSES = ("default", "beta1", "beta2", "beta3")
"""Akash's names of persistent storage: hdd, ssd and nvme are beta1 to beta3. ``ram`` is memory."""
PROJECTS_END = 2**32 - 1
"""No project has this id or a higher one (XFS, ``(projid_t)-1``); 0 is everybody's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageSettings:
    """Checked when made: ``ConfigError`` names the setting that is wrong."""

    root: Path = Path("/var/lib/provider/volumes")
    """Records and mounts of all volumes, and the files of those whose class has no path of its own."""
    classes: Mapping[str, Path] | None = None
    """Which classes are offered and where their files go; None: what the disk under ``root`` is."""
    enforced_by: Enforcement | None = None
    """What holds volumes of these classes to their size; None: the best that each one's disk has."""
    project_ids: range = range(2_000_000_000, 2_000_065_536)
    """Ours on every file system with project quotas: far from what people and other programs begin with."""
    measure_s: float = 15.0
    """Between two measurements of what containers have written."""

    def __post_init__(self) -> None:
        for name, path in (self.classes or {}).items():
            if name not in CLASSES:
                raise ConfigError(
                    f"storage.classes: {name!r} is no class of persistent storage",
                    remedy=f"use {', '.join(CLASSES)}",
                )
            if not path.is_absolute():
                raise ConfigError(
                    f"storage.classes.{name}: {str(path)!r} is not an absolute path",
                    remedy="write it from / on",
                )
        if not self.root.is_absolute():
            raise ConfigError(f"{self.root} is not an absolute path", remedy="set state_dir from / on")
        if not self.project_ids or not 0 < self.project_ids[0] <= self.project_ids[-1] < PROJECTS_END:
            raise ConfigError(
                f"storage.project_ids: {self.project_ids} is no range of project ids",
                remedy=f"write it like 2000000000-2000065535, within 1 and {PROJECTS_END - 1}",
            )
        if self.measure_s < 1:
            raise ConfigError("storage.measure_s: must be at least 1", remedy="leave it out: it is 15")
