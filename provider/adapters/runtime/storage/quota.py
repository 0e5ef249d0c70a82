"""Project quotas of a file system, by the kernel's own calls: no program is needed. Blocks.

Owns the layouts and numbers of ``quotactl_fd`` (Linux 5.14) and of two ioctls, and what their errors mean.
Does not own which id a volume gets, see ``project_ids``. Invariant: a file system is asked through a file on
it, never by the name of a device.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from provider.domain.errors import Temporary

QUOTACTL_FD = 443
"""The same number on every architecture (asm-generic/unistd.h)."""
PROJECT = 2
"""linux/quota.h, as are these: ``PRJQUOTA``, ``Q_GETQUOTA``, ``Q_SETQUOTA``, ``struct if_dqblk``."""
GET, SET = 0x800007, 0x800008
GET_STATE = 0x5808
"""linux/dqblk_xfs.h: ``Q_XGETQSTATV``. Every file system answers it, not only XFS."""
STATE_BYTES = 512
"""More than ``struct fs_quota_statv`` has; its version is its first byte, its flags are two bytes at 2."""
IS_ACCOUNTED, IS_ENFORCED = 1 << 4, 1 << 5
"""``FS_QUOTA_PDQ_ACCT`` and ``FS_QUOTA_PDQ_ENFD``."""
LIMITS = struct.Struct("=8QI4x")
LIMITS_ARE_SET = 1 | 4
"""``QIF_BLIMITS | QIF_ILIMITS``."""
BLOCK_BYTES = 1024
"""The unit of limits; what is used is told in bytes."""
ROUND_BYTES = 65_536
"""XFS rounds limits up to its blocks, the largest of which these are: no byte more than ordered is given."""

GET_ATTRIBUTES, SET_ATTRIBUTES = 0x801C581F, 0x401C5820
"""linux/fs.h: ``FS_IOC_FSGETXATTR``, ``FS_IOC_FSSETXATTR`` and their ``struct fsxattr``."""
ATTRIBUTES = struct.Struct("=5I8x")
INHERITS = 0x200
"""``FS_XFLAG_PROJINHERIT``: what is made in a directory belongs to its project."""

KINDS = ("xfs", "ext4")
WORDS = {
    errno.ENOSYS: "it is not mounted with prjquota, or the kernel has no quotas, or is older than 5.14",
    errno.EINVAL: "the file system was not made with project quotas",
    errno.ESRCH: "it is not mounted with prjquota",
    errno.EOPNOTSUPP: "the file system has no quotas",
    errno.EPERM: "only root may see and set quotas",
    errno.ENOTTY: "the file system has no project ids",
}
"""What quotactl(2) and ioctl_fsxattr say, for people."""
REMEDY = "mount it with the option prjquota (ext4 also needs tune2fs -O project,quota), and run as root"

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """Of one project: how much it may have, 0 for no limit, and what it has."""

    size_bytes: int = 0
    files_most: int = 0
    used_bytes: int = 0
    files: int = 0

    @property
    def is_free(self) -> bool:
        """Whether nobody uses it, nor means to."""
        return not (self.size_bytes or self.files_most or self.used_bytes or self.files)


def rounded(size_bytes: int) -> int:
    """The limit for a size: never none, which 0 would be."""
    return max(size_bytes // ROUND_BYTES, 1) * ROUND_BYTES


def packed(quota: Quota) -> bytes:
    """``struct if_dqblk`` with the limits of ``quota``, and without soft ones."""
    blocks = quota.size_bytes // BLOCK_BYTES
    return LIMITS.pack(blocks, 0, 0, quota.files_most, 0, 0, 0, 0, LIMITS_ARE_SET)


def unpacked(raw: bytes) -> Quota:
    """The hard limits, and what is used."""
    blocks, _, used, files_most, _, files, *_ = LIMITS.unpack(raw)
    return Quota(size_bytes=blocks * BLOCK_BYTES, files_most=files_most, used_bytes=used, files=files)


@contextmanager
def opened(folder: Path) -> Iterator[int]:
    """``folder`` for the calls below, never what a link there leads to. ``OSError`` where it is none."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def absent(folder: Path) -> str | None:
    """Why directories below ``folder`` cannot be held to a size, for people; None where they can."""
    kind = kind_of(folder)
    if kind not in KINDS:
        return f"{kind or 'its file system'} has no project quotas that are known here"
    state = bytearray(STATE_BYTES)
    state[0] = 1
    try:
        with opened(folder.resolve()) as descriptor:
            _quotactl(descriptor, GET_STATE, 0, state)
    except OSError as error:
        return WORDS.get(error.errno or 0, str(error))
    (flags,) = struct.unpack_from("=H", state, 2)
    if not flags & IS_ACCOUNTED:
        return "it is not mounted with prjquota"
    if not flags & IS_ENFORCED:
        return "it is not mounted with prjquota: project quotas are counted and not enforced"
    return None


