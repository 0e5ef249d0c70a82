"""Volume directories under a project quota: making one, knowing it again, and making it go. Blocks.

What ``files`` and ``attaching`` are for files with a file system in them: the same marker, the same ``data``
in the same place, the same steps. Does not own which project it is, see ``project_ids``.

Invariants: a directory under its final name is a whole volume under its project; what is mounted for a
container is that very directory, without devices and other users' programs; the project's size is what was
ordered, and is set again before each start.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import structlog

from provider.adapters.runtime.storage import attaching, files, programs, project_ids, quota
from provider.adapters.runtime.storage.quota import Quota
from provider.adapters.runtime.storage.records import Record, Records, Wanted, sync
from provider.domain.errors import ProviderError, Temporary
from provider.domain.ids import LeaseId

log = structlog.get_logger()

SUFFIX = ".project"
"""Of the directory's name, where a file's is ``.ext4``."""
OPTIONS = ("nodev", "nosuid", "noatime")
BYTES_A_FILE = 16_384
"""As ``files`` makes them: so many bytes of its size allow one file or directory."""
FILES_LEAST = 256


def limits(size_bytes: int) -> Quota:
    """Of a volume of this size."""
    return Quota(
        size_bytes=quota.rounded(size_bytes), files_most=max(FILES_LEAST, size_bytes // BYTES_A_FILE)
    )


def make(records: Records, lease: LeaseId, wanted: Wanted, ids: range) -> Record:
    """The volume's record, once its directory is there. ``ids``: those that it may have one of."""
    old = records.find(lease, wanted.id)
    if old is not None and _is_there(old):
        return old
    doing = f"making the volume {wanted.name} of {lease}"
    if old is not None:
        files.refuse_if_lost(doing, records, old)
        erase(records, old)
    record: Record | None = None
    try:
        if wanted.folder.parent == records.root:
            for folder in (*reversed(records.root.parents), records.root, wanted.folder):
                folder.mkdir(mode=0o700, exist_ok=True)
        with project_ids.locked(wanted.folder) as descriptor:
            project = project_ids.unused(descriptor, ids)
            record = files.recorded(records, lease, wanted, SUFFIX, project)
            records.write(record)
            quota.write(descriptor, project, limits(wanted.size_bytes))
            half = _half(record)
            half.mkdir(mode=0o700)
            with quota.opened(half) as inside:
                quota.assign(inside, project)
        _finish(record, half, wanted.owner)
        files.mountpoint(records, record)
    except (ProviderError, OSError) as error:
        if record is not None:
            _give_up(records, record)
        if isinstance(error, ProviderError):
            raise
        raise Temporary(f"{doing}: {error}", remedy="see that the disk is there and has room") from error
    return record


def _finish(record: Record, half: Path, owner: tuple[int, int]) -> None:
    """Under the final name only when it is whole, and on the disk."""
    data = half / files.DATA
    data.mkdir(mode=0o755)
    data.chmod(0o755)
    os.chown(data, *owner)
    with (half / files.MARKER).open("x") as file:
        file.write(files.marker(record))
        file.flush()
        os.fsync(file.fileno())
    sync(half)
    half.rename(record.file)
    sync(half.parent)


def attach(records: Records, record: Record) -> Path:
    """Mount it if it is not; the directory for containers. ``Temporary`` when it is not the right volume."""
    place, final = records.mountpoint(record), Path(record.file)
    doing = f"mounting the volume {record.name} of {record.lease}"
    if not _is_there(record):
        raise Temporary(
            f"the volume {record.name} of {record.lease} is gone: there is no directory {final}",
            remedy="put the disk back that it was on",
        )
    _check(record, final)
    found = attaching.mounted(place)
    if found is None:
        programs.run(doing, "mount", "--bind", str(final), str(place))
    here, there = place.stat(), final.stat(follow_symlinks=False)
    if (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino):
        raise Temporary(
            f"what is mounted at {place} is not the volume {record.name} of {record.lease}",
            remedy=f"umount {place}",
        )
    if found is None or not found.options >= set(OPTIONS):
        # A bind mount takes its options in a second step: one that was killed in between has none.
        programs.run(doing, "mount", "-o", ",".join(("remount", "bind", *OPTIONS)), str(place))
    return place / files.DATA


def _check(record: Record, final: Path) -> None:
    """It is the directory that was made for this volume, and so is what is in it; its size holds."""
    missing = quota.absent(final)
    if missing is not None:
        raise Temporary(
            f"nothing holds the volume {record.name} of {record.lease} to its size: {missing}",
            remedy=quota.REMEDY,
        )
    with quota.opened(final) as inside:
        if _said(inside) != files.marker(record) or not _is_under(inside, record.project):
            raise Temporary(
                f"the directory {final} is not the volume {record.name} of {record.lease}",
                remedy="put the right directory back in its place",
            )
        wanted, found = limits(record.size_bytes), quota.read(inside, record.project)
        if (found.size_bytes, found.files_most) != (wanted.size_bytes, wanted.files_most):
            log.warning("quota_set_again", lease=record.lease, volume=record.name, was=found.size_bytes)
            quota.write(inside, record.project, wanted)


def _said(inside: int) -> str | None:
    with suppress(OSError, UnicodeDecodeError):
        descriptor = os.open(files.MARKER, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=inside)
        with os.fdopen(descriptor) as file:
            return file.read()
    return None


def _is_under(inside: int, project: int) -> bool:
    """This directory, and the one in it that containers see; neither is a link."""
    try:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        data = os.open(files.DATA, flags, dir_fd=inside)
    except OSError:
        return False
    try:
        return quota.project_of(inside) == quota.project_of(data) == project
    finally:
        os.close(data)


def erase(records: Records, record: Record) -> None:
    """Everything in it, its names, then its project. It must not be mounted. Fine when any of it is gone."""
    final, half = Path(record.file), _half(record)
    doing = f"removing the volume {record.name} of {record.lease}"
    if final.is_symlink():
        final.unlink()
    elif _is_mine(record, final):
        final.rename(half)  # half of a volume is none
    for each in final.parent.glob(f"{final.name}.*"):
        # Trees as deep as a tenant likes: by a program that goes down without remembering the way.
        programs.run(doing, "rm", "-rf", "--one-file-system", "--", str(each))
    if _has_quota(final.parent) and not project_ids.release(final.parent, record.project):
        log.warning("project_still_used", lease=record.lease, project=record.project)
    files.forget(records, record)


def _give_up(records: Records, record: Record) -> None:
    """What was begun goes; where that fails as well, the record stays, and with it whoever ends the lease."""
    with suppress(ProviderError, OSError):
        erase(records, record)


def _is_mine(record: Record, final: Path) -> bool:
    """Not another volume's that was put in its place: that one goes with its own lease."""
    try:
        with quota.opened(final) as inside:
            return quota.project_of(inside) in {record.project, 0}
    except OSError:
        return False


def _has_quota(folder: Path) -> bool:
    return folder.is_dir() and quota.absent(folder) is None


def _is_there(record: Record) -> bool:
    return Path(record.file).is_dir() and not Path(record.file).is_symlink()


def _half(record: Record) -> Path:
    """Under a name that no other attempt has."""
    return Path(f"{record.file}.{record.uuid}")


def used_bytes(record: Record) -> int:
    """As its quota counts it; 0 where it is away."""
    return held_bytes(Path(record.file))


def held_bytes(directory: Path) -> int:
    """What the project of ``directory`` has on its disk."""
    try:
        with quota.opened(directory) as inside:
            project = quota.project_of(inside)
            return quota.read(inside, project).used_bytes if project else 0
    except (OSError, ProviderError):
        return 0
