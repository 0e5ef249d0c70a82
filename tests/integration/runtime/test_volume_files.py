"""Files with file systems in them: sizes, wrong files, full disks, and whatever a killed process leaves.

On the machine's own loop devices, without an engine.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from provider.adapters.runtime.storage import attaching, files, volume
from provider.adapters.runtime.storage.records import Record, Records, Wanted
from provider.domain.errors import Temporary
from provider.domain.resources import MIB
from provider.domain.workload import Enforcement
from tests.integration.runtime import volume_process
from tests.launches import BOUND_S, lease_id

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")

LEASE = lease_id()


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    records = Records(tmp_path / "p1")
    yield records
    there = [record for lease in records.leases() for record in records.of(lease)]
    for record in (*there, *there):  # one may be mounted where another belongs
        attaching.detach(records, record)
    for record in there:
        files.erase(records, record)


@pytest.fixture
def wanted(tmp_path: Path) -> Wanted:
    disk = tmp_path / "disk"
    disk.mkdir()
    return Wanted(service="web", replica=0, name="data", size_bytes=16 * MIB, folder=disk)


def remove(records: Records, record: Record) -> None:
    assert attaching.detach(records, record)
    files.erase(records, record)


def fill(folder: Path) -> int:
    """Write until there is no room; how much there was."""
    written = 0
    with (folder / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                written += file.write(bytes(MIB))
        except OSError:
            return written


def left(tmp_path: Path) -> list[str]:
    """Everything but folders that stay."""
    there = [each for each in tmp_path.rglob("*") if each.name not in {"p1", "disk"}]
    held = [
        text
        for each in Path("/sys/block").glob("loop*/loop/backing_file")
        if (text := each.read_text().strip()).startswith(str(tmp_path))
    ]
    return [str(each) for each in there if records_folder(each)] + held


def records_folder(place: Path) -> bool:
    """Whether it is something of a volume: its lease's folder goes with the lease."""
    return "%2F" not in place.name


