"""Trials: nothing is left of a volume, whatever is in it, and whenever making or removing it was killed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

from provider.adapters.runtime.storage import attaching, files, quota, volume
from provider.adapters.runtime.storage.records import Record
from tests.quota import filtered
from tests.quota.world import LEASE, World

KILLS = 12
DEPTH_MOST = 3_000


def test_removal_wipes_whatever_a_tenant_made(world: World) -> None:
    record, place = world.made()
    (place / "link").symlink_to("/")
    (place / "-rf").write_bytes(b"x")
    where = os.open(place, os.O_RDONLY)
    for _ in range(DEPTH_MOST):  # deeper than any path is long
        os.mkdir("d" * 20, dir_fd=where)
        below = os.open("d" * 20, os.O_RDONLY, dir_fd=where)
        os.close(where)
        where = below
        if quota_is_near(world, record):
            break
    os.close(where)

    volume.erase(world.records, record)
    volume.erase(world.records, record)
    world.records.forget(LEASE)

    assert world.left() == [], world.left()


def quota_is_near(world: World, record: Record) -> bool:
    with quota.opened(world.top) as descriptor:
        found = quota.read(descriptor, record.project)
    return found.files >= found.files_most - 1


def only_recorded(world: World, record: Record) -> None:
    half_made(world, record)
    subprocess.run(["rm", "-rf", f"{record.file}.{record.uuid}"], check=True)


def half_made(world: World, record: Record) -> None:
    attaching.detach(world.records, record)
    Path(record.file).rename(f"{record.file}.{record.uuid}")
    subprocess.run(["chattr", "-i", str(world.records.mountpoint(record))], check=False)
    world.records.mountpoint(record).rmdir()


def half_wiped(world: World, record: Record) -> None:
    attaching.detach(world.records, record)
    Path(record.file).rename(f"{record.file}.{record.uuid}")
    shutil.rmtree(Path(f"{record.file}.{record.uuid}") / files.DATA)


def test_removal_and_making_go_on_from_wherever_they_were_killed(world: World) -> None:
    for killed in (only_recorded, half_made, half_wiped):
        record, _ = world.made()
        killed(world, record)
        volume.erase(world.records, record)
        world.records.forget(LEASE)
        assert world.left() == [], (killed, world.left())
    for killed in (only_recorded, half_made):
        record, _ = world.made()
        killed(world, record)
        again, place = world.made()
        assert place.is_dir()
        assert again.uuid != record.uuid
        assert len(list((world.top / "class").iterdir())) == 1
        volume.erase(world.records, again)
        world.records.forget(LEASE)
        assert world.left() == []


def endless(world: World) -> None:
    while True:
        records = [world.made(LEASE, f"v{number}")[0] for number in range(2)]
        for record in records:
            volume.erase(world.records, record)


def test_killed_at_any_moment_nothing_is_left(world: World) -> None:
    chance = random.Random(4)  # noqa: S311 - moments, nothing secret
    found = set()
    for _ in range(KILLS):
        child = filtered.begun(lambda: endless(world))
        time.sleep(chance.uniform(0, 0.4))  # the moment is what is tried, nothing is waited for
        os.killpg(child, signal.SIGKILL)  # with the programs that it runs
        os.waitpid(child, 0)
        there = world.records.of(LEASE)
        found.add((len(there), len(list((world.top / "class").iterdir()))))
        for record in there:
            volume.erase(world.records, record)
        world.records.forget(LEASE)
        assert world.left() == [], world.left()
    assert len(found) > 1, found  # not always the same moment
