"""One volume, whatever holds it to its size: a file or a directory under a quota. Blocks.

What was made stays what it is: a record says which, and only where there is none the caller does.
"""

from __future__ import annotations

from pathlib import Path

import structlog

from provider.adapters.runtime.storage import attaching, directories, files
from provider.adapters.runtime.storage.records import Record, Records, Wanted
from provider.domain.ids import LeaseId
from provider.domain.workload import Enforcement

log = structlog.get_logger()


def make(records: Records, lease: LeaseId, wanted: Wanted, ids: range) -> Record:
    """Its record, once it is there; fine when it was before. ``ids``: of projects, for a directory."""
    old = records.find(lease, wanted.id)
    is_directory = old.project > 0 if old is not None else wanted.enforced_by is Enforcement.PROJECT
    return (
        directories.make(records, lease, wanted, ids) if is_directory else files.make(records, lease, wanted)
    )


def attach(records: Records, record: Record) -> Path:
    """Mount it if it is not; the directory for containers. ``Temporary`` when it is not the right volume."""
    return directories.attach(records, record) if record.project else attaching.attach(records, record)


def erase(records: Records, record: Record) -> None:
    """Unmount it and remove everything of it; no container may run on it. Fine when any of it is gone."""
    if not attaching.detach(records, record):
        log.warning("volume_still_held", lease=record.lease, volume=record.name, remedy="losetup -l")
    erase_it = directories.erase if record.project else files.erase
    erase_it(records, record)


def used_bytes(records: Records, record: Record) -> int:
    """Of its size; 0 where it is away."""
    place = records.mountpoint(record)
    if record.project:
        return directories.used_bytes(record)
    return attaching.used_bytes(place) if place.is_mount() else 0
