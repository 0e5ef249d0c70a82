"""The provider's ends of tunnels: dialled when the coordinator asks, they lead to our own LeaseService.

Owns how many there are. Does not own the splicing (``rpc.splice``) nor who is let in: the bytes are a TLS
session that the LeaseServer ends, as on its port. Nothing here is an event of the agent: a tunnel that
fails is one that somebody dials again.

Each tunnel has a connection of its own to the coordinator, so that a slow one holds up neither another
one nor the session, and all of them outlive a session that is dialled anew.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc.aio

from provider.domain.errors import ProviderError
from provider.rpc.calls import cancelled_after
from provider.rpc.identity import LiveIdentity
from provider.rpc.member import Member, Role
from provider.rpc.settings import TUNNEL_PIECE_BYTES, TUNNELS_MOST, mtls_channel
from provider.rpc.splice import splice
from provider.rpc.v1.tunnel_pb2 import AnswerRequest
from provider.rpc.v1.tunnel_pb2_grpc import TunnelServiceStub


class Tunnels:
    """All of one provider's, to the LeaseServer's socket file ``door``."""

    def __init__(
        self, coordinator: str, identity: LiveIdentity, door: Path | None, tasks: asyncio.TaskGroup
    ) -> None:
        self._coordinator = coordinator
        self._identity = identity
        self._door = door
        self._tasks = tasks
        self._open: dict[str, asyncio.Task[None]] = {}
        self.refused = 0
        """Not taken up: too many at once, or no door to lead to."""
        self.problem: str | None = None
        """Why the last one that failed did."""

    def __len__(self) -> int:
        return len(self._open)

    def wanted(self, name: str) -> None:
        """Take it up; a name that is asked for twice is taken up once."""
        if name in self._open:
            return
        if self._door is None or len(self._open) >= TUNNELS_MOST:
            self.refused += 1
            return
        task = self._tasks.create_task(self._carry(name, self._door))
        self._open[name] = task
        task.add_done_callback(lambda _: self._open.pop(name, None))

    def close(self) -> None:
        """End all."""
        for task in self._open.values():
            task.cancel()

    async def _carry(self, name: str, door: Path) -> None:
        identity = self._identity.now
        coordinator = Member(role=Role.COORDINATOR, market=identity.member.market)
        try:
            reader, writer = await asyncio.open_unix_connection(door, limit=TUNNEL_PIECE_BYTES)
            try:
                async with (
                    mtls_channel(self._coordinator, identity, expect=coordinator) as channel,
                    cancelled_after(TunnelServiceStub(channel).Answer()) as call,
                ):
                    await call.write(AnswerRequest(tunnel=name))
                    await splice(call, AnswerRequest, reader, writer)
            finally:
                writer.close()
        except (ProviderError, grpc.aio.AioRpcError, OSError) as error:
            self.problem = str(error)
