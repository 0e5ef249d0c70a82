"""What a name stands for is decided once for a manifest: tags move, agents restart, images are removed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import docker
import pytest

from provider.adapters.clock import SystemClock
from provider.adapters.runtime import DockerRuntime
from provider.app.loopback_registry import Registry
from provider.domain.ids import LeaseId
from provider.domain.workload import Launch, Workload
from tests.engine_images import IMAGES
from tests.integration.runtime.conftest import SETTINGS, Run
from tests.integration.runtime.stocked import PLAIN, of_image, root_tar, stocked
from tests.launches import launch, lease_id, replica

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("no_images_left")]

LATEST = "hello-gpu:latest"


def wanted(image: str, lease: LeaseId, generation: int = 1) -> Launch:
    one = replace(replica(of_image(image)), generation=generation)
    return launch(one, lease=lease, generation=generation)


def image_of(client: docker.APIClient, workload: Workload) -> str:
    """The id of the image that it runs."""
    return str(client.inspect_container(workload.containers[0].id)["Image"])


def lose_container(client: docker.APIClient, lease: LeaseId) -> None:
    """As an operator's slip would: the agent has to make it anew."""
    for each in client.containers(all=True, filters={"label": f"gp.lease={lease}"}):
        client.remove_container(each["Id"], force=True)


async def move_tag(registry: Registry) -> None:
    await registry.push(root_tar(), LATEST, PLAIN)


def test_a_repair_keeps_the_image_and_a_new_manifest_takes_the_newest(
    on_docker: Run, client: docker.APIClient
) -> None:
    async def check(runtime: DockerRuntime) -> None:
        async with stocked(LATEST) as registry:
            image, lease = f"{registry.address}/{LATEST}", lease_id()
            first = image_of(client, await runtime.start(wanted(image, lease)))
            await move_tag(registry)
            lose_container(client, lease)
            assert image_of(client, await runtime.start(wanted(image, lease))) == first
            second = image_of(client, await runtime.start(wanted(image, lease, 2)))
            assert second != first
            lose_container(client, lease)
            assert image_of(client, await runtime.start(wanted(image, lease, 2))) == second

    on_docker(check)


def test_a_pin_outlives_the_agent_and_its_image_is_got_again_by_digest(
    on_docker: Run, client: docker.APIClient, tmp_path: Path
) -> None:
    settings = replace(IMAGES, record=tmp_path / "images.db")
    lease, first = lease_id(), []

    async def begin(registry: Registry, runtime: DockerRuntime) -> None:
        image = f"{registry.address}/{LATEST}"
        first.append(image_of(client, await runtime.start(wanted(image, lease))))
        await move_tag(registry)
        lose_container(client, lease)
        client.remove_image(first[0], force=True)

    async def check(runtime: DockerRuntime) -> None:
        """``runtime`` is the agent after the restart: it opens its record at its first start."""
        async with stocked(LATEST) as registry:
            before = replace(SETTINGS, images=settings)
            async with DockerRuntime(before, SystemClock()) as agent:
                await begin(registry, agent)
            workload = await runtime.start(wanted(f"{registry.address}/{LATEST}", lease))
            assert image_of(client, workload) == first[0]

    on_docker(check, images=settings)


def test_an_end_forgets_the_pin(on_docker: Run, client: docker.APIClient) -> None:
    async def check(runtime: DockerRuntime) -> None:
        async with stocked(LATEST) as registry:
            image, lease = f"{registry.address}/{LATEST}", lease_id()
            first = image_of(client, await runtime.start(wanted(image, lease)))
            await runtime.stop(lease, 0)
            await move_tag(registry)
            assert image_of(client, await runtime.start(wanted(image, lease))) != first

    on_docker(check)
