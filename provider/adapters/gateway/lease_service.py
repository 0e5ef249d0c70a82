"""``LeaseService``: a tenant's way to its lease.

Owns: what each call takes, and whom it is handed to. Beside it, by subject: ``entrance``, ``lease_views``,
``log_stream``, ``event_stream``, ``exec_stream``, ``copy_stream``.
Does not own: whether a manifest or a restart is taken (the core), what runs (the engine), who may call
(``doorman``).
Invariant: nothing is read from or done to a lease before ``Entrance.admitted`` has returned.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc.aio
from grpc import StatusCode

from provider.adapters.gateway import copy_stream, event_stream, status_stream
from provider.adapters.gateway.doorman import Doorman
from provider.adapters.gateway.entrance import Entrance
from provider.adapters.gateway.exec_stream import bridge
from provider.adapters.gateway.lease_views import Look, lease_status_to_pb
from provider.adapters.gateway.log_stream import LogReader
from provider.adapters.gateway.screening import Screener
from provider.adapters.gateway.settings import GatewaySettings
from provider.adapters.gateway.slots import Slots
from provider.adapters.gateway.streams import until_closing
from provider.core.events import ManifestArrived, MigrationRequested, RestartRequested
from provider.core.state import Lease
from provider.core.step import Step
from provider.domain.errors import PeerError, ProviderError
from provider.domain.ids import LeaseId
from provider.domain.market import Refused
from provider.domain.usage import LeaseUsage
from provider.domain.workload import Pull, Workload
from provider.ports import Clock, ExecRequest, Journal, LiveAgent, LogRequest, Runtime
from provider.rpc.codec import dependency_from_pb, lease_id_from_pb
from provider.rpc.fields import at_least, each, line, present, text, word
from provider.rpc.settings import DEADLINE_S, MANIFEST_BYTES
from provider.rpc.status import Denied
from provider.rpc.tokens import Scope
from provider.rpc.v1 import lease_pb2 as pb
from provider.rpc.v1.lease_pb2_grpc import LeaseServiceServicer
from provider.sdl import hash_of_json, manifest_from_json

_Context = grpc.aio.ServicerContext[Any, Any]
_First = TypeVar("_First", pb.ExecRequest, pb.CopyInRequest)
_LINES_MOST = 1_000_000
"""Of a log's tail: a number that is surely a mistake above."""
LOOK_S = 3.0
"""For a status: an engine that takes longer is said to be silent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseWorld:
    """What the service looks at and acts on."""

    agent: LiveAgent
    runtime: Runtime
    clock: Clock
    journal: Journal
    pulls: Callable[[LeaseId], tuple[Pull, ...]] = lambda _: ()
    """Those under way."""
    usage: Callable[[LeaseId], LeaseUsage | None] = lambda _: None
    """What a lease uses, as last sampled."""


class LeaseGateway(LeaseServiceServicer):
    def __init__(self, settings: GatewaySettings, world: LeaseWorld, doorman: Doorman) -> None:
        self._settings = settings
        self._world = world
        self._entrance = Entrance(world.agent, world.journal, world.clock, doorman)
        self._doorman = doorman
        self._screener = Screener(settings, lambda: world.agent.state, world.clock, doorman.market)
        self.slots = Slots(in_all=settings.streams_most, per_lease=settings.streams_per_lease)

    async def SendManifest(  # noqa: N802
        self, request: pb.SendManifestRequest, context: _Context
    ) -> pb.SendManifestResponse:
        lease = self._entrance.admitted(request, context, Scope.MANIFEST)
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
        _agreed(await self._world.agent.submit(event))
        return pb.SendManifestResponse()

    async def GetLeaseStatus(  # noqa: N802
        self, request: pb.GetLeaseStatusRequest, context: _Context
    ) -> pb.GetLeaseStatusResponse:
        return await self._status(
            self._entrance.lease(self._entrance.admitted(request, context, Scope.STATUS))
        )

    async def StreamLeaseStatus(  # type: ignore[override]  # noqa: N802
        self, request: pb.StreamLeaseStatusRequest, context: _Context
    ) -> None:
        lease = self._entrance.lease(self._entrance.admitted(request, context, Scope.STATUS)).id
        every_s = status_stream.interval_s(request.interval_ms)

        async def make() -> pb.StreamLeaseStatusResponse | None:
            known = self._entrance.find(lease)
            return pb.StreamLeaseStatusResponse(status=await self._status(known)) if known else None

        with self.slots.take(lease):
            sending = status_stream.send(make, lambda: self._entrance.find(lease), every_s, context)
            await until_closing(sending, self.slots.closing)

    async def _status(self, lease: Lease) -> pb.GetLeaseStatusResponse:
        looked, workload = await self._look(lease.id)
        look = Look(
            at=self._world.clock.now(),
            host=self._settings.host,
            is_answered=looked,
            workload=workload,
            pulls=self._world.pulls(lease.id),
            usage=self._world.usage(lease.id),
        )
        return lease_status_to_pb(lease, self._world.agent.state, look)

    async def _look(self, lease: LeaseId) -> tuple[bool, Workload | None]:
        """What the engine has of it; False where the engine does not answer."""
        try:
            async with asyncio.timeout(LOOK_S):
                return True, await self._world.runtime.look(lease)
        except (ProviderError, TimeoutError):
            return False, None

    async def StreamLogs(self, request: pb.StreamLogsRequest, context: _Context) -> None:  # type: ignore[override]  # noqa: N802
        lease = self._entrance.recent(self._entrance.admitted(request, context, Scope.LOGS))
        tail = min(at_least(request.tail, -1, "tail"), _LINES_MOST)
        wanted = LogRequest(
            service=text(request.service, "service") or None,
            replica=at_least(request.replica, 0, "replica") if request.HasField("replica") else None,
            follow=request.follow,
            tail=None if tail == -1 else tail,
            since_ns=at_least(request.since_ns, 0, "since_ns"),
        )
        reader = LogReader(self._world.runtime, self._world.clock, lambda: self._entrance.find(lease))
        with self.slots.take(lease):
            await reader.stream(lease, wanted, context, self.slots.closing)

    async def StreamEvents(self, request: pb.StreamEventsRequest, context: _Context) -> None:  # type: ignore[override]  # noqa: N802
        lease = self._entrance.recent(self._entrance.admitted(request, context, Scope.STATUS))
        after = at_least(request.after_number, 0, "after_number")
        journal = self._world.journal
        if not request.follow:
            await event_stream.send_all(journal, lease, after, context)
            return
        with self.slots.take(lease):
            await event_stream.send_ever(journal, lease, after, context, self.slots.closing)

    async def Exec(self, request_iterator: AsyncIterator[pb.ExecRequest], context: _Context) -> None:  # type: ignore[override]  # noqa: N802
        start = (await _first(request_iterator, pb.ExecRequest)).start
        lease = self._entrance.lease(self._entrance.admitted(start, context, Scope.EXEC)).id
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
            session = await self._world.runtime.exec(lease, wanted)
            await bridge(session, request_iterator, context, self.slots.closing)

    async def CopyIn(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.CopyInRequest], context: _Context
    ) -> pb.CopyInResponse:
        start = (await _first(request_iterator, pb.CopyInRequest)).start
        lease = self._entrance.lease(self._entrance.admitted(start, context, Scope.FILES)).id
        place = copy_stream.place_of(start, "start.")
        archive = copy_stream.archive_of(request_iterator)
        with self.slots.take(lease):
            return pb.CopyInResponse(bytes=await self._world.runtime.copy_in(lease, place, archive))

    async def CopyOut(self, request: pb.CopyOutRequest, context: _Context) -> None:  # type: ignore[override]  # noqa: N802
        lease = self._entrance.lease(self._entrance.admitted(request, context, Scope.FILES)).id
        place = copy_stream.place_of(request, "")
        with self.slots.take(lease):
            await copy_stream.send_out(self._world.runtime, lease, place, context, self.slots.closing)

    async def RestartService(  # noqa: N802
        self, request: pb.RestartServiceRequest, context: _Context
    ) -> pb.RestartServiceResponse:
        lease = self._entrance.admitted(request, context, Scope.RESTART)
        event = RestartRequested(lease=lease, service=word(request.service, "service"))
        _agreed(await self._world.agent.submit(event))
        return pb.RestartServiceResponse()

    async def MigrateHostnames(  # noqa: N802
        self, request: pb.MigrateHostnamesRequest, context: _Context
    ) -> pb.MigrateHostnamesResponse:
        lease = self._entrance.admitted(request, context, Scope.MANIFEST)
        told = lease_id_from_pb(request.source, present(request, "source", "MigrateHostnamesRequest"))
        source = self._entrance.named(told)
        names = tuple(name.lower() for name in each(request.hostnames, word, "hostnames"))
        event = MigrationRequested(lease=lease, source=source, hostnames=names)
        _agreed(await self._world.agent.submit(event))
        return pb.MigrateHostnamesResponse()

    async def ScreenBid(self, request: pb.ScreenBidRequest, context: _Context) -> pb.ScreenBidResponse:  # noqa: N802
        guest = self._doorman.guest(context)
        name = guest.name or guest.role
        return self._screener.answer(request, guest=name, owner=name)


async def _first(requests: AsyncIterator[_First], kind: type[_First]) -> _First:
    """The first message of a stream, which must start it."""
    async with asyncio.timeout(DEADLINE_S):  # a stream that never starts holds no slot for long
        first = await anext(aiter(requests), None)
    if first is None or not first.HasField("start"):
        raise PeerError(f"start: the first {kind.__name__} must have one")
    return first


def _agreed(step: Step) -> None:
    """``Denied`` where the core refused."""
    if step.refused is not None:
        raise _refusal(step.refused)


def _refusal(refused: Refused) -> Denied:
    return Denied(
        StatusCode.FAILED_PRECONDITION,
        refused.why.name,
        line(str(refused)),
        remedy="send the manifest that the order was made from"
        if refused.why.name.startswith("MANIFEST")
        else None,
    )
