"""``LeaseService``: a tenant's way to its lease.

Owns: what the four calls check, and how the agent's state and the engine's streams become messages.
Does not own: whether a manifest is taken (the core), what runs (the engine), who may call (``doorman``).
Invariant: nothing is read from or done to a lease before ``Doorman.admit`` has returned.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import grpc.aio
from grpc import StatusCode

from provider.adapters.gateway.backlog import Backlog
from provider.adapters.gateway.doorman import Doorman
from provider.adapters.gateway.exec_stream import bridge
from provider.adapters.gateway.settings import GatewaySettings
from provider.adapters.gateway.slots import Slots
from provider.adapters.gateway.streams import closed_after, stopping_error
from provider.adapters.gateway.views import lease_status_to_pb
from provider.core.events import ManifestArrived, MigrationRequested
from provider.core.state import Lease
from provider.domain.errors import PeerError
from provider.domain.ids import LeaseId
from provider.domain.market import Refusal, Refused
from provider.domain.workload import LogLine
from provider.ports import Clock, ExecRequest, LiveAgent, LogRequest, Runtime
from provider.rpc.codec import dependency_from_pb, lease_id_from_pb
from provider.rpc.fields import at_least, each, line, present, text, word
from provider.rpc.settings import CHUNK_BYTES, DEADLINE_S, MANIFEST_BYTES
from provider.rpc.status import Denied
from provider.rpc.tokens import Scope
from provider.rpc.v1 import lease_pb2 as pb
from provider.rpc.v1.lease_pb2_grpc import LeaseServiceServicer
from provider.sdl import hash_of_json, manifest_from_json

_Context = grpc.aio.ServicerContext[Any, Any]
_LINES_MOST = 1_000_000
"""Of a log's tail: a number that is surely a mistake above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseWorld:
    """What the service looks at and acts on."""

    agent: LiveAgent
    runtime: Runtime
    clock: Clock


