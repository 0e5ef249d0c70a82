"""What the tests on real engines share."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from provider.adapters.clock import SystemClock
from provider.adapters.runtime import DockerRuntime, DockerSettings
from provider.adapters.runtime.storage.settings import StorageSettings
from provider.app import busybox_image
from provider.domain.ids import ProviderId
from tests.conftest import ENGINE
from tests.engine_images import IMAGES
from tests.integration.runtime.stocked import names_on

SETTINGS = DockerSettings(
    provider=ProviderId(f"integration-{os.getpid()}"),
    simulated_gpus=True,
    bind_address="127.0.0.1",
    pull_stall_s=20,
    images=IMAGES,
)

Check = Callable[[DockerRuntime], Coroutine[object, object, None]]
Run = Callable[..., None]


@pytest.fixture
def client() -> Iterator[docker.APIClient]:
    """The machine's engine, without anything of ours between."""
    client = docker.APIClient(base_url=ENGINE, version="1.41")
    yield client
    client.close()


@pytest.fixture
def on_docker(hello_image: str, tmp_path: Path) -> Run:
    """Runs a check on a runtime; what it leaves is removed. Keywords change the settings, or are parts."""
    disk = tmp_path / "disk"
    disk.mkdir()
    storage = StorageSettings(
        root=tmp_path / "volumes", classes={"beta3": disk, "default": disk}, measure_s=1.0
    )

    def run(check: Check, **changes: object) -> None:
        parts = {name: changes.pop(name) for name in ("pulls", "disk") if name in changes}
        changes = {"storage": storage} | changes

        async def entered() -> None:
            settings = replace(SETTINGS, **changes)  # type: ignore[arg-type]
            async with DockerRuntime(settings, SystemClock(), **parts) as runtime:  # type: ignore[arg-type]
                try:
                    await check(runtime)
                finally:
                    for workload in await runtime.list():
                        await runtime.stop(workload.lease, 0)

        asyncio.run(entered())

    return run


@pytest.fixture
def no_images_left(client: docker.APIClient) -> Iterator[None]:
    """Images that a test pulled are removed again."""
    before = names_on(client)
    yield
    for name in names_on(client) - before:
        busybox_image.remove_from(client, name)
