"""A tenant's calls to the provider of its lease.

Owns deadlines, and which road is taken; every call is cancelled and every failure is one of
``domain.errors``. The answers stay in the wire's own messages: they are shown, not decided upon.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc.aio

from provider.app.roads import MakeChannel, Road
from provider.domain.errors import Temporary
from provider.domain.ids import LeaseId
from provider.domain.workload import Dependency
from provider.ports import CopyRequest, ExecRequest, LogRequest
from provider.rpc import codec, settings
from provider.rpc.calls import cancelled_after
from provider.rpc.calls import unary as answered
from provider.rpc.identity import Identity
from provider.rpc.member import Member, Role
from provider.rpc.problems import named
from provider.rpc.v1 import lease_pb2, lease_pb2_grpc

DEADLINE_S = settings.DEADLINE_S
STREAM_S = 60.0
"""For streams that end by themselves."""
COPY_BYTES = 64 * 1024
"""Of one message of an archive, the most that providers take."""

Answer = TypeVar("Answer")
Ways = Callable[[MakeChannel], AbstractAsyncContextManager[Road]]
"""How a lease is reached, given how channels to its provider are made."""


@asynccontextmanager
async def reaching(whom: str) -> AsyncIterator[None]:
    """Whoever cannot be reached inside the block is named, in words that say what to try."""
    try:
        yield
    except Temporary as away:
        raise named(away, whom) from away


class LeaseCalls:
    """A tenant's calls to the provider of its lease."""

    def __init__(
        self, who: Identity, lease: LeaseId, token: str, ways: Ways, say_road: Callable[[str], None]
    ) -> None:
        self._who = who
        self._whom = f"the provider {lease.provider}"
        self._provider = Member(role=Role.PROVIDER, market=who.member.market, name=lease.provider)
        self._ways = ways
        self._say_road = say_road
        self._stack = AsyncExitStack()
        self._wire_id = codec.lease_id_to_pb(lease)
        self._metadata = (("authorization", f"Bearer {token}"),)

    async def __aenter__(self) -> Self:
        async with reaching(self._whom):
            self._road = await self._stack.enter_async_context(self._ways(self._channel_to))
        self._say_road(f"{self._whom}: {self._road.name}")
        self._stub: lease_pb2_grpc.LeaseServiceAsyncStub = lease_pb2_grpc.LeaseServiceStub(self._road.channel)
        return self

    def _channel_to(self, target: str) -> grpc.aio.Channel:
        return settings.mtls_channel(
            target, self._who, expect=self._provider, message_bytes=settings.LEASE_MESSAGE_BYTES
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @asynccontextmanager
    async def _reaching(self) -> AsyncIterator[None]:
        """What broke the road says more than that the connection broke."""
        try:
            yield
        except Temporary as away:
            raise named(self._road.problem() or away, f"{self._whom}, {self._road.name}") from away

    async def _ask(self, call: grpc.aio.UnaryUnaryCall[Any, Answer]) -> Answer:
        async with self._reaching():
            return await answered(call)

    async def send_manifest(self, manifest_json: bytes, dependencies: Iterable[Dependency]) -> None:
        request = lease_pb2.SendManifestRequest(
            lease=self._wire_id,
            manifest_json=manifest_json,
            dependencies=map(codec.dependency_to_pb, dependencies),
        )
        await self._ask(self._stub.SendManifest(request, timeout=DEADLINE_S, metadata=self._metadata))

    async def migrate_hostnames(self, source: LeaseId, hostnames: Iterable[str]) -> None:
        """From ``source`` to this lease."""
        request = lease_pb2.MigrateHostnamesRequest(
            lease=self._wire_id, source=codec.lease_id_to_pb(source), hostnames=hostnames
        )
        await self._ask(self._stub.MigrateHostnames(request, timeout=DEADLINE_S, metadata=self._metadata))

    async def status(self) -> lease_pb2.GetLeaseStatusResponse:
        request = lease_pb2.GetLeaseStatusRequest(lease=self._wire_id)
        return await self._ask(
            self._stub.GetLeaseStatus(request, timeout=DEADLINE_S, metadata=self._metadata)
        )

    async def statuses(self) -> AsyncGenerator[lease_pb2.GetLeaseStatusResponse, None]:
        """Again and again, until the lease ends."""
        request = lease_pb2.StreamLeaseStatusRequest(lease=self._wire_id)
        call = self._stub.StreamLeaseStatus(request, metadata=self._metadata)
        async with self._reaching(), cancelled_after(call):
            async for told in call:
                yield told.status

    async def logs(self, wanted: LogRequest) -> AsyncIterator[lease_pb2.StreamLogsResponse]:
        """Following, until the lease ends."""
        request = lease_pb2.StreamLogsRequest(
            lease=self._wire_id,
            service=wanted.service or "",
            replica=wanted.replica,
            follow=wanted.follow,
            tail=-1 if wanted.tail is None else wanted.tail,
            since_ns=wanted.since_ns,
        )
        call = self._stub.StreamLogs(request, metadata=self._metadata)
        async with self._reaching(), cancelled_after(call):
            async for lines in call:
                yield lines

    async def events(self, *, follow: bool, after: int) -> AsyncIterator[lease_pb2.StreamEventsResponse]:
        """Those with a greater number than ``after``; following, until the lease ends."""
        request = lease_pb2.StreamEventsRequest(lease=self._wire_id, follow=follow, after_number=after)
        call = self._stub.StreamEvents(request, timeout=None if follow else STREAM_S, metadata=self._metadata)
        async with self._reaching(), cancelled_after(call):
            async for event in call:
                yield event

    async def restart(self, service: str) -> None:
        """Returns once the provider means to."""
        request = lease_pb2.RestartServiceRequest(lease=self._wire_id, service=service)
        await self._ask(self._stub.RestartService(request, timeout=DEADLINE_S, metadata=self._metadata))

    async def copy_in(self, place: CopyRequest, archive: AsyncIterator[bytes]) -> int:
        """Unpack a tar archive in the folder ``place``; its size in bytes."""
        call = self._stub.CopyIn(metadata=self._metadata)
        start = lease_pb2.CopyInStart(
            lease=self._wire_id, service=place.service, replica=place.replica, path=place.path
        )
        async with self._reaching(), cancelled_after(call):
            try:
                await call.write(lease_pb2.CopyInRequest(start=start))
                async for piece in archive:
                    for begin in range(0, len(piece), COPY_BYTES):
                        await call.write(lease_pb2.CopyInRequest(data=piece[begin : begin + COPY_BYTES]))
                await call.done_writing()
            except asyncio.InvalidStateError:
                pass  # it was refused while we wrote: the answer says why
            return (await call).bytes

    async def copy_out(self, place: CopyRequest) -> AsyncIterator[bytes]:
        """What is at ``place``, as a tar archive."""
        request = lease_pb2.CopyOutRequest(
            lease=self._wire_id, service=place.service, replica=place.replica, path=place.path
        )
        call = self._stub.CopyOut(request, metadata=self._metadata)
        async with self._reaching(), cancelled_after(call):
            async for answer in call:
                yield answer.data

    @asynccontextmanager
    async def exec(
        self,
    ) -> AsyncIterator[grpc.aio.StreamStreamCall[lease_pb2.ExecRequest, lease_pb2.ExecResponse]]:
        """A call whose first message must be ``start(...)``; one broken connection is one error."""
        async with self._reaching(), cancelled_after(self._stub.Exec(metadata=self._metadata)) as call:
            try:
                yield call
            except* Temporary as group:
                raise group.exceptions[0] from None

    def start(self, wanted: ExecRequest) -> lease_pb2.ExecRequest:
        """The first message of ``exec``."""
        return lease_pb2.ExecRequest(
            start=lease_pb2.ExecStart(
                lease=self._wire_id,
                service=wanted.service,
                replica=wanted.replica,
                argv=wanted.argv,
                tty=wanted.tty,
                size=lease_pb2.TerminalSize(rows=wanted.rows, columns=wanted.columns),
            )
        )
