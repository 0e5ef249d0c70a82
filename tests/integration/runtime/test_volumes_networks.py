"""What a lease has besides containers: volumes and a network of its own."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager

import docker
import docker.types
import pytest

from provider.adapters.runtime import DockerRuntime, naming
from provider.adapters.runtime.networks import subnets
from provider.domain.errors import Temporary
from provider.domain.ids import LeaseId
from provider.domain.manifest import MountPoint, ServiceParams
from provider.domain.resources import MIB, Attribute, Resources, Volume
from provider.domain.workload import Launch
from tests.integration.runtime.conftest import Run
from tests.integration.runtime.inside import changed_image, shell
from tests.launches import launch, lease_id, replica, service

pytestmark = pytest.mark.docker


def volumes_launch(lease: LeaseId, generation: int) -> Launch:
    persistent = (Attribute(key="class", value="beta3"), Attribute(key="persistent", value="true"))
    ram = (Attribute(key="class", value="ram"), Attribute(key="persistent", value="false"))
    storage = (
        Volume(name="data", size_bytes=16 * MIB, attributes=persistent),
        Volume(name="default", size_bytes=16 * MIB),
        Volume(name="shm", size_bytes=8 * MIB, attributes=ram),
    )
    mounts = (MountPoint(name="data", mount="/data"), MountPoint(name="shm", mount="/dev/shm"))
    asked = service(
        resources=Resources(id=1, cpu_millis=100, memory_bytes=64 * MIB, storage=storage),
        params=ServiceParams(storage=mounts),
    )
    return launch(replica(asked), lease=lease, generation=generation)


def test_volumes_outlive_a_generation_and_end_with_the_lease(
    on_docker: Run, client: docker.APIClient
) -> None:
    async def check(runtime: DockerRuntime) -> None:
        lease = lease_id()
        workload = await runtime.start(volumes_launch(lease, 1))
        await shell(runtime, lease, "echo kept >/data/file; echo lost >/dev/shm/file")

        await runtime.start(volumes_launch(lease, 2))

        assert await shell(runtime, lease, "cat /data/file; cat /dev/shm/file 2>/dev/null") == "kept"
        assert (await shell(runtime, lease, "df -k /dev/shm")).split()[8] == str(8 * 1024)
        host = client.inspect_container((await runtime.list())[0].containers[0].id)["HostConfig"]
        assert host["Memory"] == 72 * MIB  # a ram volume comes on top
        await runtime.stop(lease, 0)
        labels = {"label": f"{naming.LEASE}={lease}"}
        assert not client.volumes(filters=labels)["Volumes"]
        assert workload.containers[0].id not in {each["Id"] for each in client.containers(all=True)}

    on_docker(check)


def test_an_images_own_volume_is_never_the_engines(on_docker: Run, client: docker.APIClient) -> None:
    async def check(runtime: DockerRuntime) -> None:
        before = names(client.volumes())
        wanted = launch(replica(service(image=image)))
        workload = await runtime.start(wanted)

        assert names(client.volumes()) == before
        seen = client.inspect_container(workload.containers[0].id)["Mounts"]
        assert [(each["Type"], each["Destination"]) for each in seen] == [("bind", "/data")]
        await runtime.stop(wanted.lease, 0)
        assert names(client.volumes()) == before

    with changed_image(client, "VOLUME /data") as image:
        on_docker(check)


def test_a_subnet_that_is_taken_is_passed_over(on_docker: Run, client: docker.APIClient) -> None:
    pool = ipaddress.IPv4Network("10.214.7.0/24")
    wanted = launch()
    first_choice = next(subnets(pool, wanted.lease, 1))

    async def check(runtime: DockerRuntime) -> None:
        with taken(client, str(first_choice)):
            await runtime.start(wanted)

            (network,) = client.networks(filters={"label": f"{naming.LEASE}={wanted.lease}"})
            got = ipaddress.IPv4Network(network["IPAM"]["Config"][0]["Subnet"])
            assert got.subnet_of(pool)
            assert not got.overlaps(first_choice)

    on_docker(check, subnet_pool=str(pool))


def test_a_pool_that_is_used_up_is_temporary(on_docker: Run, client: docker.APIClient) -> None:
    async def check(runtime: DockerRuntime) -> None:
        wanted = launch()
        with taken(client, "10.214.8.0/24"), pytest.raises(Temporary, match="no subnet"):
            await runtime.start(wanted)
        await runtime.stop(wanted.lease, 0)  # as whoever gives it up does: rules were put for its bridge

    on_docker(check, subnet_pool="10.214.8.0/24")


@contextmanager
def taken(client: docker.APIClient, subnet: str) -> Iterator[None]:
    """Somebody else's network on ``subnet``."""
    pool = docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(subnet=subnet)])
    network = client.create_network("gp-test-taken", driver="bridge", ipam=pool)["Id"]
    try:
        yield
    finally:
        client.remove_network(network)


def names(listed: dict[str, list[dict[str, str]] | None]) -> set[str]:
    """Of the engine's list of volumes."""
    return {each["Name"] for each in listed["Volumes"] or []}
