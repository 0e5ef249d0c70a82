"""Volume files: making one with a file system in it, and making it go. Blocks.

Owns the file's contents until a container writes: a marker, and ``data``, which is what containers see.
Does not own mounting, see ``attaching``.

Invariants: a file under its final name is a whole file system; a file that does not fit on its disk leaves
nothing behind; the size of the file is what was ordered, so that a tenant can never take more.
"""

from __future__ import annotations

import os
import shutil
import uuid
from contextlib import suppress
from pathlib import Path

from provider.adapters.runtime.storage import programs
from provider.adapters.runtime.storage.records import Record, Records, Wanted
from provider.domain.errors import ProviderError, Temporary
from provider.domain.ids import LeaseId

SUFFIX = ".ext4"
DATA = "data"
"""The directory in a volume that containers see; what is beside it they cannot reach."""
MARKER = "volume"
"""The file beside it that says whose it is."""
_SUPERBLOCK_UUID = 1024 + 0x68
"""Where ext4 keeps it (Documentation/filesystems/ext4/globals.rst, ``s_uuid``)."""


def make(records: Records, lease: LeaseId, wanted: Wanted) -> Record:
    """The volume's record, once its file is there. Fine when it was before."""
    old = records.find(lease, wanted.id)
    if old is not None and Path(old.file).exists():
        return old
    record = recorded(records, lease, wanted, SUFFIX)
    doing = f"making the volume {wanted.name} of {lease}"
    if old is not None:
        refuse_if_lost(doing, records, old)
    try:
        records.write(record)
        if wanted.folder.parent == records.root:
            wanted.folder.mkdir(mode=0o700, exist_ok=True)
        # Any other folder is the operator's: where it is missing its disk is, and ours would fill another
        # one.
        _fill(doing, record, _inside(records, record), wanted.owner)
        mountpoint(records, record)
    except ProviderError:
        forget(records, record)
        raise
    except OSError as error:
        forget(records, record)
        raise Temporary(f"{doing}: {error}", remedy="see that the disk is there and has room") from error
    return record


def recorded(records: Records, lease: LeaseId, wanted: Wanted, suffix: str, project: int = 0) -> Record:
    """Of a volume that is about to be made. Its name ends with ``suffix``, its UUID is a new one."""
    return Record(
        id=wanted.id,
        lease=str(lease),
        service=wanted.service,
        replica=wanted.replica,
        name=wanted.name,
        size_bytes=wanted.size_bytes,
        generation=wanted.generation,
        is_reserved=wanted.is_reserved,
        uuid=str(uuid.uuid4()),
        file=str(wanted.folder / f"gp-{records.root.name}-{lease.key}-{wanted.id}{suffix}"),
        project=project,
    )


def refuse_if_lost(doing: str, records: Records, old: Record) -> None:
    """``Temporary`` when ``old``, which is not where it was, was whole: it is not made anew."""
    if old.generation == 0 and records.mountpoint(old).exists():
        raise Temporary(
            f"{doing}: its file {old.file} is gone, and with it the tenant's data",
            remedy="put the disk back that it was on",
        )


def _fill(doing: str, record: Record, inside: Path, owner: tuple[int, int]) -> None:
    """Under a name that no other attempt has: one that was killed may still be at work."""
    half = Path(f"{record.file}.{record.uuid}")
    _clear_attempts(record, inside)
    if record.is_reserved:
        programs.run(doing, "fallocate", "--length", str(record.size_bytes), str(half))
    else:
        with half.open("wb") as file:
            file.truncate(record.size_bytes)
    half.chmod(0o600)
    inside.mkdir(mode=0o700)
    (inside / MARKER).write_text(marker(record))
    (inside / DATA).mkdir(mode=0o755)
    (inside / DATA).chmod(0o755)
    os.chown(inside / DATA, *owner)
    # No block is kept for root, and tables are written as they are needed: the file reads as zeros.
    # Without nodiscard the blocks that were just set aside would be given back.
    extended = "nodiscard,lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0"
    options = ("-q", "-F", "-m", "0", "-i", "16384", "-E", extended)
    programs.run(doing, "mkfs.ext4", *options, "-U", record.uuid, "-d", str(inside), str(half))
    shutil.rmtree(inside)
    half.replace(record.file)


def marker(record: Record) -> str:
    """What a volume's marker says."""
    return f"{record.lease} {record.id} {record.uuid}\n"


def check(record: Record) -> None:
    """``Temporary`` when the file is not the one that was made for this volume."""
    told = uuid_in(Path(record.file))
    if told != record.uuid:
        raise Temporary(
            f"the file {record.file} is not the volume {record.name} of {record.lease}: "
            f"it holds {told or 'no file system'}, not {record.uuid}",
            remedy="put the right file back in its place",
        )


def uuid_in(place: Path) -> str | None:
    """Of the ext4 in a file or a device; None when there is none."""
    try:
        with place.open("rb") as file:
            file.seek(_SUPERBLOCK_UUID)
            raw = file.read(16)
    except OSError:
        return None
    return str(uuid.UUID(bytes=raw)) if len(raw) == 16 and any(raw) else None


def erase(records: Records, record: Record) -> None:
    """Give its blocks back, then its names. It must not be mounted. Fine when any of it is gone."""
    with suppress(FileNotFoundError):
        # First the blocks: whatever still holds the file open cannot keep what was in it.
        os.truncate(record.file, 0)
    forget(records, record)


def forget(records: Records, record: Record) -> None:
    """The names of what has no bytes any more: its file, its attempts, its mount point, its record."""
    with suppress(OSError):
        Path(record.file).unlink()
    _clear_attempts(record, _inside(records, record))
    place = records.mountpoint(record)
    if place.exists():
        _freeze(place, is_frozen=False)
        with suppress(FileNotFoundError):
            place.rmdir()
    records.remove(record)


def _inside(records: Records, record: Record) -> Path:
    """What a new file system begins with is put together here."""
    return records.mountpoint(record).with_name(f"{record.id}.inside")


def _clear_attempts(record: Record, inside: Path) -> None:
    shutil.rmtree(inside, ignore_errors=True)
    final = Path(record.file)
    for half in final.parent.glob(f"{final.name}.*"):
        half.unlink(missing_ok=True)


def mountpoint(records: Records, record: Record) -> None:
    """A directory in which nobody can write, not even root: what is not mounted takes no data."""
    place = records.mountpoint(record)
    place.mkdir(mode=0o000, exist_ok=True)
    if not os.path.ismount(place):
        _freeze(place, is_frozen=True)


def _freeze(place: Path, *, is_frozen: bool) -> None:
    """Where the file system knows of it (ext4, xfs, btrfs); mode 000 and the check before a start remain."""
    chattr = shutil.which("chattr") or "/usr/bin/chattr"
    with suppress(Temporary):
        programs.attempt(f"guarding {place}", chattr, "+i" if is_frozen else "-i", str(place))