def test_a_volume_takes_what_was_ordered_and_never_more(records: Records, wanted: Wanted) -> None:
    record = files.make(records, LEASE, wanted)
    place = attaching.attach(records, record)

    size = Path(record.file).stat()
    assert (size.st_size, size.st_blocks * 512 // MIB) == (16 * MIB, 16)  # set aside at once
    assert 12 * MIB < fill(place) <= 16 * MIB
    assert Path(record.file).stat().st_blocks * 512 // MIB == 16
    with pytest.raises(OSError, match="No space left"):
        (place / "more").write_bytes(bytes(MIB))


def test_making_and_attaching_twice_is_once(records: Records, wanted: Wanted) -> None:
    record = files.make(records, LEASE, wanted)
    place = attaching.attach(records, record)
    (place / "kept").write_text("here")

    assert files.make(records, LEASE, wanted) == record
    assert attaching.attach(records, record) == place
    assert (place / "kept").read_text() == "here"
    assert attaching.detach(records, record)
    assert attaching.mounted(records.mountpoint(record)) is None


def test_what_was_made_as_a_file_stays_one(records: Records, wanted: Wanted) -> None:
    """Also when its disk has got project quotas since."""
    record = files.make(records, LEASE, wanted)

    again = volume.make(records, LEASE, replace(wanted, enforced_by=Enforcement.PROJECT), range(1, 9))
    place = volume.attach(records, again)

    assert again == record
    assert attaching.mounted(records.mountpoint(record)) is not None
    assert 0 < volume.used_bytes(records, record) < fill(place)
    volume.erase(records, record)
    assert records.of(LEASE) == ()


def test_options_keep_devices_and_other_users_programs_out(records: Records, wanted: Wanted) -> None:
    record = files.make(records, LEASE, wanted)
    attaching.attach(records, record)

    lines = Path("/proc/self/mountinfo").read_text().replace("\\134", "\\").splitlines()
    (line,) = [each for each in lines if str(records.mountpoint(record)) in each]
    assert {"nodev", "nosuid", "noatime"} <= set(line.split()[5].split(","))
    assert records.root.stat().st_mode & 0o777 == 0o700
    assert Path(record.file).stat().st_mode & 0o777 == 0o600


def test_after_a_boot_each_lease_gets_its_own_whatever_the_order(records: Records, wanted: Wanted) -> None:
    made = {}
    for lease in (LEASE, lease_id(), lease_id()):
        record = files.make(records, lease, wanted)
        (attaching.attach(records, record) / "whose").write_text(str(lease))
        made[lease] = record
    for record in made.values():
        assert attaching.detach(records, record)

    for lease, record in reversed(made.items()):
        assert (attaching.attach(records, record) / "whose").read_text() == str(lease)


def test_another_leases_file_in_its_place_is_refused(records: Records, wanted: Wanted) -> None:
    mine = files.make(records, LEASE, wanted)
    other = files.make(records, lease_id(), wanted)
    Path(mine.file).replace(f"{mine.file}.aside")
    os.link(other.file, mine.file)

    with pytest.raises(Temporary, match=f"is not the volume data of {LEASE}"):
        attaching.attach(records, mine)

    assert attaching.mounted(records.mountpoint(mine)) is None


def test_anything_else_that_is_mounted_there_is_refused(records: Records, wanted: Wanted) -> None:
    mine = files.make(records, LEASE, wanted)
    other = files.make(records, lease_id(), wanted)
    subprocess.run(["mount", "-o", "loop", other.file, str(records.mountpoint(mine))], check=True)

    with pytest.raises(Temporary, match="what is mounted at"):
        attaching.attach(records, mine)


def test_a_file_that_is_gone_is_not_made_anew(records: Records, wanted: Wanted) -> None:
    record = files.make(records, LEASE, wanted)
    Path(record.file).unlink()

    with pytest.raises(Temporary, match="is gone"):
        attaching.attach(records, record)
    with pytest.raises(Temporary, match="the tenant's data"):
        files.make(records, LEASE, wanted)


def test_where_nothing_is_mounted_nobody_can_write(records: Records, wanted: Wanted) -> None:
    record = files.make(records, LEASE, wanted)

    assert not (records.mountpoint(record) / files.DATA).exists()
    with pytest.raises(OSError, match="not permitted"):
        (records.mountpoint(record) / "stray").write_text("fills the wrong disk")


@pytest.mark.parametrize("is_reserved", [True, False])
def test_a_disk_that_is_full_or_missing_leaves_nothing(
    records: Records, wanted: Wanted, tmp_path: Path, is_reserved: bool
) -> None:
    small = files.make(records, lease_id(), replace(wanted, name="disk"))
    disk = attaching.attach(records, small)
    fill(disk)
    (disk / "filler").rename(disk / "full")

    with pytest.raises(Temporary, match="making the volume data"):
        files.make(records, LEASE, replace(wanted, folder=disk, is_reserved=is_reserved))
    with pytest.raises(Temporary, match="making the volume data"):
        files.make(records, LEASE, replace(wanted, folder=tmp_path / "unplugged"))

    assert records.of(LEASE) == ()
    assert [each.name for each in disk.iterdir()] == ["full"]
    assert not (tmp_path / "unplugged").exists()
    assert list(records.folder(LEASE).iterdir()) == []


def half_made(records: Records, record: Record) -> None:
    Path(record.file).rename(f"{record.file}.{record.uuid}")
    subprocess.run(["chattr", "-i", records.mountpoint(record)], check=True)
    records.mountpoint(record).rmdir()


def only_recorded(records: Records, record: Record) -> None:
    half_made(records, record)
    Path(f"{record.file}.{record.uuid}").unlink()


def mounted_twice(records: Records, record: Record) -> None:
    attaching.attach(records, record)
    subprocess.run(["mount", "--bind", "/tmp", records.mountpoint(record)], check=True)


def looked_into(records: Records, record: Record) -> None:
    attaching.attach(records, record)
    subprocess.run(["umount", records.mountpoint(record)], check=True)


def file_gone(records: Records, record: Record) -> None:
    attaching.attach(records, record)
    Path(record.file).unlink()


@pytest.mark.parametrize(
    "killed",
    [half_made, only_recorded, mounted_twice, looked_into, file_gone],
    ids=lambda each: each.__name__,
)
def test_removal_goes_on_from_wherever_it_or_making_was_killed(
    records: Records, wanted: Wanted, tmp_path: Path, killed: Callable[[Records, Record], None]
) -> None:
    record = files.make(records, LEASE, wanted)
    killed(records, record)

    remove(records, record)
    remove(records, record)

    assert records.of(LEASE) == ()
    assert left(tmp_path) == []


def test_making_goes_on_from_wherever_it_was_killed(records: Records, wanted: Wanted, tmp_path: Path) -> None:
    for killed in (half_made, only_recorded):
        record = files.make(records, LEASE, wanted)
        killed(records, record)

        again = files.make(records, LEASE, wanted)

        assert attaching.attach(records, again).is_dir()
        assert len(list((tmp_path / "disk").iterdir())) == 1  # the attempt is gone
        remove(records, again)


def test_killed_at_any_moment_removal_leaves_nothing(records: Records, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    chance = random.Random(4)  # noqa: S311 - moments, nothing secret
    command = [sys.executable, "-m", volume_process.__name__, str(records.root), str(disk)]
    found = set()
    for _ in range(5):
        with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(chance.uniform(0, 0.15))  # the moment is what is tried, nothing is waited for
            os.killpg(process.pid, signal.SIGKILL)
        there = records.of(volume_process.LEASE)
        found.add((len(there), len(list(disk.iterdir()))))

        for record in there:
            remove(records, record)
        records.forget(volume_process.LEASE)

        assert left(tmp_path) == []
        assert list(disk.iterdir()) == list(records.root.iterdir()) == []
    assert len(found) > 1, found  # not always the same moment


def test_a_volume_that_grows_sets_nothing_aside_and_gives_back(records: Records, wanted: Wanted) -> None:
    record = files.make(records, LEASE, replace(wanted, generation=1, is_reserved=False, size_bytes=64 * MIB))
    place = attaching.attach(records, record)
    assert Path(record.file).stat().st_blocks * 512 < 4 * MIB

    (place / "big").write_bytes(bytes(40 * MIB))
    os.sync()
    assert 40 * MIB <= attaching.used_bytes(records.mountpoint(record)) < 44 * MIB
    (place / "big").unlink()
    os.sync()

    assert attaching.used_bytes(records.mountpoint(record)) < 4 * MIB
    until = time.monotonic() + BOUND_S
    while Path(record.file).stat().st_blocks * 512 > 16 * MIB:  # ext4 gives back in the background
        assert time.monotonic() < until, "the host did not get its blocks back"
        time.sleep(0.05)
