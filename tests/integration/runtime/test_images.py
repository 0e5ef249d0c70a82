"""Images from a real registry: pulls, logins, stalls, and what is never there."""

from __future__ import annotations

import asyncio
import io
import json
import secrets
import tarfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import docker
import pytest

from provider.adapters.runtime import DockerRuntime
from provider.app import busybox_image
from provider.app.loopback_registry import ImageConfig, Registry, loopback_registry
from provider.domain.errors import ImageUnavailable, Temporary
from provider.domain.manifest import Credentials, Service
from provider.domain.secret import Secret
from tests.conftest import TOOLS
from tests.integration.runtime.conftest import Run
from tests.integration.runtime.guarded_registry import guarded_registry
from tests.launches import launch, replica, service

pytestmark = pytest.mark.docker

PLAIN = ImageConfig(env=("PATH=/bin",))


def root_tar() -> bytes:
    """A file system that no engine has seen: a layer that it has is not pulled again."""
    buffer = io.BytesIO(busybox_image.root_tar(busybox_image.find_busybox(TOOLS)))
    with tarfile.open(fileobj=buffer, mode="a") as tar:
        mark = tarfile.TarInfo("mark")
        mark.size = 64
        tar.addfile(mark, io.BytesIO(secrets.token_bytes(mark.size)))
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def no_images_left(client: docker.APIClient) -> Iterator[None]:
    """Images that a test pulled are removed again."""
    before = names(client)
    yield
    for name in names(client) - before:
        busybox_image.remove_from(client, name)


def names(client: docker.APIClient) -> set[str]:
    """Every name, by tag and by digest, of the images that tests can have pulled."""
    return {
        name
        for image in client.images()
        for name in (*(image["RepoTags"] or ()), *(image["RepoDigests"] or ()))
        if name.startswith(("127.0.0.1:", "gp-test"))
    }


@asynccontextmanager
async def stocked() -> AsyncIterator[tuple[Registry, str]]:
    """A registry with the hello image in it, and the image's path there."""
    async with loopback_registry(TOOLS) as registry:
        await registry.push(root_tar(), "hello-gpu:1", PLAIN)
        yield registry, "hello-gpu:1"


def of_image(image: str) -> Service:
    return service(image=image)


def test_an_absent_image_is_pulled_and_a_present_one_is_not(on_docker: Run) -> None:
    async def check(runtime: DockerRuntime) -> None:
        async with stocked() as (registry, path):
            with guarded_registry(registry.address) as guard:
                image = f"{guard.address}/{path}"
                await runtime.start(launch(replica(of_image(image))))
                pulled = len(guard.asked)
                await runtime.start(launch(replica(of_image(image))))

        assert pulled > 0
        assert len(guard.asked) == pulled

    on_docker(check)


def test_latest_is_asked_for_again_and_does_without_when_the_registry_is_away(on_docker: Run) -> None:
    async def check(runtime: DockerRuntime) -> None:
        async with stocked() as (registry, _):
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
        async with stocked() as (registry, _):
            with pytest.raises(ImageUnavailable, match="pulling"):
                await runtime.start(launch(replica(of_image(f"{registry.address}/{image}"))))

    on_docker(check)


def test_a_digest_is_pulled_and_run(on_docker: Run, client: docker.APIClient) -> None:
    async def check(runtime: DockerRuntime) -> None:
        async with stocked() as (registry, path):
            await runtime.start(launch(replica(of_image(f"{registry.address}/{path}"))))
            (digest,) = (name for name in names(client) if name.startswith(f"{registry.address}/hello-gpu@"))
            for workload in await runtime.list():
                await runtime.stop(workload.lease, 0)
            client.remove_image(f"{registry.address}/{path}", force=True)
            workload = await runtime.start(launch(replica(of_image(digest))))
            assert client.inspect_container(workload.containers[0].id)["Config"]["Image"] == digest
            await runtime.stop(workload.lease, 0)
            client.remove_image(digest, force=True)

    on_docker(check)


def test_a_private_image_wants_its_login_and_the_login_is_kept_nowhere(
    on_docker: Run, client: docker.APIClient
) -> None:
    async def check(runtime: DockerRuntime) -> None:
        async with stocked() as (registry, path):
            with guarded_registry(registry.address) as guard:
                guard.login = ("alice", "s3cret-of-alice")
                private = of_image(f"{guard.address}/{path}")
                wrong = Credentials(host=guard.address, username="alice", password=Secret("no"))
                right = Credentials(host=guard.address, username="alice", password=Secret("s3cret-of-alice"))

                for credentials in (None, wrong):
                    with pytest.raises(ImageUnavailable):
                        await runtime.start(launch(replica(replace(private, credentials=credentials))))
                workload = await runtime.start(launch(replica(replace(private, credentials=right))))

                told = json.dumps(client.inspect_container(workload.containers[0].id))
                assert "s3cret-of-alice" not in told

    on_docker(check)


def test_a_pull_that_stalls_is_given_up(on_docker: Run) -> None:
    async def check(runtime: DockerRuntime) -> None:
        async with stocked() as (registry, path):
            with guarded_registry(registry.address) as guard:
                guard.stalls = True
                with pytest.raises(Temporary, match=r"nothing arrived|in time"):
                    await runtime.start(launch(replica(of_image(f"{guard.address}/{path}"))))
                guard.stalls = False
                guard.let_go.set()
                await runtime.start(launch(replica(of_image(f"{guard.address}/{path}"))))

    on_docker(check, pull_stall_s=2)


def test_a_pull_that_is_called_off_ends_at_once(on_docker: Run) -> None:
    async def check(runtime: DockerRuntime) -> None:
        async with stocked() as (registry, path):
            with guarded_registry(registry.address) as guard:
                guard.stalls = True
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(1):
                        await runtime.start(launch(replica(of_image(f"{guard.address}/{path}"))))
                guard.let_go.set()

    on_docker(check)


def test_a_mirror_answers_for_the_default_registry(on_docker: Run, client: docker.APIClient) -> None:
    async def run() -> None:
        async with loopback_registry(TOOLS) as registry:
            await registry.push(root_tar(), "library/gp-test-mirrored:7", PLAIN)

            async def check(runtime: DockerRuntime) -> None:
                await runtime.start(launch(replica(of_image("gp-test-mirrored:7"))))

            await asyncio.to_thread(on_docker, check, mirror=registry.address)
            tags = {name for name in names(client) if "@" not in name}
            assert "gp-test-mirrored:7" in tags
            assert not [tag for tag in tags if registry.address in tag]

    asyncio.run(run())
