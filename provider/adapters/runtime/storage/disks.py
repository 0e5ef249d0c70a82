"""The disks behind the classes of persistent storage: what each serves, how much room it has. Blocks.

A class is a claim about hardware, so without the operator's word a disk is offered as what the kernel says
it is; a faster one also serves where a slower one was asked for.
Invariant: classes on one disk say so, so that nobody counts its bytes twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from provider.adapters.runtime.storage import directories, files, quota
from provider.adapters.runtime.storage.settings import StorageSettings
from provider.domain.errors import ConfigError
from provider.domain.workload import Enforcement, StorageClass

OWN_FOLDER = "files"
"""Under the root: the files of classes without a path of their own."""
VIRTUAL = ("vd", "xvd")
"""Drives of virtual machines: what they say of themselves is nothing, what is below them mostly SSDs."""
HOLDS_ROOT = "xfs"
"""Whose quotas hold for everybody. ext4's do not for ``CAP_SYS_RESOURCE`` (fs/quota/dquot.c,
``ignore_hardlimit``), which a tenant lacks, but the engine has, and it unpacks what tenants copy in."""


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
            try:
                held = enforcement(settings, folder)
            except ConfigError:
                continue  # ``refused`` tells
            found.append(StorageClass(name=name, disk=disk_of(there), capacity_bytes=room, enforced_by=held))
    return tuple(found)


def refused(settings: StorageSettings, root: Path) -> tuple[str, ...]:
    """Of each class that is not offered because its disk cannot do what the operator insists on: why."""
    told = []
    for name, folder in sorted(folders(settings, root).items()):
        try:
            enforcement(settings, folder)
        except ConfigError as error:
            told.append(f"{name}: {error.what}")
    return tuple(told)


def enforcement(settings: StorageSettings, folder: Path) -> Enforcement:
    """What holds new volumes of a class to their size. ``ConfigError`` where that cannot be had."""
    if settings.enforced_by is Enforcement.FILE:
        return Enforcement.FILE
    there = _existing(folder)
    missing = quota.absent(there)
    if settings.enforced_by is Enforcement.PROJECT and missing is not None:
        raise ConfigError(
            f"storage.enforced_by is project, and {folder} cannot have that: {missing}",
            remedy=f"{quota.REMEDY}; or leave storage.enforced_by out",
        )
    is_sure = settings.enforced_by is Enforcement.PROJECT or quota.kind_of(there) == HOLDS_ROOT
    return Enforcement.PROJECT if missing is None and is_sure else Enforcement.FILE


def disk_of(path: Path) -> str:
    """A name for the file system that ``path``, or what is there of it, is on: ``major:minor``."""
    number = _existing(path).stat().st_dev
    return f"{os.major(number)}:{os.minor(number)}"


def held_bytes(settings: StorageSettings, root: Path, path: Path) -> int:
    """What volumes hold of the disk that ``path`` is on: not free, but of leases that are counted anyway."""
    same = {each for each in folders(settings, root).values() if disk_of(each) == disk_of(path)}
    return sum(size for folder in same for size in _allocated(folder))


def _allocated(folder: Path) -> Iterator[int]:
    for file in folder.glob(f"gp-*{files.SUFFIX}"):
        try:
            yield file.stat().st_blocks * 512
        except OSError:  # just removed
            continue
    for directory in folder.glob(f"gp-*{directories.SUFFIX}"):
        yield directories.held_bytes(directory)


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
