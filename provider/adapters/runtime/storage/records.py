"""Records: which volumes there are, whose they are, and where their files or directories are.

One folder a lease under the root, in it for each volume a record (``ID.json``) and the directory it is
mounted on (``ID``). Does not own the volumes themselves, see ``files`` and ``directories``.

Invariant: a record is on the disk before anything else of its volume, and goes last, so that after a crash
whatever there is of a volume can be found.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from provider.domain.errors import Temporary
from provider.domain.ids import LeaseId
from provider.domain.workload import Enforcement

SUFFIX = ".json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A volume as a replica needs it."""

    service: str
    replica: int
    name: str
    """The volume's, or the path in the container that an image declares as one."""
    size_bytes: int
    folder: Path
    """Where its file goes."""
    generation: int = 0
    """It ends with the containers of this generation; 0: with the lease."""
    is_reserved: bool = True
    """Whether the disk is set aside at once; else it grows as it is written, up to its size."""
    owner: tuple[int, int] = (0, 0)
    """User and group of its top directory on the host."""
    enforced_by: Enforcement = Enforcement.FILE

    @property
    def id(self) -> str:
        digest = hashlib.sha256(self.name.encode()).hexdigest()[:8]
        ends = f"-g{self.generation}" if self.generation else ""
        return f"{self.service}-{self.replica}-{digest}{ends}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A volume that is there, or was about to be."""

    id: str
    lease: str
    service: str
    replica: int
    name: str
    size_bytes: int
    generation: int
    is_reserved: bool
    uuid: str
    """Of the file system in the file: made for this volume and never used again."""
    file: str
    """Or its directory."""
    project: int = 0
    """That the directory is under; 0: it is a file."""


class Records:
    """Those of one provider, below ``root``. Calls block; a lease is worked on by one caller at a time."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, lease: LeaseId) -> Path:
        """Of everything of ``lease``. Its name is the lease's id, so that nothing else need tell it."""
        return self.root / quote(str(lease), safe="")

    def mountpoint(self, record: Record) -> Path:
        return self.root / quote(record.lease, safe="") / record.id

    def leases(self) -> frozenset[LeaseId]:
        """Every lease of which anything is there."""
        try:
            names = [each.name for each in self.root.iterdir()]
        except FileNotFoundError:
            return frozenset()
        found = set()
        for name in names:
            try:
                found.add(LeaseId.parse(unquote(name), may_be_idle=True))
            except ValueError:
                continue  # not made by us
        return frozenset(found)

    def of(self, lease: LeaseId) -> tuple[Record, ...]:
        """By id."""
        try:
            there = sorted(self.folder(lease).iterdir())
        except FileNotFoundError:
            return ()
        return tuple(self._read(each) for each in there if each.suffix == SUFFIX)

    def find(self, lease: LeaseId, volume: str) -> Record | None:
        """The one with that id."""
        return next((each for each in self.of(lease) if each.id == volume), None)

    def write(self, record: Record) -> None:
        """On the disk when this returns, over any older one."""
        place = self.mountpoint(record).with_name(record.id + SUFFIX)
        for folder in (*reversed(self.root.parents), self.root):
            folder.mkdir(mode=0o700, exist_ok=True)
        self.root.chmod(0o700)
        place.parent.mkdir(mode=0o700, exist_ok=True)
        beside = place.with_name(record.id + ".new")
        with beside.open("w") as file:
            json.dump(asdict(record), file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(place)
        for folder in (place.parent, self.root):
            sync(folder)

    def remove(self, record: Record) -> None:
        self.mountpoint(record).with_name(record.id + SUFFIX).unlink(missing_ok=True)

    def forget(self, lease: LeaseId) -> None:
        """The folder of a lease without volumes, and what a record that was being written left in it."""
        for half in self.folder(lease).glob("*.new"):
            half.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            self.folder(lease).rmdir()

    @staticmethod
    def _read(place: Path) -> Record:
        try:
            return Record(**json.loads(place.read_text()))
        except (ValueError, TypeError) as error:
            raise Temporary(
                f"the record {place} of a volume cannot be read: {error}",
                remedy="restore it, or remove the volume's file and it",
            ) from error


def sync(folder: Path) -> None:
    """The names in it are on the disk when this returns."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
