"""Real ext4 and XFS with project quotas on, and the volumes that are made there.

The adapter's own code makes them. Everything here runs inside ``machine``.
"""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from provider.adapters.runtime.storage import quota, volume
from provider.adapters.runtime.storage.records import Record, Records, Wanted
from provider.domain.errors import ProviderError
from provider.domain.ids import LeaseId
from provider.domain.resources import MIB
from provider.domain.workload import Enforcement

LEASE = LeaseId.parse("alice/1/1/1/p1")
OTHER = LeaseId.parse("bob/2/1/1/p1")
IDS = range(2_000_000_000, 2_000_000_100)
SIZE = 8 * MIB
FULL = {errno.EDQUOT, errno.ENOSPC}
DEVICES = {"ext4": "/dev/ram0", "xfs": "/dev/ram1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A file system with project quotas on."""

    kind: str
    top: Path
    records: Records

    def wanted(self, name: str = "data") -> Wanted:
        return Wanted(
            service="web",
            replica=0,
            name=name,
            size_bytes=SIZE,
            folder=self.top / "class",
            enforced_by=Enforcement.PROJECT,
        )

    def made(self, lease: LeaseId = LEASE, name: str = "data") -> tuple[Record, Path]:
        record = volume.make(self.records, lease, self.wanted(name), IDS)
        return record, volume.attach(self.records, record)

    def left(self) -> list[str]:
        """Of volumes: directories, mounts, records, ids with limits or files."""
        there = [str(each) for each in (self.top / "class").iterdir()]
        there += [
            line for line in Path("/proc/self/mountinfo").read_text().splitlines() if "/records/" in line
        ]
        there += [str(each) for each in self.records.root.rglob("*")]
        with quota.opened(self.top) as descriptor:
            return there + [f"project {each}" for each in IDS if not quota.read(descriptor, each).is_free]


def fill(folder: Path, most: int = 64 * MIB) -> tuple[int, int]:
    """Write until it fails, or ``most``: how much was taken, and the error or 0."""
    written = 0
    with (folder / "filler").open("wb", buffering=0) as file:
        try:
            while written < most:
                written += file.write(bytes(MIB // 4))
            os.fsync(file.fileno())
        except OSError as error:
            return written, error.errno or 0
    return written, 0


@contextmanager
def refused(*words: str) -> Iterator[None]:
    """What is done within fails, and says all of ``words``."""
    told = ""
    try:
        yield
    except ProviderError as error:
        told = f"{error.what} {error.remedy}"
    assert told, "it was not refused"
    for each in words:
        assert each in told, told


def worlds() -> list[World]:
    """Both, mounted, with an empty folder for a class."""
    made = []
    makers = {
        "ext4": ("mkfs.ext4", "-q", "-O", "project,quota", DEVICES["ext4"]),
        "xfs": ("/xfs/ld.so", "--library-path", "/xfs", "/xfs/mkfs", "-q", "-f", DEVICES["xfs"]),
    }
    for kind, command in makers.items():
        top = Path(f"/disks/{kind}")
        top.mkdir(parents=True)
        subprocess.run(command, check=True)
        subprocess.run(["mount", "-t", kind, "-o", "prjquota", DEVICES[kind], str(top)], check=True)
        (top / "class").mkdir()
        made.append(World(kind=kind, top=top, records=Records(Path(f"/tmp/{kind}/records"))))
    return made


def clear(world: World) -> None:
    """Whatever a trial left."""
    for lease in world.records.leases():
        for record in world.records.of(lease):
            volume.erase(world.records, record)
        world.records.forget(lease)
    world.records.root.mkdir(parents=True, exist_ok=True)
