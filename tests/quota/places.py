"""Trials: each volume is made once, is mounted where it belongs, and has a project of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

from provider.adapters.runtime.storage import attaching, quota, volume
from provider.adapters.runtime.storage.quota import Quota
from provider.adapters.runtime.storage.records import Records
from provider.domain.ids import LeaseId
from provider.domain.resources import MIB
from provider.domain.workload import Enforcement
from tests.quota import filtered
from tests.quota.world import IDS, LEASE, OTHER, World, refused

DAEMONS = ("one", "two", "three")
VOLUMES_EACH = 8


def test_making_and_attaching_twice_is_once(world: World) -> None:
    record, place = world.made()
    (place / "kept").write_text("here")

    assert volume.make(world.records, LEASE, world.wanted(), IDS) == record
    assert volume.attach(world.records, record) == place
    assert (place / "kept").read_text() == "here"
    assert attaching.detach(world.records, record)
    assert not (place / "kept").exists()
    assert (volume.attach(world.records, record) / "kept").read_text() == "here"  # as after a boot
    found = attaching.mounted(world.records.mountpoint(record))
    assert found is not None
    assert found.options >= {"nodev", "nosuid", "noatime"}, found
    assert Path(record.file).stat().st_mode & 0o777 == 0o700
    assert (
        volume.make(world.records, LEASE, replace(world.wanted(), enforced_by=Enforcement.FILE), IDS)
        == record
    )


def test_a_mount_that_was_killed_before_its_options_gets_them(world: World) -> None:
    record, _ = world.made()
    assert attaching.detach(world.records, record)
    subprocess.run(["mount", "--bind", record.file, str(world.records.mountpoint(record))], check=True)
    volume.attach(world.records, record)
    found = attaching.mounted(world.records.mountpoint(record))
    assert found is not None
    assert found.options >= {"nodev", "nosuid"}


def test_anything_else_in_its_place_is_refused(world: World) -> None:
    mine, _ = world.made()
    theirs, _ = world.made(OTHER)
    assert attaching.detach(world.records, mine)
    final, aside = Path(mine.file), world.top / "aside"
    final.rename(aside)

    with refused("is gone"):
        volume.attach(world.records, mine)
    final.symlink_to(aside)
    with refused("is gone"):
        volume.attach(world.records, mine)
    final.unlink()
    shutil.copytree(aside, final)  # the mark is right, and no quota holds it
    with refused(f"is not the volume data of {LEASE}"):
        volume.attach(world.records, mine)
    shutil.rmtree(final)
    Path(theirs.file).rename(final)  # another lease's
    with refused(f"is not the volume data of {LEASE}"):
        volume.attach(world.records, mine)
    final.rename(theirs.file)
    aside.rename(final)
    volume.attach(world.records, mine)
    subprocess.run(["mount", "--bind", "/tmp", str(world.records.mountpoint(mine))], check=True)
    with refused("what is mounted at"):
        volume.attach(world.records, mine)


def test_the_end_of_a_lease_takes_nothing_of_another_in_its_place(world: World) -> None:
    mine, _ = world.made()
    theirs, place = world.made(OTHER)
    (place / "kept").write_text("here")
    assert attaching.detach(world.records, mine)
    assert attaching.detach(world.records, theirs)
    subprocess.run(["rm", "-rf", mine.file], check=True)
    Path(theirs.file).rename(mine.file)

    volume.erase(world.records, mine)

    Path(mine.file).rename(theirs.file)
    assert (volume.attach(world.records, theirs) / "kept").read_text() == "here"


def test_one_that_is_gone_is_not_made_anew(world: World) -> None:
    record, _ = world.made()
    assert attaching.detach(world.records, record)
    subprocess.run(["rm", "-rf", record.file], check=True)
    with refused("the tenant's data"):
        volume.make(world.records, LEASE, world.wanted(), IDS)


def test_no_two_have_one_id_and_none_that_others_use(world: World) -> None:
    with quota.opened(world.top) as descriptor:
        quota.write(descriptor, IDS[0], Quota(size_bytes=MIB))  # another program's, without a file yet
    stray = world.top / "stray"
    stray.mkdir()
    with quota.opened(stray) as descriptor:
        quota.assign(descriptor, IDS[2])  # another's, without limits
    try:
        records = [world.made(LEASE, f"v{number}")[0] for number in range(4)]
        assert [each.project for each in records] == [IDS[1], IDS[3], IDS[4], IDS[5]]
        volume.erase(world.records, records[1])
        assert world.made(OTHER)[0].project == IDS[3]
        with refused("storage.project_ids"):
            volume.make(world.records, OTHER, world.wanted("more"), range(IDS[0], IDS[3]))
        assert world.records.find(OTHER, world.wanted("more").id) is None
    finally:
        stray.rmdir()
        with quota.opened(world.top) as descriptor:
            quota.write(descriptor, IDS[0], Quota())


def test_daemons_at_once_take_different_ids(world: World) -> None:
    def make(name: str) -> None:
        folder = world.top / f"class-{name}"
        folder.mkdir()
        for number in range(VOLUMES_EACH):
            wanted = replace(world.wanted(f"v{number}"), folder=folder)
            volume.make(Records(world.records.root / name), LeaseId.parse(f"{name}/1/1/1/p1"), wanted, IDS)

    children = [filtered.begun(lambda each=name: make(each)) for name in DAEMONS]  # type: ignore[misc]
    assert [os.waitpid(each, 0)[1] for each in children] == [0] * len(DAEMONS)
    found: list[int] = []
    for name in DAEMONS:
        records, lease = Records(world.records.root / name), LeaseId.parse(f"{name}/1/1/1/p1")
        there = records.of(lease)
        found += [each.project for each in there]
        for each in there:
            volume.erase(records, each)
        records.forget(lease)
        records.root.rmdir()
        (world.top / f"class-{name}").rmdir()
    assert len(found) == len(set(found)) == VOLUMES_EACH * len(DAEMONS), found
