"""The disks behind the classes of persistent storage: what each serves, how much room it has. Blocks.

A class is a claim about hardware, so without the operator's word a disk is offered as what the kernel says
it is; a faster one also serves where a slower one was asked for.
Invariant: classes on one disk say so, so that nobody counts its bytes twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from provider.adapters.runtime.storage.settings import StorageSettings
from provider.domain.workload import StorageClass

OWN_FOLDER = "files"
"""Under the root: the files of classes without a path of their own."""
VIRTUAL = ("vd", "xvd")
"""Drives of virtual machines: what they say of themselves is nothing, what is below them mostly SSDs."""


def folders(settings: StorageSettings, root: Path) -> Mapping[str, Path]:
    """Where each offered class has its files."""
    if settings.classes is not None:
        return settings.classes
    return dict.fromkeys(kinds(Path("/sys/dev/block") / disk_of(root)), root / OWN_FOLDER)


def offered(settings: StorageSettings, root: Path) -> tuple[StorageClass, ...]:
    """Each class whose folder is there, with its disk's room: free now, or held by volumes already."""
    found = []
    for name, folder in sorted(folders(settings, root).items()):
        there = _existing(folder) if folder.parent == root else folder
        if there.is_dir():
            facts = os.statvfs(there)
            room = facts.f_bavail * facts.f_frsize + sum(_allocated(folder))
            found.append(StorageClass(name=name, disk=disk_of(there), capacity_bytes=room))
    return tuple(found)


def disk_of(path: Path) -> str:
    """A name for the file system that ``path``, or what is there of it, is on: ``major:minor``."""
    number = _existing(path).stat().st_dev
    return f"{os.major(number)}:{os.minor(number)}"


def held_bytes(settings: StorageSettings, root: Path, path: Path) -> int:
    """What volumes hold of the disk that ``path`` is on: not free, but of leases that are counted anyway."""
    same = {each for each in folders(settings, root).values() if disk_of(each) == disk_of(path)}
    return sum(size for folder in same for size in _allocated(folder))


def _allocated(folder: Path) -> Iterator[int]:
    for file in folder.glob("gp-*.ext4"):
        try:
            yield file.stat().st_blocks * 512
        except OSError:  # just removed
            continue


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def kinds(device: Path) -> tuple[str, ...]:
    """The classes that a block device, as sysfs has it, can serve; the best comes last."""
    drives = list(_drives(device))
    if drives and all(drive.name.startswith("nvme") for drive in drives):
        return ("default", "beta1", "beta2", "beta3")
    if drives and all(drive.name.startswith(VIRTUAL) or _says(drive, "0") for drive in drives):
        return ("default", "beta1", "beta2")
    return ("default", "beta1")


def _drives(device: Path) -> Iterator[Path]:
    """Down from a partition, a mapped device or an array to the drives; none where it is no block device."""
    if not device.exists():
        return
    device = device.resolve()
    below = list((device / "slaves").glob("*"))
    for each in below:
        yield from _drives(each)
    if not below:
        yield device.parent if (device / "partition").exists() else device


def _says(drive: Path, wanted: str) -> bool:
    try:
        return (drive / "queue" / "rotational").read_text().strip() == wanted
    except OSError:
        return False
