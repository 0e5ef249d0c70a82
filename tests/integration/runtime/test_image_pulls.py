"""How pulls go: told while they do, called off, and not begun where they cannot end well."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import docker
import pytest

from provider.adapters.runtime import DockerRuntime
from provider.adapters.runtime.images.disk import DiskUse
from provider.adapters.runtime.images.observer import PullPhase
from provider.domain.errors import ImageUnavailable, Temporary
from provider.domain.ids import Owner
from provider.domain.resources import GIB
from tests.engine_images import IMAGES
from tests.integration.runtime.conftest import Run
from tests.integration.runtime.guarded_registry import guarded_registry
from tests.integration.runtime.stocked import (
    HELLO,
    PLAIN,
    WatchedPulls,
    names_on,
    of_image,
    root_tar,
    stocked,
)
from tests.launches import launch, lease_id, replica

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("no_images_left")]


def test_a_pull_is_told_from_its_beginning_to_its_end(on_docker: Run) -> None:
    watched, lease = WatchedPulls(), lease_id()

    async def check(runtime: DockerRuntime) -> None:
        async with stocked() as registry:
            image = f"{registry.address}/{HELLO}"
            for _ in range(2):
                await runtime.start(launch(replica(of_image(image)), lease=lease))
            assert watched.told == [("began", lease, image), ("done", lease, image)]

    on_docker(check, pulls=watched)
    assert watched.steps
    assert all(step.phase in PullPhase for step in watched.steps)
    assert 100_000 < watched.transferred_bytes < 10_000_000


def test_an_end_in_the_middle_of_a_pull_ends_the_pull_at_once(
    on_docker: Run, client: docker.APIClient
) -> None:
    watched, lease = WatchedPulls(), lease_id()

    async def check(runtime: DockerRuntime) -> None:
        async with stocked() as registry:
            with guarded_registry(registry.address) as guard:
                guard.stalls = guard.trickles = True
                image = f"{guard.address}/{HELLO}"
                start = asyncio.create_task(runtime.start(launch(replica(of_image(image)), lease=lease)))
                assert await asyncio.to_thread(guard.stalled.wait, 20)
                start.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await start
                await runtime.stop(lease, 10)
                # Not only we have given up: the engine has, too.
                assert await asyncio.to_thread(guard.dropped.wait, 20)
                assert not [
                    name for name in names_on(client) if name.startswith(f"{guard.address}/hello-gpu")
                ]

    on_docker(check, pulls=watched)
    assert (watched.outcomes, watched.problems) == (["began", "failed"], ["called off"])


def test_an_image_that_is_too_large_is_given_up(on_docker: Run, client: docker.APIClient) -> None:
    watched = WatchedPulls()

    async def check(runtime: DockerRuntime) -> None:
        async with stocked() as registry:
            with pytest.raises(ImageUnavailable, match="the most that this provider takes"):
                await runtime.start(launch(replica(of_image(f"{registry.address}/{HELLO}"))))
            assert not [name for name in names_on(client) if name.startswith(f"{registry.address}/hello-gpu")]

    on_docker(check, pulls=watched, images=replace(IMAGES, size_most_bytes=100_000))
    assert watched.outcomes == ["began", "failed"]


def test_nothing_is_pulled_onto_a_full_disk(on_docker: Run) -> None:
    def nearly_full(folder: str) -> DiskUse:
        return DiskUse(total_bytes=100 * GIB, free_bytes=GIB)

    async def check(runtime: DockerRuntime) -> None:
        async with stocked() as registry:
            with guarded_registry(registry.address) as guard:
                with pytest.raises(Temporary, match=r"1\.0 GiB are free .* 2\.0 GiB are needed"):
                    await runtime.start(launch(replica(of_image(f"{guard.address}/{HELLO}"))))
                assert guard.layers_asked <= 1, "at most the image's description"

    on_docker(check, disk=nearly_full)


def test_an_image_for_other_machines_is_not_even_pulled(on_docker: Run) -> None:
    async def check(runtime: DockerRuntime) -> None:
        async with stocked() as registry:
            foreign = await registry.push(root_tar(), "foreign:1", replace(PLAIN, architecture="riscv64"))
            with pytest.raises(ImageUnavailable, match="is for riscv64, this machine is"):
                await runtime.start(launch(replica(of_image(foreign))))

    watched = WatchedPulls()
    on_docker(check, pulls=watched)
    assert watched.told == []


def test_pulls_of_one_tenant_leave_a_turn_to_others(on_docker: Run) -> None:
    """Somebody whose registry trickles holds up nobody else."""

    async def check(runtime: DockerRuntime) -> None:
        async with stocked("slow:1", "slow:2", HELLO) as registry:
            with guarded_registry(registry.address) as slow:
                slow.stalls = True
                stuck = [
                    asyncio.create_task(
                        runtime.start(launch(replica(of_image(f"{slow.address}/slow:{number}"))))
                    )
                    for number in (1, 2)
                ]
                assert await asyncio.to_thread(slow.stalled.wait, 20)
                other = replace(lease_id(), owner=Owner("bob"))
                await runtime.start(launch(replica(of_image(f"{registry.address}/{HELLO}")), lease=other))
                for task in stuck:
                    task.cancel()
                await asyncio.gather(*stuck, return_exceptions=True)

    on_docker(check, pulls_at_once=2)