def kind_of(folder: Path, table: Path = Path("/proc/self/mountinfo")) -> str:
    """The file system that ``folder`` is on: ``ext4``; empty where the kernel does not tell."""
    number = folder.stat().st_dev
    device = f"{os.major(number)}:{os.minor(number)}"
    for line in table.read_text().splitlines():
        before, _, behind = line.partition(" - ")
        if before.split()[2] == device:
            return behind.split()[0]
    return ""


def read(descriptor: int, project: int) -> Quota:
    """Of ``project`` on the file system of ``descriptor``. ``Temporary`` where it keeps none."""
    raw = bytearray(LIMITS.size)
    try:
        _quotactl(descriptor, GET, project, raw)
    except OSError as error:
        if error.errno == errno.ENOENT:  # XFS: never used
            return Quota()
        raise _told(f"reading the quota of project {project}", error) from error
    return unpacked(bytes(raw))


def write(descriptor: int, project: int, quota: Quota) -> None:
    """Set the limits of ``project`` to those of ``quota``."""
    try:
        _quotactl(descriptor, SET, project, bytearray(packed(quota)))
    except OSError as error:
        raise _told(f"setting the quota of project {project}", error) from error


def project_of(descriptor: int) -> int:
    """That what is made in this directory belongs to; 0 for none."""
    attributes = bytearray(ATTRIBUTES.size)
    try:
        fcntl.ioctl(descriptor, GET_ATTRIBUTES, attributes)
    except OSError:
        return 0
    flags, _, _, project, _ = ATTRIBUTES.unpack(attributes)
    return int(project) if flags & INHERITS else 0


def assign(descriptor: int, project: int) -> None:
    """Put a directory, and whatever will be made in it, under ``project``."""
    attributes = bytearray(ATTRIBUTES.size)
    try:
        fcntl.ioctl(descriptor, GET_ATTRIBUTES, attributes)
        flags, extent, extents, _, copied = ATTRIBUTES.unpack(attributes)
        wanted = ATTRIBUTES.pack(flags | INHERITS, extent, extents, project, copied)
        fcntl.ioctl(descriptor, SET_ATTRIBUTES, wanted)
    except OSError as error:
        raise _told(f"putting a directory under project {project}", error) from error


def _quotactl(descriptor: int, command: int, project: int, buffer: bytearray) -> None:
    there = (ctypes.c_char * len(buffer)).from_buffer(buffer)
    wanted = ctypes.c_uint(command << 8 | PROJECT), ctypes.c_uint(project)
    if _libc.syscall(ctypes.c_long(QUOTACTL_FD), ctypes.c_uint(descriptor), *wanted, there) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _told(doing: str, error: OSError) -> Temporary:
    if error.errno == errno.ENOSPC:
        return Temporary(f"{doing}: the disk is full", remedy="free some disk")
    return Temporary(f"{doing}: {WORDS.get(error.errno or 0, str(error))}", remedy=REMEDY)
