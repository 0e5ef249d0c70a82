"""Which classes a disk serves, which bytes are counted, and what a container sees of its volumes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from provider.adapters.runtime import mounts
from provider.adapters.runtime.storage import disks, evictions
from provider.adapters.runtime.storage.records import Records
from provider.adapters.runtime.storage.settings import StorageSettings
from provider.adapters.runtime.storage.volumes import owner_of
from provider.domain.errors import ConfigError, Temporary
from provider.domain.ids import ProviderId
from provider.domain.manifest import MountPoint, Service, ServiceParams
from provider.domain.resources import GIB, MIB, Attribute, Volume
from tests.launches import launch, lease_id, replica, service
from tests.volume_records import volume_record

RAM = (Attribute(key="class", value="ram"), Attribute(key="persistent", value="false"))
PERSISTENT = (Attribute(key="class", value="beta3"), Attribute(key="persistent", value="true"))


def drive(root: Path, name: str, rotational: str | None, *below: Path) -> Path:
    """A block device as sysfs shows it."""
    device = root / name
    (device / "queue").mkdir(parents=True)
    (device / "slaves").mkdir()
    if rotational is not None:
        (device / "queue" / "rotational").write_text(f"{rotational}\n")
    for each in below:
        (device / "slaves" / each.name).symlink_to(each)
    return device


def test_a_disk_is_offered_as_what_it_is(tmp_path: Path) -> None:
    fast, fine = drive(tmp_path, "nvme0n1", "0"), drive(tmp_path, "sda", "0")
    slow, virtual = drive(tmp_path, "sdb", "1"), drive(tmp_path, "vda", "1")
    partition = fast / "nvme0n1p1"
    partition.mkdir()
    (partition / "partition").write_text("1\n")

    def best(device: Path) -> str:
        return disks.kinds(device)[-1]

    assert [best(each) for each in (fast, partition, fine, slow, virtual)] == [
        *("beta3", "beta3", "beta2", "beta1", "beta2")
    ]
    assert best(drive(tmp_path, "dm-0", None, partition)) == "beta3"
    assert best(drive(tmp_path, "md0", None, fast, fine)) == "beta2"
    assert best(drive(tmp_path, "md1", None, fine, slow)) == "beta1"
    assert best(tmp_path / "0:42") == "beta1"  # nothing that the kernel could tell


def test_room_is_what_is_free_and_what_volumes_hold(tmp_path: Path) -> None:
    settings = StorageSettings(root=tmp_path / "p1", classes={"beta3": tmp_path, "default": tmp_path})
    before = disks.offered(settings, tmp_path / "p1")
    with (tmp_path / "gp-p1-x.ext4").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 64 * MIB)

    after = disks.offered(settings, tmp_path / "p1")

    assert [each.name for each in after] == ["beta3", "default"]
    assert after[0].disk == after[1].disk == disks.disk_of(tmp_path)
    assert disks.held_bytes(settings, tmp_path / "p1", tmp_path) >= 64 * MIB  # once, for two classes
    assert disks.held_bytes(settings, tmp_path / "p1", tmp_path) < 65 * MIB
    assert abs(after[0].capacity_bytes - before[0].capacity_bytes) < GIB


def test_a_folder_that_is_not_there_is_not_offered(tmp_path: Path) -> None:
    settings = StorageSettings(root=tmp_path / "p1", classes={"beta3": tmp_path / "unplugged"})

    assert disks.offered(settings, tmp_path / "p1") == ()
    assert disks.offered(replace(settings, classes={}), tmp_path / "p1") == ()


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"beta4": Path("/x")}, "'beta4' is no class"),
        ({"ram": Path("/x")}, "'ram' is no class"),
        ({"beta1": Path("x")}, "storage.classes.beta1: 'x' is not an absolute path"),
    ],
)
def test_a_wrong_class_is_named(classes: dict[str, Path], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        StorageSettings(classes=classes)


def test_a_record_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    records = Records(tmp_path / "p1")
    lease = lease_id()
    record = volume_record(lease)
    records.write(record)
    assert records.of(lease) == (record,)
    assert records.leases() == frozenset({lease})
    (records.folder(lease) / "web-0-1.json").write_text("{")

    with pytest.raises(Temporary, match=r"web-0-1\.json of a volume cannot be read"):
        records.of(lease)


def test_a_note_counts_for_its_container_alone(tmp_path: Path) -> None:
    lease = lease_id()
    folder = Records(tmp_path / "p1").folder(lease)

    evictions.note(folder, "web", 0, "one", "wrote too much")
    evictions.note(folder, "db", 0, "two", "wrote far too much")
    evictions.note(folder, "web", 0, "three", "again")

    assert evictions.remembered(tmp_path / "p1") == {"two": "wrote far too much", "three": "again"}
    evictions.forget(folder)
    assert evictions.remembered(tmp_path / "p1") == {}


def test_root_in_a_container_is_whom_the_engine_says() -> None:
    remapped = {"DockerRootDir": "/data/231072.231072", "SecurityOptions": ["name=seccomp", "name=userns"]}

    assert owner_of(remapped) == (231072, 231072)
    assert owner_of(remapped | {"SecurityOptions": []}) == (0, 0)
    assert owner_of({"DockerRootDir": "/var/lib/docker"}) == (0, 0)


def asked() -> Service:
    storage = (
        Volume(name="cache", size_bytes=3 * GIB),
        Volume(name="data", size_bytes=2 * GIB, attributes=PERSISTENT),
        Volume(name="default", size_bytes=GIB),
        Volume(name="more", size_bytes=5 * GIB),
        Volume(name="shm", size_bytes=GIB, attributes=RAM),
    )
    points = [("cache", "/cache"), ("data", "/data"), ("shm", "/dev/shm")]
    params = ServiceParams(storage=tuple(MountPoint(name=name, mount=place) for name, place in points))
    web = service(params=params)
    return replace(web, resources=replace(web.resources, storage=storage))


def test_what_a_container_may_write_beside_its_volumes() -> None:
    assert mounts.layer_bytes(asked()) == 6 * GIB  # default and more are mounted nowhere
    bare = replace(asked(), resources=replace(asked().resources, storage=()))
    assert mounts.layer_bytes(bare) == mounts.LAYER_BYTES_LEAST
    places = {"cache": Path("/p/cache"), "data": Path("/p/data")}
    assert mounts.measured_bytes(asked(), places) == 6 * GIB
    assert mounts.measured_bytes(asked(), {}) == 11 * GIB  # then the engine's volumes are measured with it


def test_volumes_are_mounted_from_their_places() -> None:
    wanted = launch(replica(asked()))
    places = {"cache": Path("/p/cache"), "data": Path("/p/data"), "/var/x": Path("/p/x")}

    seen = list(
        mounts.container_mounts(
            wanted, wanted.replicas[0], ProviderId("p1"), ("/var/x", "/data", "/other"), places
        )
    )

    assert [(each["Type"], each["Target"], each.get("Source")) for each in seen[:-1]] == [
        ("tmpfs", "/dev/shm", None),
        ("bind", "/cache", "/p/cache"),
        ("bind", "/data", "/p/data"),
        ("bind", "/var/x", "/p/x"),
    ]
    assert (seen[-1]["Type"], seen[-1]["Target"]) == ("volume", "/other")  # it has no place
