"""Images from a real registry: pulls, stalls, mirrors, and what is never there."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import docker
import pytest

from provider.adapters.runtime import DockerRuntime
from provider.app.loopback_registry import loopback_registry
from provider.domain.errors import ImageUnavailable, Temporary
from tests.conftest import TOOLS
from tests.engine_images import IMAGES
from tests.integration.runtime.conftest import Run
from tests.integration.runtime.guarded_registry import guarded_registry
from tests.integration.runtime.stocked import HELLO, PLAIN, names_on, of_image, root_tar, stocked
from tests.launches import launch, replica

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("no_images_left")]


def test_an_absent_image_is_pulled_and_a_present_one_is_not(on_docker: Run) -> None:
    async def check(runtime: DockerRuntime) -> None:
        async with stocked() as registry:
            with guarded_registry(registry.address) as guard:
                image = f"{guard.address}/{HELLO}"
                await runtime.start(launch(replica(of_image(image))))
                pulled = len(guard.asked)
                await runtime.start(launch(replica(of_image(image))))

        assert pulled > 0
        assert len(guard.asked) == pulled

    on_docker(check)


def test_latest_is_asked_for_again_and_does_without_when_the_registry_is_away(on_docker: Run) -> None:
    async def check(runtime: DockerRuntime) -> None:
        async with stocked() as registry:
            await registry.push(root_tar(), "hello-gpu:latest", PLAIN)
            with guarded_registry(registry.address) as guard:
                image = f"{guard.address}/hello-gpu"
                await runtime.start(launch(replica(of_image(image))))
                pulled = len(guard.asked)
                await runtime.start(launch(replica(of_image(image))))
                assert len(guard.asked) > pulled
        await runtime.start(launch(replica(of_image(image))))

    on_docker(check)


@pytest.mark.parametrize("image", ["none:1", "hello-gpu:2", "hello-gpu@sha256:" + "0" * 64])
def test_an_image_that_the_registry_does_not_have(on_docker: Run, image: str) -> None:
    async def check(runtime: DockerRuntime) -> None:
        async with stocked() as registry:
            with pytest.raises(ImageUnavailable, match="pulling"):
                await runtime.start(launch(replica(of_image(f"{registry.address}/{image}"))))

    on_docker(check)


def test_a_digest_is_pulled_and_run(on_docker: Run, client: docker.APIClient) -> None:
    async def check(runtime: DockerRuntime) -> None:
        async with stocked() as registry:
            await runtime.start(launch(replica(of_image(f"{registry.address}/{HELLO}"))))
            (digest,) = (
                name for name in names_on(client) if name.startswith(f"{registry.address}/hello-gpu@")
            )
            for workload in await runtime.list():
                await runtime.stop(workload.lease, 0)
            client.remove_image(f"{registry.address}/{HELLO}", force=True)
            workload = await runtime.start(launch(replica(of_image(digest))))
            (image,) = (each for each in client.images() if digest in (each["RepoDigests"] or ()))
            assert client.inspect_container(workload.containers[0].id)["Image"] == image["Id"]
            await runtime.stop(workload.lease, 0)
            client.remove_image(digest, force=True)

    on_docker(check)


def test_a_pull_that_stalls_is_given_up(on_docker: Run) -> None:
    async def check(runtime: DockerRuntime) -> None:
        async with stocked() as registry:
            with guarded_registry(registry.address) as guard:
                guard.stalls = True
                with pytest.raises(Temporary, match=r"nothing arrived|in time"):
                    await runtime.start(launch(replica(of_image(f"{guard.address}/{HELLO}"))))
                guard.stalls = False
                guard.let_go.set()
                await runtime.start(launch(replica(of_image(f"{guard.address}/{HELLO}"))))

    on_docker(check, pull_stall_s=2)


def test_a_mirror_answers_for_a_registry(on_docker: Run, client: docker.APIClient) -> None:
    async def run() -> None:
        async with loopback_registry(TOOLS) as registry:
            await registry.push(root_tar(), "library/gp-test-mirrored:7", PLAIN)

            async def check(runtime: DockerRuntime) -> None:
                await runtime.start(launch(replica(of_image("gp-test-mirrored:7"))))

            mirrors = {"docker.io": registry.address}
            await asyncio.to_thread(on_docker, check, images=replace(IMAGES, mirrors=mirrors))
            tags = {name for name in names_on(client) if "@" not in name}
            assert "gp-test-mirrored:7" in tags
            assert not [tag for tag in tags if registry.address in tag]

    asyncio.run(run())