class LeaseGateway(LeaseServiceServicer):
    def __init__(self, settings: GatewaySettings, world: LeaseWorld, doorman: Doorman) -> None:
        self._settings = settings
        self._agent = world.agent
        self._runtime = world.runtime
        self._clock = world.clock
        self._doorman = doorman
        self.slots = Slots(in_all=settings.streams_most, per_lease=settings.streams_per_lease)

    async def SendManifest(  # noqa: N802
        self, request: pb.SendManifestRequest, context: _Context
    ) -> pb.SendManifestResponse:
        lease = self._admit(request, context, Scope.MANIFEST)
        if len(request.manifest_json) > MANIFEST_BYTES:
            raise Denied(
                StatusCode.INVALID_ARGUMENT,
                "MANIFEST_TOO_LARGE",
                f"the manifest has {len(request.manifest_json)} bytes, at most {MANIFEST_BYTES} are taken",
                remedy="put large contents into the image or a volume",
            )
        event = ManifestArrived(
            lease=lease,
            manifest=manifest_from_json(request.manifest_json),
            manifest_hash=hash_of_json(request.manifest_json),
            dependencies=each(request.dependencies, dependency_from_pb, "dependencies"),
        )
        step = await self._agent.submit(event)
        if step.refused is not None:
            raise _refusal(step.refused)
        return pb.SendManifestResponse()

    async def MigrateHostnames(  # noqa: N802
        self, request: pb.MigrateHostnamesRequest, context: _Context
    ) -> pb.MigrateHostnamesResponse:
        lease = self._admit(request, context, Scope.MANIFEST)
        source = lease_id_from_pb(request.source, present(request, "source", "MigrateHostnamesRequest"))
        names = tuple(name.lower() for name in each(request.hostnames, word, "hostnames"))
        step = await self._agent.submit(MigrationRequested(lease=lease, source=source, hostnames=names))
        if step.refused is not None:
            raise _refusal(step.refused)
        return pb.MigrateHostnamesResponse()

    async def GetLeaseStatus(  # noqa: N802
        self, request: pb.GetLeaseStatusRequest, context: _Context
    ) -> pb.GetLeaseStatusResponse:
        lease = self._known(self._admit(request, context, Scope.STATUS))
        return lease_status_to_pb(lease, self._agent.state, self._settings.host, self._clock.now())

    async def StreamLogs(self, request: pb.StreamLogsRequest, context: _Context) -> None:  # type: ignore[override]  # noqa: N802
        lease = self._known(self._admit(request, context, Scope.LOGS)).id
        tail = min(at_least(request.tail, -1, "tail"), _LINES_MOST)
        wanted = LogRequest(
            service=text(request.service, "service") or None,
            follow=request.follow,
            tail=None if tail == -1 else tail,
        )
        with self.slots.take(lease):
            await self._stream(lease, wanted, context)

    async def Exec(self, request_iterator: AsyncIterator[pb.ExecRequest], context: _Context) -> None:  # type: ignore[override]  # noqa: N802
        async with asyncio.timeout(DEADLINE_S):  # a stream that never starts holds no slot for long
            first = await anext(aiter(request_iterator), None)
        if first is None or not first.HasField("start"):
            raise PeerError("start: the first message must start a command")
        start = first.start
        lease = self._known(self._admit(start, context, Scope.EXEC)).id
        argv = each(start.argv, text, "start.argv")
        word(argv[0] if argv else "", "start.argv")
        wanted = ExecRequest(
            service=word(start.service, "start.service"),
            argv=argv,
            replica=at_least(start.replica, 0, "start.replica"),
            tty=start.tty,
            rows=start.size.rows or 24,
            columns=start.size.columns or 80,
        )
        with self.slots.take(lease):
            session = await self._runtime.exec(lease, wanted)
            await bridge(session, request_iterator, context, self.slots.closing)

    def _admit(self, request: Any, context: _Context, scope: Scope) -> LeaseId:
        lease = lease_id_from_pb(request.lease, present(request, "lease", type(request).__name__))
        self._doorman.admit(context, lease, scope)
        return lease

    def _known(self, lease: LeaseId) -> Lease:
        known = self._agent.state.leases.get(lease)
        if known is None:
            raise Denied(
                StatusCode.NOT_FOUND,
                Refusal.LEASE_UNKNOWN.name,
                f"the lease {lease} is not here: it has ended, or never began",
                remedy="look at the deployment with `tenant status`",
            )
        return known

    async def _stream(self, lease: LeaseId, wanted: LogRequest, context: _Context) -> None:
        """A followed log drops what a slow reader cannot take; one that ends waits for its reader."""
        if not wanted.follow:
            async with aclosing(closed_after(self._runtime.logs(lease, wanted))) as lines:
                async for each_line in lines:
                    await _write(context, each_line, 0)
            return
        backlog = Backlog(lines_most=self._settings.backlog_lines, bytes_most=self._settings.backlog_bytes)
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(_collect(self._runtime, lease, wanted, backlog))
            writing = tasks.create_task(_forward(backlog, context))
            stopping = tasks.create_task(self.slots.closing.wait())
            await asyncio.wait({writing, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for task in (reading, writing, stopping):
                task.cancel()
            if not writing.done():
                raise stopping_error()


async def _collect(runtime: Runtime, lease: LeaseId, wanted: LogRequest, backlog: Backlog) -> None:
    async with aclosing(closed_after(runtime.logs(lease, wanted))) as lines:
        async for each_line in lines:
            backlog.put(each_line)
    backlog.end()


async def _forward(backlog: Backlog, context: _Context) -> None:
    while (waiting := await backlog.get()) is not None:
        each_line, dropped = waiting
        await _write(context, each_line, dropped)


async def _write(context: _Context, entry: LogLine, dropped: int) -> None:
    await context.write(
        pb.StreamLogsResponse(
            service=entry.service,
            replica=entry.replica,
            at_ms=entry.at,
            is_stderr=entry.is_stderr,
            text=entry.text[:CHUNK_BYTES].encode(errors="replace").decode(),
            dropped=dropped,
        )
    )


def _refusal(refused: Refused) -> Denied:
    return Denied(
        StatusCode.FAILED_PRECONDITION,
        refused.why.name,
        line(str(refused)),
        remedy="send the manifest that the order was made from"
        if refused.why.name.startswith("MANIFEST")
        else None,
    )
