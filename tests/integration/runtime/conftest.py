"""What the tests on real engines share."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace

import docker
import pytest

from provider.adapters.clock import SystemClock
from provider.adapters.runtime import DockerRuntime, DockerSettings
from provider.domain.ids import ProviderId
from tests.conftest import ENGINE
from tests.engine_images import IMAGES

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
def on_docker(hello_image: str) -> Run:
    """Runs a check on a runtime; whatever it leaves is removed. Keywords change the settings."""

    def run(check: Check, **changes: object) -> None:
        async def entered() -> None:
            async with DockerRuntime(replace(SETTINGS, **changes), SystemClock()) as runtime:  # type: ignore[arg-type]
                try:
                    await check(runtime)
                finally:
                    for workload in await runtime.list():
                        await runtime.stop(workload.lease, 0)

        asyncio.run(entered())

    return run
