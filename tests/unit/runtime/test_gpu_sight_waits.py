"""A container is said to have started a moment before its program is executed: one waits for that.

A real process on an engine that is a socket: it becomes the container's program when a test says so.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from provider.adapters.clock import SystemClock
from provider.adapters.runtime.engine import Engine
from provider.adapters.runtime.gpu_sight import NOT_YET_EXECUTED, GpuSight, Watched
from provider.adapters.runtime.settings import DockerSettings
from provider.domain.errors import Temporary
from provider.domain.ids import GpuUuid, ProviderId
from provider.domain.moment import Instant

ANY_GROUP = "/"
"""As a container's id: whichever group the process is in, its path has one."""
CARD = GpuUuid("GPU-1")
CONTAINER = Watched(id=ANY_GROUP, gpus=(CARD,), is_simulated=True)
VERSION = {"Version": "26.1", "ApiVersion": "1.45", "MinAPIVersion": "1.24", "Arch": "amd64"}

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="looking into containers needs root")


class Waits:
    """The machine's clock; ``first`` happens when somebody sleeps by it for the first time."""

    def __init__(self, first: Callable[[], None]) -> None:
        self._clock = SystemClock()
        self._first = first
        self.now = self._clock.now
        self.times = 0

    async def sleep_until(self, instant: Instant) -> None:
        self.times += 1
        if self.times == 1:
            self._first()
        await self._clock.sleep_until(instant)


@asynccontextmanager
async def started(folder: Path, *environment: str) -> AsyncIterator[tuple[GpuSight, Waits]]:
    """Of a container whose program is executed, with that environment, once one has looked in vain."""
    child = await asyncio.create_subprocess_exec(
        *("sh", "-c", 'read line; exec env -i "$@" cat', "sh", *environment),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"]},
    )
    assert child.stdin is not None
    told = {"version": VERSION, "info": {}, "json": {"State": {"Pid": child.pid}}}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).decode().split(" ")[1]
        body = json.dumps(told[path.rpartition("/")[2]]).encode()
        writer.write(b"HTTP/1.1 200 X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    socket = folder / "engine.sock"
    settings = DockerSettings(provider=ProviderId("p"), socket=f"unix://{socket}", simulated_gpus=True)
    clock = Waits(lambda: child.stdin.write(b"now\n") if child.stdin else None)
    async with await asyncio.start_unix_server(answer, socket):
        engine = Engine(settings)
        yield GpuSight(engine, clock), clock
        await engine.close()
    child.stdin.close()
    await child.wait()


def test_a_card_is_looked_for_again_until_the_program_is_executed(tmp_path: Path) -> None:
    async def body() -> None:
        environment = ("PROVIDER_LEASE=l1", f"PROVIDER_SIMULATED_GPUS={CARD}")
        async with started(tmp_path, *environment) as (sight, clock):
            early = (await sight.look([CONTAINER]))[ANY_GROUP]
            assert early.unproven == NOT_YET_EXECUTED
            assert await sight.prove(CONTAINER) is None, "it is proven, not left unknown"
            assert clock.times > 0

    asyncio.run(body())


def test_a_program_that_was_given_another_card_is_no_proof(tmp_path: Path) -> None:
    async def body() -> None:
        environment = ("PROVIDER_LEASE=l1", "PROVIDER_SIMULATED_GPUS=GPU-2")
        async with started(tmp_path, *environment) as (sight, _):
            with pytest.raises(Temporary, match="GPU-1 is not named"):
                await sight.prove(CONTAINER)

    asyncio.run(body())
