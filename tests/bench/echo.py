"""The bid benchmark's baselines: a market's end of a bare call, and the process at its other end."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import grpc.aio

from provider.adapters.clock import SystemClock
from provider.rpc import identity
from provider.rpc.identity import LiveIdentity
from provider.rpc.member import Role
from provider.rpc.settings import bind, mtls_server_credentials, server
from provider.sim.authority import ThrowawayAuthority
from tests.bench.echo_client import Before

CLOCK = SystemClock()


class Echo:
    """A call that sends messages to a client process, which answers each with one of its own."""

    def __init__(self) -> None:
        self.calls: asyncio.Queue[grpc.aio.ServicerContext[bytes, bytes]] = asyncio.Queue()
        self._arrived: asyncio.Queue[bytes] = asyncio.Queue()
        self._context: grpc.aio.ServicerContext[bytes, bytes] | None = None

    async def both(
        self, _requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> None:
        await self.calls.put(context)
        while isinstance(message := await context.read(), bytes):
            self._arrived.put_nowait(message)

    async def begin(self) -> None:
        self._context = await self.calls.get()

    async def once(self, message: bytes) -> float:
        """Milliseconds there and back."""
        return await self.burst(message, 1) * 1000

    async def burst(self, message: bytes, count: int) -> float:
        """Seconds until all answers are there."""
        assert self._context is not None, "begun before"
        began = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._answers(count))
            for _ in range(count):
                await self._context.write(message)
        return time.perf_counter() - began

    async def _answers(self, count: int) -> None:
        for _ in range(count):
            await self._arrived.get()


@asynccontextmanager
async def echoing(authority: ThrowawayAuthority, before: Before, answer_bytes: int) -> AsyncIterator[Echo]:
    """One whose client does ``before`` first. Its answers have ``answer_bytes``, or are bids."""
    echo = Echo()
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(echo.both)
    generic = grpc.method_handlers_generic_handler("bench.Echo", {"Both": handler})
    made = server([], concurrent_calls=4)
    made.add_generic_rpc_handlers((generic,))
    coordinator = authority.member(Role.COORDINATOR, "", at=CLOCK.now())
    port = bind(made, "127.0.0.1:0", mtls_server_credentials(LiveIdentity(coordinator)))
    await made.start()
    with tempfile.TemporaryDirectory() as folder:
        who = authority.member(Role.PROVIDER, "echo", at=CLOCK.now())
        identity.save(replace(who, coordinator=f"127.0.0.1:{port}"), Path(folder))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.echo_client", folder, before, str(answer_bytes)
        )
        try:
            await echo.begin()
            yield echo
        finally:
            process.terminate()
            await process.wait()
            await made.stop(None)
