"""Mounting volume files, and knowing that what is mounted is the right one. Blocks.

A volume that is not where it was is ``Temporary``: a disk may come back, and a lease must not end, nor lose
its data, because it was away. Invariant: no loop device's number is ever kept: files are mounted by their
path, and before each start what is mounted is held against the record (the file system's own UUID, and the
marker in it).
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from provider.adapters.runtime.storage import files, programs
from provider.adapters.runtime.storage.records import Record, Records
from provider.domain.errors import Temporary

OPTIONS = ("loop", "noatime", "nodev", "nosuid", "noinit_itable")
"""``nosuid`` takes nothing from tenants: their containers have ``no-new-privileges`` anyway."""
LOOP_SET_DIRECT_IO = 0x4C08
"""linux/loop.h: past the page cache, which the file system in the file has already."""
RELEASE_TRIES = 40
RELEASE_PAUSE_S = 0.05
MOUNTS_MOST = 16
"""On one directory; more than one is what killed attempts left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mounted:
    """The topmost mount on a directory."""

    device: str
    """``major:minor``."""
    kind: str
    options: frozenset[str]
    """Of the mount, not of the file system: ``nodev``."""


def mounted(place: Path, table: Path = Path("/proc/self/mountinfo")) -> Mounted | None:
    """What is on ``place`` (proc_pid_mountinfo(5)), as seen by the process whose ``table`` it is."""
    found = None
    for line in table.read_text().splitlines():
        before, _, behind = line.partition(" - ")
        fields = before.split()
        if _unescaped(fields[4]) == str(place):
            options = frozenset(fields[5].split(","))
            found = Mounted(device=fields[2], kind=behind.split()[0], options=options)
    return found


def attach(records: Records, record: Record) -> Path:
    """Mount it if it is not; the directory for containers. ``Temporary`` when it is not the right volume."""
    place = records.mountpoint(record)
    if mounted(place) is None:
        if not Path(record.file).exists():
            raise Temporary(
                f"the volume {record.name} of {record.lease} is gone: there is no {record.file}",
                remedy="put the disk back that it was on",
            )
        files.check(record)
        _mount(record, place)
    _verify(record, place)
    return place / files.DATA


def _mount(record: Record, place: Path) -> None:
    doing = f"mounting the volume {record.name} of {record.lease}"
    options = ",".join(OPTIONS if record.is_reserved else (*OPTIONS, "discard"))
    command = ("mount", "-t", "ext4", "-o", options, record.file, str(place))
    status, told = programs.attempt(doing, *command)
    if status != 0 and mounted(place) is None:
        # After a crash of the host its journal is replayed by the mount; what that cannot mend, this may.
        programs.attempt(doing, "e2fsck", "-f", "-p", record.file)
        status, told = programs.attempt(doing, *command)
    if status != 0 and mounted(place) is None:
        raise Temporary(f"{doing}: {told}", remedy="run the agent as root on the host, with loop devices")
    found = mounted(place)
    if found is not None:
        with suppress(OSError), _device(found).open("rb") as device:
            fcntl.ioctl(device, LOOP_SET_DIRECT_IO, 1)


def _verify(record: Record, place: Path) -> None:
    found = mounted(place)
    said = None
    with suppress(OSError):
        said = (place / files.MARKER).read_text()
    told = files.uuid_in(_device(found)) if found is not None else None
    if told != record.uuid or said != files.marker(record):
        raise Temporary(
            f"what is mounted at {place} is not the volume {record.name} of {record.lease}",
            remedy=f"umount {place}, and put the right file back at {record.file}",
        )


def detach(records: Records, record: Record) -> bool:
    """Unmount it; no container may run on it. Whether its loop device is free again."""
    place = records.mountpoint(record)
    doing = f"unmounting the volume {record.name} of {record.lease}"
    for _ in range(MOUNTS_MOST):
        if mounted(place) is None:
            break
        status, _ = programs.attempt(doing, "umount", str(place))
        if status != 0:
            # Somebody looks into it from the host; their look ends with what they hold open.
            programs.run(doing, "umount", "--lazy", str(place))
    for _ in range(RELEASE_TRIES):
        if not is_held(record):
            return True
        time.sleep(RELEASE_PAUSE_S)
    return False


def is_held(record: Record) -> bool:
    """Whether a loop device still has its file: mounted here, or in a mount namespace that we do not see."""
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(OSError):
            if backing.read_text().strip().removesuffix(" (deleted)") == record.file:
                return True
    return False


def used_bytes(place: Path) -> int:
    """Of the file system mounted on ``place``, without what it needs for itself."""
    facts = os.statvfs(place)
    return (facts.f_blocks - facts.f_bfree) * facts.f_frsize


def _device(found: Mounted) -> Path:
    """The kernel's own name of it: a number alone is not a device's name."""
    try:
        told = Path(f"/sys/dev/block/{found.device}/uevent").read_text()
    except OSError:
        return Path("/nonexistent")
    name = next((line.partition("=")[2] for line in told.splitlines() if line.startswith("DEVNAME=")), "")
    return Path("/dev") / name


def _unescaped(text: str) -> str:
    """Blanks are written as octal numbers there."""
    for code, sign in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, sign)
    return text
