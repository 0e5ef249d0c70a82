"""How a tenant's calls reach the provider of its lease: straight, or through the coordinator.

Owns the choice between the two and the local door of a tunnel. Does not own what travels: on both roads it
is one TLS session with the provider, whose name the channel checks, so that whoever is in between can
only break it. Read next: ``rpc/splice.py``, ``coordinator/tunnels.py``.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio

from provider.domain.errors import ConfigError, PeerError, ProviderError, Temporary
from provider.domain.ids import LeaseId
from provider.rpc import codec
from provider.rpc.calls import cancelled_after
from provider.rpc.problems import named
from provider.rpc.settings import TUNNEL_PIECE_BYTES
from provider.rpc.splice import splice
from provider.rpc.status import is_broken
from provider.rpc.v1.tunnel_pb2 import DialRequest, DialResponse
from provider.rpc.v1.tunnel_pb2_grpc import TunnelServiceStub

STRAIGHT_S = 3.0
"""For the provider to be reached where it says it is."""
OPEN_S = 15.0
"""For a tunnel: the provider has 10 s of it."""
_Call = grpc.aio.StreamStreamCall[DialRequest, DialResponse]
_LOST = Temporary("the connection to the coordinator was lost", remedy="try again in a moment")
MakeChannel = Callable[[str], grpc.aio.Channel]
"""To a target of gRPC's, and to nobody but the provider."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Road:
    """A channel to the provider, and how it gets there."""

    channel: grpc.aio.Channel
    name: str
    """For people: "straight to gpu1:8443", "through the coordinator"."""
    problem: Callable[[], ProviderError | None]
    """What broke the road itself, where that is known."""


@asynccontextmanager
async def road(
    lease: LeaseId, address: str, make: MakeChannel, coordinator: grpc.aio.Channel
) -> AsyncIterator[Road]:
    """The straight one where ``address`` is the provider's and answers, else a tunnel.

    Raises why there is no tunnel, with what was tried before.
    """
    if address:
        async with make(address) as straight:
            if await _is_there(straight):
                yield Road(channel=straight, name=f"straight to {address}", problem=lambda: None)
                return
    door = Door(lease, coordinator)
    async with AsyncExitStack() as stack:
        try:
            path = await stack.enter_async_context(door)
        except Temporary as away:
            tried = f"it cannot be reached at {address}, and through the coordinator: " if address else ""
            raise Temporary(tried + away.what, remedy=away.remedy, retry_after=away.retry_after) from away
        channel = await stack.enter_async_context(make(f"unix:{path}"))
        yield Road(channel=channel, name="through the coordinator", problem=lambda: door.problem)


async def _is_there(channel: grpc.aio.Channel) -> bool:
    """Whether the other side has proved in time that it is the one that is meant."""
    try:
        async with asyncio.timeout(STRAIGHT_S):
            while (state := channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
                if state in {
                    grpc.ChannelConnectivity.TRANSIENT_FAILURE,
                    grpc.ChannelConnectivity.SHUTDOWN,
                }:
                    return False
                await channel.wait_for_state_change(state)
    except TimeoutError:
        return False
    return True


class Door:
    """A socket file of this process (0600, in a folder of 0700): each connection to it is a tunnel.

    The first tunnel is there when it is entered, so that what forbids one is known before anything is sent.
    """

    def __init__(self, lease: LeaseId, coordinator: grpc.aio.Channel) -> None:
        self._lease = codec.lease_id_to_pb(lease)
        self._stub = TunnelServiceStub(coordinator)
        self._stack = AsyncExitStack()
        self._ready: list[_Call] = []
        self._serving: set[asyncio.Task[None]] = set()
        self.problem: ProviderError | None = None
        """Why the last tunnel could not be opened, or ended."""

    async def __aenter__(self) -> Path:
        async with AsyncExitStack() as stack:
            first = await stack.enter_async_context(cancelled_after(self._stub.Dial()))
            await self._open(first)
            self._ready.append(first)
            self._tasks = await stack.enter_async_context(asyncio.TaskGroup())
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tenant-")))
            path = folder / "lease.sock"
            stack.callback(self._leave)
            await self._listen(path, stack)
            self._stack = stack.pop_all()
        return path

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    def _leave(self) -> None:
        for task in self._serving:
            task.cancel()

    async def _listen(self, path: Path, stack: AsyncExitStack) -> None:
        # Nobody else gets through its folder (0700). No umask: it is the whole process's, and we wait here.
        try:
            server = await asyncio.start_unix_server(self._serve, path, limit=TUNNEL_PIECE_BYTES)
        except OSError as error:
            raise ConfigError(
                f"cannot listen at {path}: {error}", remedy="set TMPDIR to a folder with a short name"
            ) from error
        stack.callback(server.close)

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # In a task of our own: of one that asyncio makes, 3.11 prints that it was cancelled.
        task = self._tasks.create_task(self._carry(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ready = self._ready.pop() if self._ready else None
        try:
            async with cancelled_after(ready or self._stub.Dial()) as call:
                if ready is None:
                    await self._open(call)
                await splice(call, DialRequest, reader, writer)
        except Temporary as away:
            self.problem = _LOST if is_broken(away) else named(away, "the coordinator")
        except ProviderError as error:
            self.problem = error
        except OSError:
            return  # the channel has closed its connection: there is nothing to tell anybody
        finally:
            writer.close()

    async def _open(self, call: _Call) -> None:
        try:
            async with asyncio.timeout(OPEN_S):
                with suppress(asyncio.InvalidStateError):  # refused already: reading says why
                    await call.write(DialRequest(lease=self._lease))
                answer = await call.read()
        except TimeoutError:
            raise Temporary("the coordinator did not open a tunnel in time", remedy="try again") from None
        if not isinstance(answer, DialResponse) or not answer.HasField("connected"):
            raise PeerError("the coordinator began a tunnel with something else than its beginning")
