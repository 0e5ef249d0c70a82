"""Disk space of leases on a real engine: sizes, lives, boots, and containers that write too much."""

from __future__ import annotations

import asyncio
import io
import os
import re
import subprocess
import tarfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from provider.adapters.clock import SystemClock
from provider.adapters.runtime import DockerRuntime, DockerSettings, naming
from provider.adapters.runtime.storage import proof
from provider.adapters.runtime.storage.settings import StorageSettings
from provider.domain.errors import Permanent, ProviderError, Temporary
from provider.domain.ids import LeaseId, ProviderId
from provider.domain.manifest import MountPoint, Service, ServiceParams
from provider.domain.resources import MIB, Attribute, Resources, Volume
from provider.domain.workload import Container, ContainerState, ExitCause, Launch
from tests.integration.runtime.conftest import SETTINGS, Run
from tests.integration.runtime.engines import machines_engine, newer_engine, second_engine
from tests.integration.runtime.inside import changed_image, shell
from tests.launches import IMAGE, eventually, launch, lease_id, replica, service

pytestmark = [
    pytest.mark.docker,
    pytest.mark.timeout(120),
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root"),
]

PERSISTENT = (Attribute(key="class", value="beta3"), Attribute(key="persistent", value="true"))


def asked(
    *volumes: Volume, read_only: Iterable[str] = (), script: str = "sleep 3600", name: str = "web"
) -> Service:
    """A service whose volumes are mounted at ``/NAME``, and which rents a layer of 16 MiB."""
    layer = Volume(name="default", size_bytes=16 * MIB)
    points = [
        MountPoint(name=each.name, mount=f"/{each.name}", read_only=each.name in set(read_only))
        for each in volumes
    ]
    resources = Resources(id=1, cpu_millis=500, memory_bytes=64 * MIB, storage=(*volumes, layer))
    return service(name, script, resources=resources, params=ServiceParams(storage=tuple(points)))


def data(size_bytes: int = 16 * MIB) -> Volume:
    return Volume(name="data", size_bytes=size_bytes, attributes=PERSISTENT)


