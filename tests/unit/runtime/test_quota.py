"""Project quotas as far as any kernel goes: layouts, sizes, locks, and what is said where there are none.

On a kernel that has them all of it is tried by ``make quotas``.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import replace
from pathlib import Path

import pytest

from provider.adapters.runtime.spec import CAPABILITIES
from provider.adapters.runtime.storage import directories, disks, project_ids, quota, volume
from provider.adapters.runtime.storage.quota import Quota
from provider.adapters.runtime.storage.records import Records, Wanted
from provider.adapters.runtime.storage.settings import StorageSettings
from provider.app.config import ProviderConfig, StorageConfig
from provider.app.doctor import storage_findings
from provider.app.engine_settings import docker_settings
from provider.domain.errors import ConfigError, Temporary
from provider.domain.ids import ProviderId
from provider.domain.resources import GIB, MIB
from provider.domain.workload import Enforcement, GpuAttachment, RuntimeCapabilities, StorageClass
from tests.launches import lease_id
from tests.quota import filtered
from tests.volume_records import volume_record

KIB = 1024
TABLE = """\
22 1 8:1 / / rw,relatime - ext4 /dev/root rw
30 22 0:31 / /mnt rw - btrfs /dev/sdb rw
31 22 {device} / /srv rw,noatime shared:5 - xfs /dev/sdc rw,prjquota
"""


def settings(folder: Path, enforced_by: Enforcement | None = None) -> StorageSettings:
    return StorageSettings(root=folder / "p1", classes={"beta3": folder}, enforced_by=enforced_by)


def without_quotas(folder: Path) -> Path:
    if quota.absent(folder) is None:
        pytest.skip("this disk has project quotas: make quotas")
    return folder


def test_limits_are_laid_out_as_the_kernel_reads_them() -> None:
    raw = quota.packed(Quota(size_bytes=5 * GIB, files_most=7))

    assert len(raw) == 72  # struct if_dqblk
    assert int.from_bytes(raw[:8], "little") == 5 * 1024 * 1024  # hard, in KiB
    assert raw[8:24] == bytes(16)  # no soft limit; what is used is the kernel's
    assert (raw[24], raw[64]) == (7, 5)
    assert quota.unpacked(raw) == Quota(size_bytes=5 * GIB, files_most=7)


@pytest.mark.parametrize(
    ("ordered", "given"),
    [(GIB, GIB), (GIB + 1, GIB), (GIB - 1, GIB - 64 * KIB), (64 * KIB, 64 * KIB), (1, 64 * KIB)],
)
def test_no_byte_more_than_ordered_and_never_no_limit(ordered: int, given: int) -> None:
    assert directories.limits(ordered).size_bytes == given
    assert directories.limits(ordered).files_most == max(256, ordered // 16_384)


@pytest.mark.parametrize("field", ["size_bytes", "files_most", "used_bytes", "files"])
def test_an_id_that_anybody_uses_is_not_free(field: str) -> None:
    assert Quota().is_free
    assert not Quota(**{field: 1}).is_free


def test_a_file_system_is_known_by_its_device(tmp_path: Path) -> None:
    number = tmp_path.stat().st_dev
    table = tmp_path / "mountinfo"
    table.write_text(TABLE.format(device=f"{os.major(number)}:{os.minor(number)}"))

    assert quota.kind_of(tmp_path, table) == "xfs"
    table.write_text(TABLE.format(device="9:99"))
    assert quota.kind_of(tmp_path, table) == ""


def test_two_at_once_are_never_alone_with_the_ids(tmp_path: Path) -> None:
    """Whichever folder each begins from: the lock is the file system's."""
    (tmp_path / "one").mkdir()
    with project_ids.locked(tmp_path / "one"):
        top = tmp_path.resolve()
        while top != top.parent and top.parent.stat().st_dev == top.stat().st_dev:
            top = top.parent
        with quota.opened(top) as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with quota.opened(top) as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_link_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)

    with pytest.raises(OSError, match=r"Not a directory|Too many levels"), quota.opened(tmp_path / "link"):
        pass


