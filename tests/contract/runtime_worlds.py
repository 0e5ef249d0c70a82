"""The runtimes that the contract is held against: the simulated one, Docker's, and ways to enter them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from provider.adapters.clock import SystemClock
from provider.adapters.runtime import DockerRuntime, DockerSettings
from provider.adapters.runtime.kept_log_settings import KeptLogSettings
from provider.adapters.runtime.storage.settings import StorageSettings
from provider.domain.errors import ImageUnavailable, Temporary
from provider.domain.ids import ProviderId
from provider.ports import Runtime
from provider.sim.engine import ImageScript, SimulatedEngine
from provider.sim.runtime import SimulatedRuntime
from tests.engine_images import IMAGES

NO_IMAGE = "Not/An-Image:1"
NO_REGISTRY = "127.0.0.1:9/none:1"
"""Port 9 is ``discard``: nothing listens there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A runtime, and a second one whose engine is away."""

    runtime: Runtime
    away: Runtime


Enter = Callable[[], AbstractAsyncContextManager[World]]


@asynccontextmanager
async def simulated() -> AsyncIterator[World]:
    clock = SystemClock()
    engine = SimulatedEngine(clock)
    engine.images[NO_IMAGE] = ImageScript(failure=ImageUnavailable("no such image"))
    engine.images[NO_REGISTRY] = ImageScript(failure=Temporary("the registry is away"))
    gone = SimulatedEngine(clock, is_away=True)
    async with SimulatedRuntime(engine) as runtime, SimulatedRuntime(gone) as away:
        yield World(runtime=runtime, away=away)


@asynccontextmanager
async def dockers(socket: str) -> AsyncIterator[World]:
    with TemporaryDirectory(prefix="gp-contract-") as place:
        async with _dockers(socket, Path(place)) as world:
            yield world


@asynccontextmanager
async def _dockers(socket: str, place: Path) -> AsyncIterator[World]:
    settings = DockerSettings(
        provider=ProviderId(f"contract-{os.getpid()}"),
        socket=socket,
        simulated_gpus=True,
        bind_address="127.0.0.1",
        images=IMAGES,
        storage=StorageSettings(root=place / "volumes", classes={"beta3": place, "default": place}),
        kept_logs=KeptLogSettings(folder=place / "logs"),
    )
    nowhere = replace(settings, socket="unix:///nonexistent/docker.sock")
    async with (
        DockerRuntime(settings, SystemClock()) as runtime,
        DockerRuntime(nowhere, SystemClock()) as away,
    ):
        try:
            yield World(runtime=runtime, away=away)
        finally:
            for workload in await runtime.list():
                await runtime.stop(workload.lease, 0)


def run(enter: Enter, check: Callable[[World], Coroutine[object, object, None]]) -> None:
    async def entered() -> None:
        async with enter() as world:
            await check(world)

    asyncio.run(entered())
