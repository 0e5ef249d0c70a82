"""LeaseService over real mutual TLS: who may do what, and what is refused and why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import grpc.aio
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from provider.adapters.gateway import GatewaySettings, LeaseServer
from provider.core.events import ManifestArrived, RestartRequested
from provider.core.lease import Phase
from provider.domain.errors import ConfigError, Temporary
from provider.domain.ids import Owner, ProviderId
from provider.domain.market import Refusal, Refused
from provider.domain.moment import MINUTE, Instant
from provider.domain.workload import Container, ContainerState, Dependency, ExitCause, Workload
from provider.rpc.calls import cancelled_after, unary
from provider.rpc.codec import lease_id_to_pb
from provider.rpc.identity import LiveIdentity
from provider.rpc.member import Member, Role
from provider.rpc.settings import MANIFEST_BYTES, mtls_channel
from provider.rpc.status import Denied
from provider.rpc.tokens import Scope
from provider.rpc.v1 import lease_pb2 as pb
from provider.rpc.v1.resources_pb2 import LeaseId as LeaseIdPb
from provider.sdl import hash_of_json
from provider.sim.authority import ThrowawayAuthority
from tests.integration.gateway.world import (
    CLOCK,
    LEASE,
    MANIFEST,
    MANIFEST_JSON,
    PROVIDER,
    World,
    bearer,
    lease,
    run,
    status,
)


def container(replica: int, **changes: Any) -> Container:
    fields: dict[str, Any] = {
        "service": "web",
        "replica": replica,
        "state": ContainerState.RUNNING,
        "id": "x",
    }
    return Container(**(fields | changes))


def test_a_tenant_with_a_token_sees_its_lease_and_each_replica() -> None:
    async def scenario(world: World) -> None:
        ended = container(1, state=ContainerState.EXITED, exit_code=137, cause=ExitCause.OOM)
        world.engine.workload = Workload(
            lease=LEASE, containers=(container(0, started_at=Instant(7)), replace(ended, is_ready=False))
        )
        async with world.stub() as stub:
            seen = await status(stub, world.token())
        assert seen.host == "gpu.example"
        (web,) = seen.services
        assert (web.name, web.total, web.available, web.restarts) == ("web", 2, 1, 1)
        told = [(each.replica, each.state, each.ready, each.started_ms) for each in web.replicas]
        assert told == [(0, "running", True, 7), (1, "exited", False, 0)]
        assert (web.replicas[1].exit_code, web.replicas[1].detail) == (137, "ended: oom")
        assert not web.replicas[0].HasField("exit_code")
        assert [port.host_port for port in seen.ports] == [31000]
        assert seen.detail == "as ordered"
        assert [(pull.image, pull.done_bytes, pull.total_bytes) for pull in seen.pulls] == [("hello", 5, 0)]

    run(scenario)


def test_what_is_not_ready_and_what_is_not_there_are_told_apart() -> None:
    async def scenario(world: World) -> None:
        world.engine.workload = Workload(lease=LEASE, containers=(container(1, is_ready=False),))
        async with world.stub() as stub:
            (web,) = (await status(stub, world.token())).services
        assert [(each.state, each.ready) for each in web.replicas] == [("absent", False), ("running", False)]
        assert web.replicas[1].detail == "a port that it exposes is not listened on yet"

    run(scenario)


def test_an_engine_that_does_not_answer_leaves_what_the_agent_knows() -> None:
    async def scenario(world: World) -> None:
        world.engine.is_away = True
        async with world.stub() as stub:
            seen = await status(stub, world.token())
        (web,) = seen.services
        assert (web.available, list(web.replicas)) == (2, [])
        assert seen.detail == "as ordered; the provider's container engine does not answer just now"

    run(scenario)


EARLIER = Instant(CLOCK.now() - 20 * MINUTE)


@pytest.mark.parametrize(
    ("changes", "code", "reason"),
    [
        ({"issued_at": EARLIER, "expires_at": Instant(EARLIER + MINUTE)}, "UNAUTHENTICATED", "TOKEN_EXPIRED"),
        ({"market": "other"}, "UNAUTHENTICATED", "TOKEN_ISSUER"),
        ({"lease": replace(LEASE, provider=ProviderId("p2"))}, "UNAUTHENTICATED", "TOKEN_AUDIENCE"),
        ({"lease": replace(LEASE, owner=Owner("mallory"))}, "UNAUTHENTICATED", "TOKEN_SUBJECT"),
        ({"lease": replace(LEASE, dseq=8)}, "PERMISSION_DENIED", "TOKEN_LEASE"),
        ({"scopes": (Scope.LOGS,)}, "PERMISSION_DENIED", "TOKEN_SCOPE"),
    ],
)
def test_a_token_that_does_not_fit_is_refused(changes: dict[str, Any], code: str, reason: str) -> None:
    async def scenario(world: World) -> None:
        async with world.stub() as stub:
            with pytest.raises(Denied) as denied:
                await status(stub, world.token(**changes))
        assert (denied.value.code.name, denied.value.reason) == (code, reason)
        assert denied.value.remedy == "ask the coordinator for a fresh one"

    run(scenario)


OF_NO_LEASE = {"ScreenBid"}
"""Whose guests ``test_screening`` looks at."""
METHODS = [
    method.name
    for method in pb.DESCRIPTOR.services_by_name["LeaseService"].methods
    if method.name not in OF_NO_LEASE
]


def requests_of(lease: LeaseIdPb) -> dict[str, Any]:
    """One of each, that a tenant with every right might send."""
    place: dict[str, Any] = {"lease": lease, "service": "web", "path": "/data"}
    return {
        "SendManifest": pb.SendManifestRequest(lease=lease, manifest_json=MANIFEST_JSON),
        "GetLeaseStatus": pb.GetLeaseStatusRequest(lease=lease),
        "StreamLeaseStatus": pb.StreamLeaseStatusRequest(lease=lease),
        "StreamLogs": pb.StreamLogsRequest(lease=lease),
        "StreamEvents": pb.StreamEventsRequest(lease=lease),
        "Exec": pb.ExecRequest(start=pb.ExecStart(lease=lease, service="web", argv=["sh"])),
        "CopyIn": pb.CopyInRequest(start=pb.CopyInStart(**place)),
        "CopyOut": pb.CopyOutRequest(**place),
        "RestartService": pb.RestartServiceRequest(lease=lease, service="web"),
        "MigrateHostnames": pb.MigrateHostnamesRequest(lease=lease, source=lease, hostnames=["a.example"]),
    }


async def ask(method: Any, request: Any, metadata: Any = ()) -> None:
    """Whatever kind of method it is, up to its first answer."""
    match method:
        case grpc.aio.UnaryUnaryMultiCallable():
            await unary(method(request, timeout=5, metadata=metadata))
        case grpc.aio.UnaryStreamMultiCallable():
            async with cancelled_after(method(request, metadata=metadata)) as stream:
                await stream.read()
        case grpc.aio.StreamUnaryMultiCallable():
            async with cancelled_after(method(metadata=metadata)) as sending:
                await sending.write(request)
                await sending
        case _:
            async with cancelled_after(method(metadata=metadata)) as stream:
                await stream.write(request)
                await stream.read()


@pytest.mark.parametrize("method", METHODS)
def test_no_method_works_without_a_token(method: str) -> None:
    id_ = lease_id_to_pb(LEASE)
    requests = requests_of(id_)

    async def scenario(world: World) -> None:
        async with world.stub() as stub:
            with pytest.raises(Denied) as denied:
                await ask(getattr(stub, method), requests[method])
        assert denied.value.reason == "TOKEN_MISSING"
        assert (world.agent.events, world.engine.execs, world.engine.requests) == ([], [], [])
        assert world.engine.copied == {}

    run(scenario)


NEEDED = {
    "SendManifest": Scope.MANIFEST,
    "MigrateHostnames": Scope.MANIFEST,
    "GetLeaseStatus": Scope.STATUS,
    "StreamLeaseStatus": Scope.STATUS,
    "StreamEvents": Scope.STATUS,
    "StreamLogs": Scope.LOGS,
    "Exec": Scope.EXEC,
    "CopyIn": Scope.FILES,
    "CopyOut": Scope.FILES,
    "RestartService": Scope.RESTART,
}


@pytest.mark.parametrize("method", METHODS)
def test_a_token_for_everything_else_is_not_one_for_this(method: str) -> None:
    others = tuple(scope for scope in Scope if scope is not NEEDED[method])

    async def scenario(world: World) -> None:
        request = requests_of(lease_id_to_pb(LEASE))[method]
        async with world.stub() as stub:
            with pytest.raises(Denied) as denied:
                await ask(getattr(stub, method), request, bearer(world.token(scopes=others)))
        assert denied.value.reason == "TOKEN_SCOPE"
        assert world.agent.events == []

    run(scenario)


def test_a_restart_is_asked_of_the_agent_and_its_refusal_told() -> None:
    async def scenario(world: World) -> None:
        request = pb.RestartServiceRequest(lease=lease_id_to_pb(LEASE), service="web")
        async with world.stub() as stub:
            await unary(stub.RestartService(request, timeout=5, metadata=bearer(world.token())))
            assert world.agent.events == [RestartRequested(lease=LEASE, service="web")]
            world.agent.refused = Refused(why=Refusal.SERVICE_UNKNOWN, required="web")
            with pytest.raises(Denied, match="service unknown"):
                await unary(stub.RestartService(request, timeout=5, metadata=bearer(world.token())))

    run(scenario)


def test_another_role_or_another_market_is_not_let_in() -> None:
    async def scenario(world: World) -> None:
        async with world.stub(world.member(Role.PROVIDER, "alice")) as stub:
            with pytest.raises(Denied) as denied:
                await status(stub, world.token())
        assert denied.value.reason == "WRONG_MEMBER"
        strangers = ThrowawayAuthority("sim")
        stranger = replace(
            strangers.member(Role.TENANT, "alice", at=CLOCK.now()), authority_pem=world.authority.pem
        )
        past = Instant(CLOCK.now() - 2 * MINUTE)
        expired = world.authority.member(Role.TENANT, "alice", at=past, until=Instant(past + MINUTE))
        for identity in (stranger, expired):
            async with world.stub(identity) as stub:
                with pytest.raises(Temporary):  # TLS refuses without a word (measured)
                    await status(stub, world.token())

    run(scenario)


def test_a_manifest_reaches_the_agent_with_the_hash_of_what_came() -> None:
    async def scenario(world: World) -> None:
        request = pb.SendManifestRequest(lease=lease_id_to_pb(LEASE), manifest_json=MANIFEST_JSON)
        async with world.stub() as stub:
            for _ in range(2):
                await unary(stub.SendManifest(request, timeout=5, metadata=bearer(world.token())))
        event = ManifestArrived(lease=LEASE, manifest=MANIFEST, manifest_hash=hash_of_json(MANIFEST_JSON))
        assert world.agent.events == [event, event]

    run(scenario)


def test_who_waits_for_whom_travels_beside_the_manifest() -> None:
    async def scenario(world: World) -> None:
        waits = pb.ServiceDependency(service="web", needs="db")
        request = pb.SendManifestRequest(
            lease=lease_id_to_pb(LEASE), manifest_json=MANIFEST_JSON, dependencies=[waits]
        )
        nameless = pb.SendManifestRequest(
            lease=lease_id_to_pb(LEASE),
            manifest_json=MANIFEST_JSON,
            dependencies=[waits, pb.ServiceDependency(service="web")],
        )
        async with world.stub() as stub:
            await unary(stub.SendManifest(request, timeout=5, metadata=bearer(world.token())))
            with pytest.raises(Denied, match=r"dependencies\[1\].needs: is empty"):
                await unary(stub.SendManifest(nameless, timeout=5, metadata=bearer(world.token())))
        (event,) = world.agent.events
        assert isinstance(event, ManifestArrived)
        assert event.dependencies == (Dependency(service="web", needs="db"),)
        assert event.manifest_hash == hash_of_json(MANIFEST_JSON), "the hash is the manifest's alone"

    run(scenario)


def test_a_tenant_sees_which_manifest_runs_and_when_it_ends() -> None:
    async def scenario(world: World) -> None:
        async with world.stub() as stub:
            seen = await status(stub, world.token())
            assert (seen.manifest_hash.hex(), seen.ends_ms) == (hash_of_json(MANIFEST_JSON), 0)
            # Another one is ordered and has not come yet.
            ordered = replace(lease(), manifest_hash="ab" * 32, ends_at=Instant(5))
            world.agent.state = replace(world.agent.state, leases={LEASE: ordered})
            seen = await status(stub, world.token())
            assert (seen.manifest_hash.hex(), seen.ends_ms) == (hash_of_json(MANIFEST_JSON), 5)
            waiting = replace(lease(Phase.AWARDED), current=None)
            world.agent.state = replace(world.agent.state, leases={LEASE: waiting})
            assert (await status(stub, world.token())).manifest_hash == b""

    run(scenario)


def test_a_manifest_that_is_refused_says_why_by_name() -> None:
    async def scenario(world: World) -> None:
        world.agent.refused = Refused(why=Refusal.MANIFEST_HASH_DIFFERS, required="ab", available="cd")
        request = pb.SendManifestRequest(lease=lease_id_to_pb(LEASE), manifest_json=MANIFEST_JSON)
        async with world.stub() as stub:
            with pytest.raises(
                Denied, match=r"manifest hash differs \(required ab, available cd\)"
            ) as denied:
                await unary(stub.SendManifest(request, timeout=5, metadata=bearer(world.token())))
        assert denied.value.code is StatusCode.FAILED_PRECONDITION
        assert denied.value.reason == "MANIFEST_HASH_DIFFERS"

    run(scenario)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "MALFORMED"),
        (b"[]" * 10, "MALFORMED"),
        (b"[" * 100_000, "MALFORMED"),
        (b" " * (MANIFEST_BYTES + 1), "MANIFEST_TOO_LARGE"),
        (b" " * 600_000, "MESSAGE_TOO_LARGE"),
    ],
)
def test_bytes_that_are_no_manifest_do_not_reach_the_agent(body: bytes, reason: str) -> None:
    async def scenario(world: World) -> None:
        request = pb.SendManifestRequest(lease=lease_id_to_pb(LEASE), manifest_json=body)
        async with world.stub() as stub:
            with pytest.raises(Denied) as denied:
                await unary(stub.SendManifest(request, timeout=5, metadata=bearer(world.token())))
        assert denied.value.reason == reason
        assert world.agent.events == []

    run(scenario)


def test_a_lease_that_is_not_here_is_not_found() -> None:
    async def scenario(world: World) -> None:
        world.agent.state = replace(world.agent.state, leases={})
        async with world.stub() as stub:
            with pytest.raises(Denied) as denied:
                await status(stub, world.token())
        assert (denied.value.code, denied.value.reason) == (StatusCode.NOT_FOUND, "LEASE_UNKNOWN")

    run(scenario)


def test_a_call_without_a_deadline_is_refused() -> None:
    async def scenario(world: World) -> None:
        request = pb.GetLeaseStatusRequest(lease=lease_id_to_pb(LEASE))
        async with world.stub() as stub:
            with pytest.raises(Denied) as denied:
                await unary(stub.GetLeaseStatus(request, metadata=bearer(world.token())))
        assert denied.value.reason == "DEADLINE_REQUIRED"

    run(scenario)


def test_health_is_served_and_a_taken_port_is_an_error_with_a_remedy() -> None:
    async def scenario(world: World) -> None:
        expect = Member(role=Role.PROVIDER, market="sim", name=PROVIDER)
        address = f"127.0.0.1:{world.server.port}"
        async with mtls_channel(address, world.member(), expect=expect) as channel:
            request = health_pb2.HealthCheckRequest(service="provider.rpc.v1.LeaseService")
            seen = await unary(health_pb2_grpc.HealthStub(channel).Check(request, timeout=5))
        assert seen.status == health_pb2.HealthCheckResponse.SERVING
        identity = LiveIdentity(world.member(Role.PROVIDER, PROVIDER))
        settings = GatewaySettings(listen=address)
        again = LeaseServer(settings, identity, world.server._gateway)
        with pytest.raises(ConfigError, match="cannot listen at"):
            await again.__aenter__()

    run(scenario)
