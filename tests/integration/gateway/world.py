"""A provider's LeaseService over real mutual TLS, with an agent and an engine that do as they are told."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Self

from provider.adapters.clock import SystemClock
from provider.adapters.gateway import Doorman, GatewaySettings, LeaseGateway, LeaseServer, LeaseWorld
from provider.core.events import Event
from provider.core.lease import Phase
from provider.core.policy import Policy
from provider.core.state import AgentState, Lease, Revision
from provider.core.step import Step
from provider.domain.errors import Permanent, Temporary
from provider.domain.ids import GpuUuid, LeaseId, NodeName, Owner, ProviderId
from provider.domain.manifest import Expose, Manifest, ManifestGroup, Service
from provider.domain.market import GroupSpec, Placement, Refused
from provider.domain.moment import MINUTE, Instant
from provider.domain.money import Denom, Rate
from provider.domain.resources import GIB, Endpoint, EndpointKind, Resources, ResourceUnit, Volume
from provider.domain.secret import Secret
from provider.domain.usage import GpuUsage, LeaseUsage, ServiceUsage, UsageCounter
from provider.domain.workload import ExecOutput, LogBatch, PortBinding, Pull, Workload
from provider.ports import CopyRequest, ExecRequest, LogRequest
from provider.rpc.calls import unary
from provider.rpc.codec import lease_id_to_pb
from provider.rpc.identity import Identity, LiveIdentity, new_key, public_key_pem
from provider.rpc.member import Member, Role
from provider.rpc.settings import mtls_channel
from provider.rpc.tokens import LeaseToken, Scope, issue, key_id
from provider.rpc.v1 import lease_pb2 as pb
from provider.rpc.v1.lease_pb2_grpc import LeaseServiceStub
from provider.sdl import hash_of_json, manifest_json
from provider.sim.authority import ThrowawayAuthority
from provider.sim.journal import MemoryJournal

CLOCK = SystemClock()
PROVIDER = ProviderId("frankfurt-1")
LEASE = LeaseId(owner=Owner("alice"), dseq=7, gseq=1, oseq=1, provider=PROVIDER)
RATE = Rate(amount=Decimal(1), denom=Denom.UACT)
RESOURCES = Resources(
    id=1,
    cpu_millis=500,
    memory_bytes=GIB,
    storage=(Volume(name="default", size_bytes=GIB),),
    endpoints=(Endpoint(kind=EndpointKind.SHARED_HTTP),),
)
EXPOSE = Expose(port=80, is_global=True)
SERVICE = Service(name="web", image="hello", resources=RESOURCES, count=2, expose=(EXPOSE,))
MANIFEST = Manifest(groups=(ManifestGroup(name="web", services=(SERVICE,)),))
MANIFEST_JSON = manifest_json(MANIFEST)

USAGE = LeaseUsage(
    lease=LEASE,
    at=Instant(9),
    gpus=(GpuUsage(uuid=GpuUuid("GPU-1"), busy_s=1.5, energy_joules=30.0, is_energy_estimated=True),),
    services=(
        ServiceUsage(
            service="web",
            counters={UsageCounter.CPU_US: 2_500_000, UsageCounter.OOM_KILLS: 0},
            memory_bytes=64,
            restarts=2,
        ),
    ),
    disk_bytes=4096,
)


@dataclass
class StillAgent:
    """A ``LiveAgent`` that takes events down and answers as it was told."""

    state: AgentState
    refused: Refused | None = None
    events: list[Event] = field(default_factory=list)

    async def submit(self, event: Event) -> Step:
        self.events.append(event)
        return Step(state=self.state, refused=self.refused)


@dataclass
class OpenExec:
    """An ``ExecSession`` that repeats its input, and knows how it ended."""

    request: ExecRequest
    floods: bool = False
    input: asyncio.Queue[bytes | None] = field(default_factory=lambda: asyncio.Queue(4))
    sizes: list[tuple[int, int]] = field(default_factory=list)
    produced: int = 0
    is_left: bool = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.is_left = True

    async def output(self) -> AsyncIterator[ExecOutput]:
        while self.floods:
            self.produced += 1
            yield ExecOutput(data=b"x" * 32_768)
        while (data := await self.input.get()) is not None:
            yield ExecOutput(data=data)
        yield ExecOutput(data=b"bye", is_stderr=True)
        yield ExecOutput(exit_code=3)

    async def write(self, data: bytes) -> None:
        await self.input.put(data)

    async def close_input(self) -> None:
        await self.input.put(None)

    async def resize(self, rows: int, columns: int) -> None:
        self.sizes.append((rows, columns))


class Engine:
    """As much of ``ports.Runtime`` as the gateway uses."""

    def __init__(self) -> None:
        self.execs: list[OpenExec] = []
        self.floods = False
        self.endless = itertools.repeat("x" * 1000)
        self.requests: list[LogRequest] = []
        self.texts = ["one", "two", "three"]
        self.has_ended = False
        self.is_away = False
        self.workload: Workload | None = None
        self.copied: dict[CopyRequest, bytes] = {}
        self.pieces_made = 0
        self.copies_left = 0
        self.logs_open = 0
        self.lines_made = 0

    async def exec(self, lease: LeaseId, request: ExecRequest) -> OpenExec:
        if request.service != "web":
            raise Permanent(f"{request.service}/{request.replica} of {lease} does not run here")
        self.execs.append(OpenExec(request=request, floods=self.floods))
        return self.execs[-1]

    async def logs(self, lease: LeaseId, request: LogRequest) -> AsyncIterator[LogBatch]:
        self.requests.append(request)
        self.logs_open += 1
        try:
            if request.service not in {None, "web"} or request.replica not in {None, 0}:
                raise Permanent(f"{request.service} of {lease} is not here")
            for number, text in enumerate(self._texts(), 1):
                if number <= request.since_ns:
                    continue
                self.lines_made += 1
                yield LogBatch(
                    service="web", replica=0, is_stderr=number % 2 == 0, at_ns=(number,), text=text.encode()
                )
                if request.follow:
                    await asyncio.sleep(0)
            if request.follow and not self.has_ended:
                await asyncio.Event().wait()
        finally:
            self.logs_open -= 1

    def _texts(self) -> Iterator[str]:
        return self.endless if self.floods else iter(self.texts)

    async def look(self, lease: LeaseId) -> Workload | None:
        if self.is_away:
            raise Temporary("the engine is away")
        return self.workload

    async def copy_in(self, lease: LeaseId, request: CopyRequest, archive: AsyncIterator[bytes]) -> int:
        if request.path == "/nowhere":
            raise Permanent("there is no such file or folder")
        self.copied[request] = b"".join([piece async for piece in archive])
        return len(self.copied[request])

    async def copy_out(self, lease: LeaseId, request: CopyRequest) -> AsyncIterator[bytes]:
        try:
            while request.path == "/endless":
                self.pieces_made += 1
                yield b"x" * 100_000
            yield self.copied[request]
        finally:
            self.copies_left += 1


@dataclass(frozen=True, kw_only=True)
class World:
    authority: ThrowawayAuthority
    server: LeaseServer
    agent: StillAgent
    engine: Engine
    key: Secret
    journal: MemoryJournal
    usages: dict[LeaseId, LeaseUsage]

    def now(self) -> Instant:
        return CLOCK.now()

    def token(self, **changes: Any) -> str:
        now = CLOCK.now()
        token = LeaseToken(
            market="sim",
            lease=LEASE,
            scopes=tuple(Scope),
            issued_at=now,
            expires_at=Instant(now + 10 * MINUTE),
            id="1",
        )
        return issue(replace(token, **changes), self.key, key_id(public_key_pem(self.key)))

    def member(self, role: Role = Role.TENANT, name: str = "alice") -> Identity:
        return self.authority.member(role, name, at=CLOCK.now())

    @asynccontextmanager
    async def stub(self, identity: Identity | None = None) -> AsyncIterator[Any]:
        expect = Member(role=Role.PROVIDER, market="sim", name=PROVIDER)
        address = f"127.0.0.1:{self.server.port}"
        async with mtls_channel(address, identity or self.member(), expect=expect) as channel:
            yield LeaseServiceStub(channel)


def lease(phase: Phase = Phase.RUNNING) -> Lease:
    group = GroupSpec(name="web", units=(ResourceUnit(resources=RESOURCES, count=2, price=RATE),))
    return Lease(
        id=LEASE,
        group=group,
        rate=RATE,
        manifest_hash=hash_of_json(MANIFEST_JSON),
        placement=Placement(node=NodeName("n1"), replicas=()),
        version=1,
        phase=phase,
        due=None,
        current=Revision(
            manifest=MANIFEST,
            manifest_hash=hash_of_json(MANIFEST_JSON),
            ports=(PortBinding(service="web", port=80, host_port=31000, external_port=80),),
        ),
        restarts=1,
        detail="as ordered",
    )


@asynccontextmanager
async def world(settings: GatewaySettings | None = None) -> AsyncIterator[World]:
    authority = ThrowawayAuthority("sim")
    identity = LiveIdentity(authority.member(Role.PROVIDER, PROVIDER, at=CLOCK.now()))
    key = new_key()
    agent = StillAgent(AgentState(policy=Policy(provider=PROVIDER), leases={LEASE: lease()}))
    engine, journal = Engine(), MemoryJournal()
    usages = {LEASE: USAGE}
    settings = settings or GatewaySettings(listen="127.0.0.1:0", host="gpu.example")
    settings = replace(settings, listen="127.0.0.1:0")
    doorman = Doorman(identity.now.member, lambda: (public_key_pem(key),), CLOCK)
    seen = LeaseWorld(
        agent=agent,
        runtime=engine,  # type: ignore[arg-type]
        clock=CLOCK,
        journal=journal,
        pulls=lambda _: (Pull(image="hello", done_bytes=5),),
        usage=usages.get,
    )
    gateway = LeaseGateway(settings, seen, doorman)
    async with asyncio.timeout(20), LeaseServer(settings, identity, gateway) as server:
        yield World(
            authority=authority,
            server=server,
            agent=agent,
            engine=engine,
            key=key,
            journal=journal,
            usages=usages,
        )


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


async def status(stub: Any, token: str | None) -> Any:
    metadata = bearer(token) if token is not None else ()
    request = pb.GetLeaseStatusRequest(lease=lease_id_to_pb(LEASE))
    return await unary(stub.GetLeaseStatus(request, timeout=5, metadata=metadata))


def run(scenario: Callable[[World], Awaitable[None]], settings: GatewaySettings | None = None) -> None:
    async def main() -> None:
        async with world(settings) as made:
            await scenario(made)

    asyncio.run(main())