def mounts_of(root: Path) -> list[str]:
    """Everything that is mounted below ``root``, deepest first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return sorted((each.split()[4] for each in lines if str(root) in each.split()[4]), reverse=True)


def loops_of(root: Path) -> list[str]:
    told = (each.read_text() for each in Path("/sys/block").glob("loop*/loop/backing_file"))
    return [each for each in told if str(root) in each]


async def only(runtime: DockerRuntime, lease: LeaseId) -> Container:
    (workload,) = [each for each in await runtime.list() if each.lease == lease]
    return workload.containers[0]


def test_a_volume_is_as_large_as_ordered_and_gone_with_its_lease(on_docker: Run, tmp_path: Path) -> None:
    async def check(runtime: DockerRuntime) -> None:
        wanted = launch(replica(asked(data()), 0), replica(asked(data()), 1))
        await runtime.start(wanted)

        told = await shell(runtime, wanted.lease, "dd if=/dev/zero of=/data/x bs=64k 2>&1; wc -c </data/x")
        assert "No space left on device" in told
        assert 12 * MIB < int(told.split()[-1]) <= 16 * MIB
        assert await shell(runtime, wanted.lease, "ls /data; ls -a /data/.. | grep -c lost+found") == "x\n0"
        seen = await shell(runtime, wanted.lease, "grep ' /data ' /proc/mounts")
        assert {"nodev", "nosuid", "noatime"} <= set(seen.split()[3].split(","))
        assert len(list((tmp_path / "disk").iterdir())) == 2  # each replica has its own

        await runtime.stop(wanted.lease, 0)

        assert list((tmp_path / "disk").iterdir()) == []
        assert mounts_of(tmp_path) == loops_of(tmp_path) == []
        assert await runtime.list() == ()

    on_docker(check)


def test_data_outlives_containers_and_what_is_read_only_is(on_docker: Run) -> None:
    async def check(runtime: DockerRuntime) -> None:
        lease = lease_id()
        kept, scratch = data(), Volume(name="scratch", size_bytes=16 * MIB)
        await runtime.start(launch(replica(asked(kept, scratch)), lease=lease))
        await shell(runtime, lease, "echo kept >/data/file; echo lost >/scratch/file; chown 7:7 /data/file")
        await runtime.restart(lease, "web", 0)
        assert await shell(runtime, lease, "cat /data/file /scratch/file") == "kept\nlost"

        again = replace(replica(asked(kept, scratch, read_only=["data"])), generation=2)
        await runtime.start(launch(again, lease=lease, generation=2))

        assert await shell(runtime, lease, "cat /data/file; ls /scratch") == "kept"
        assert "Read-only file system" in await shell(runtime, lease, "echo x >/data/file")
        assert await shell(runtime, lease, "stat -c %u /data/file") == "7"

    on_docker(check)


def test_an_images_volume_has_its_content_and_the_size_of_the_layer(
    on_docker: Run, client: docker.APIClient, tmp_path: Path
) -> None:
    async def check(runtime: DockerRuntime) -> None:
        wanted = launch(replica(replace(asked(), image=image)))
        await runtime.start(wanted)

        told = await shell(runtime, wanted.lease, "ls /bin | head -n1; dd if=/dev/zero of=/bin/x bs=64k 2>&1")
        assert told.split("\n")[0] != ""  # the engine has filled it from the image
        assert "No space left on device" in told
        await runtime.stop(wanted.lease, 0)
        assert mounts_of(tmp_path) == loops_of(tmp_path) == []

    with changed_image(client, "VOLUME /bin") as image:
        on_docker(check)


def test_an_image_with_more_in_its_volume_than_was_ordered_is_refused(
    on_docker: Run, client: docker.APIClient, tmp_path: Path
) -> None:
    async def check(runtime: DockerRuntime) -> None:
        wanted = launch(replica(replace(asked(), image=image)))

        with pytest.raises(Permanent, match="what the image has at /big does not fit"):
            await runtime.start(wanted)
        await runtime.stop(wanted.lease, 0)
        assert mounts_of(tmp_path) == loops_of(tmp_path) == []
        assert client.containers(all=True, filters={"label": f"{naming.FILLS}={wanted.lease}"}) == []

    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        entry = tarfile.TarInfo("big/file")
        entry.size = 60 * MIB
        archive.addfile(entry, io.BytesIO(bytes(entry.size)))
    with changed_image(client, "VOLUME /big", content.getvalue()) as image:
        on_docker(check)


def test_after_a_boot_the_same_container_starts_on_the_same_data(
    on_docker: Run, client: docker.APIClient, tmp_path: Path
) -> None:
    async def check(runtime: DockerRuntime) -> None:
        leases = [launch(replica(asked(data()))) for _ in range(3)]
        ids = {}
        for each in leases:
            ids[each.lease] = (await runtime.start(each)).containers[0].id
            await shell(runtime, each.lease, f"echo {each.lease} >/data/whose")
        for container in ids.values():
            client.kill(container)
        await eventually(lambda: asyncio.to_thread(mounts_of, tmp_path), lambda there: len(there) == 3)
        for place in mounts_of(tmp_path):
            await asyncio.to_thread(subprocess.run, ["umount", place], check=True)

        with pytest.raises(docker.errors.APIError):  # without us the engine has nothing to mount
            client.start(ids[leases[0].lease])
        for each in reversed(leases):
            workload = await runtime.start(each)
            assert workload.containers[0].id == ids[each.lease]
            assert await shell(runtime, each.lease, "cat /data/whose") == str(each.lease)

    on_docker(check)


def test_a_volume_that_was_swapped_is_refused_with_a_reason(
    on_docker: Run, client: docker.APIClient, tmp_path: Path
) -> None:
    async def check(runtime: DockerRuntime) -> None:
        mine, other = launch(replica(asked(data()))), launch(replica(asked(data())))
        container = (await runtime.start(mine)).containers[0].id
        await runtime.start(other)
        client.kill(container)
        (place,) = [each for each in mounts_of(tmp_path) if f"%2F{mine.lease.dseq}%2F" in each]
        await asyncio.to_thread(subprocess.run, ["umount", place], check=True)
        (file,) = [each for each in (tmp_path / "disk").iterdir() if mine.lease.key in each.name]
        (others,) = [each for each in (tmp_path / "disk").iterdir() if other.lease.key in each.name]
        file.rename(tmp_path / "aside")
        os.link(others, file)

        with pytest.raises(Temporary, match="is not the volume data of"):
            await runtime.start(mine)

        assert (await only(runtime, mine.lease)).state is ContainerState.EXITED

    on_docker(check)


def test_a_container_that_writes_too_much_is_ended_and_made_anew(on_docker: Run, tmp_path: Path) -> None:
    async def check(runtime: DockerRuntime) -> None:
        modest = launch(replica(asked(data(32 * MIB), script="dd if=/dev/zero of=/data/x bs=1M; sleep 3600")))
        greedy = launch(replica(asked()))
        await runtime.start(modest)
        first = await runtime.start(greedy)
        await shell(runtime, greedy.lease, "dd if=/dev/zero of=/root.bin bs=1M count=40")

        ended = await eventually(
            lambda: only(runtime, greedy.lease), lambda told: told.state is ContainerState.EXITED
        )

        assert ended.cause is ExitCause.EVICTED
        assert ended.problem is not None
        assert re.fullmatch(
            r"wrote [\d.]+ MiB outside of its volumes, more than the 16\.0 MiB it rents", ended.problem
        )
        settings = replace(SETTINGS, storage=StorageSettings(root=tmp_path / "volumes"))
        async with DockerRuntime(settings, SystemClock()) as next_one:  # an agent that starts afterwards
            assert await only(next_one, greedy.lease) == ended
        assert (await only(runtime, modest.lease)).state is ContainerState.RUNNING
        again = await runtime.start(greedy)
        assert again.containers[0].id != first.containers[0].id
        assert await shell(runtime, greedy.lease, "ls /root.bin 2>/dev/null; echo fresh") == "fresh"

    on_docker(check)


def test_a_lease_of_which_only_a_volume_is_left_is_listed_and_others_are_not(
    on_docker: Run, client: docker.APIClient, tmp_path: Path
) -> None:
    async def check(runtime: DockerRuntime) -> None:
        wanted = launch(replica(asked(data())))
        workload = await runtime.start(wanted)
        client.remove_container(workload.containers[0].id, force=True)
        labels = {"label": f"{naming.LEASE}={wanted.lease}"}
        for network in client.networks(filters=labels):
            client.remove_network(network["Id"])
        settings = replace(
            SETTINGS, provider=ProviderId("other"), storage=StorageSettings(root=tmp_path / "volumes")
        )

        async with DockerRuntime(settings, SystemClock()) as others:
            assert await others.list() == ()
        (left,) = await runtime.list()

        assert (left.lease, left.containers) == (wanted.lease, ())
        await runtime.stop(wanted.lease, 0)
        assert await runtime.list() == ()
        assert mounts_of(tmp_path) == loops_of(tmp_path) == []

    on_docker(check)


def test_a_disk_that_is_too_small_starts_nothing_and_leaves_nothing(on_docker: Run, tmp_path: Path) -> None:
    async def check(runtime: DockerRuntime) -> None:
        wanted = launch(replica(asked(data(1 << 50))))

        with pytest.raises(ProviderError, match="making the volume data"):
            await runtime.start(wanted)

        assert list((tmp_path / "disk").iterdir()) == []
        await runtime.stop(wanted.lease, 0)
        assert await runtime.list() == ()

    on_docker(check)


def test_what_is_offered_is_what_was_tried(on_docker: Run) -> None:
    async def check(runtime: DockerRuntime) -> None:
        told = await runtime.capabilities()

        assert [each.name for each in told.storage_classes] == ["beta3", "default"]
        assert len({each.disk for each in told.storage_classes}) == 1
        assert all(each.capacity_bytes > 0 for each in told.storage_classes)
        assert told.storage_problem is None
        assert told.layers_disk

    on_docker(check)


def test_an_engine_that_takes_a_size_and_ignores_it_is_seen_through() -> None:
    program = newer_engine()
    if program is None:
        pytest.skip("Docker 26 is not unpacked: scripts/unpack-engine.sh")
    with (
        second_engine(program, {"features": {"containerd-snapshotter": True}}) as engine,
        engine.client() as api,
    ):
        assert api.info()["DriverStatus"][0][1].startswith("io.containerd.snapshotter")
        assert not proof.layers_are_held(api, ProviderId("proof"))
        assert api.containers(all=True) == []
        assert api.images() == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_volumes_outlive_an_engine_that_is_killed(hello_image: str, tmp_path: Path) -> None:
    with second_engine(machines_engine()) as engine:
        engine.load(IMAGE)
        with engine.client() as api, changed_image(api, "VOLUME /bin") as image:
            settings = replace(
                SETTINGS,
                socket=engine.socket,
                storage=StorageSettings(root=tmp_path / "volumes", classes={"beta3": tmp_path}),
            )
            wanted = launch(replica(replace(asked(data()), image=image)))
            asyncio.run(_engine_dies(settings, wanted, engine.kill, engine.start))
    assert mounts_of(tmp_path) == loops_of(tmp_path) == []


async def _engine_dies(settings: DockerSettings, wanted: Launch, kill: object, start: object) -> None:
    assert callable(kill)
    assert callable(start)
    async with DockerRuntime(settings, SystemClock()) as runtime:
        first = await runtime.start(wanted)
        await shell(runtime, wanted.lease, "echo kept >/data/file; echo kept >/bin/file")
        await asyncio.to_thread(kill)
        await asyncio.to_thread(start)

        assert await runtime.start(wanted) == first
        assert await shell(runtime, wanted.lease, "cat /data/file /bin/file") == "kept\nkept"
        await runtime.restart(wanted.lease, "web", 0)
        assert await shell(runtime, wanted.lease, "cat /data/file /bin/file") == "kept\nkept"
        await runtime.stop(wanted.lease, 0)
        assert await runtime.list() == ()