def test_without_quotas_volumes_are_files(tmp_path: Path) -> None:
    folder = without_quotas(tmp_path)

    (offered,) = disks.offered(settings(folder), folder / "p1")

    assert offered.enforced_by is Enforcement.FILE
    assert disks.refused(settings(folder), folder / "p1") == ()


def test_without_quotas_who_insists_on_them_is_told(tmp_path: Path) -> None:
    folder = without_quotas(tmp_path)
    forced = settings(folder, Enforcement.PROJECT)

    with pytest.raises(ConfigError, match=f"storage.enforced_by is project, and {folder} cannot") as told:
        disks.enforcement(forced, folder)
    assert "prjquota" in str(told.value.remedy)
    assert "leave storage.enforced_by out" in str(told.value.remedy)
    assert disks.offered(forced, folder / "p1") == ()
    (line,) = disks.refused(forced, folder / "p1")
    assert line.startswith("beta3: storage.enforced_by is project")


def test_without_quotas_no_directory_is_made_and_nothing_is_left(tmp_path: Path) -> None:
    records, folder = Records(tmp_path / "p1"), without_quotas(tmp_path) / "disk"
    folder.mkdir()
    wanted = Wanted(
        service="web",
        replica=0,
        name="data",
        size_bytes=MIB,
        folder=folder,
        enforced_by=Enforcement.PROJECT,
    )

    with pytest.raises(Temporary, match="quota of project"):
        volume.make(records, lease_id(), wanted, range(1, 9))

    assert list(folder.iterdir()) == []
    assert records.leases() == frozenset()


def test_a_record_of_before_is_one_of_a_file(tmp_path: Path) -> None:
    records, lease = Records(tmp_path / "p1"), lease_id()
    record = volume_record(lease, project=5)
    records.write(record)
    place = records.folder(lease) / "web-0-1.json"
    assert records.of(lease) == (record,)

    place.write_text(place.read_text().replace(', "project": 5', ""))

    assert records.of(lease) == (replace(record, project=0),)


def configured(**storage: str) -> StorageSettings:
    config = replace(ProviderConfig(), storage=StorageConfig(**storage))  # type: ignore[arg-type]
    return docker_settings(config, ProviderId("p1")).storage


def test_the_operators_words_are_read() -> None:
    assert configured().enforced_by is None
    assert configured(enforced_by="project").enforced_by is Enforcement.PROJECT
    assert configured(enforced_by="file").enforced_by is Enforcement.FILE
    assert configured().project_ids == StorageSettings().project_ids
    assert configured(project_ids="7-9").project_ids == range(7, 10)


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ({"enforced_by": "quota"}, "storage.enforced_by: there is no 'quota'"),
        ({"project_ids": "7"}, "storage.project_ids: '7' is not a range"),
        ({"project_ids": "9-7"}, "storage.project_ids: .* is no range"),
        ({"project_ids": "0-7"}, "storage.project_ids: .* is no range"),
        ({"project_ids": "7-4294967295"}, "storage.project_ids: .* is no range"),
    ],
)
def test_a_wrong_setting_is_named(storage: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configured(**storage)


def test_the_doctor_says_what_holds_a_class_and_what_cannot() -> None:
    classes = tuple(
        StorageClass(name=name, disk=name, capacity_bytes=GIB, enforced_by=held)
        for name, held in (("beta2", Enforcement.FILE), ("beta3", Enforcement.PROJECT))
    )
    told = RuntimeCapabilities(
        engine="docker 26",
        gpu_attachment=GpuAttachment.NONE,
        storage_classes=classes,
        storage_refused=("beta1: storage.enforced_by is project, and /mnt cannot have that",),
    )

    offered, refused, _ = storage_findings(told)

    assert offered.is_well
    assert offered.found.startswith("beta2 (files), beta3 (project quota); ")
    assert not refused.is_well
    assert "/mnt cannot" in refused.found
    assert "prjquota" in refused.remedy


def test_the_trials_have_a_tenants_capabilities() -> None:
    assert set(filtered.CAPABILITIES) == set(CAPABILITIES)
