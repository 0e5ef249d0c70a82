"""What leases use, and statuses again and again: to the operator, and to each lease's own tenant."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from provider.adapters.gateway import GatewaySettings, OperatorGateway, OperatorServer
from provider.adapters.gateway.operator_service import WATCHERS_MOST
from provider.core.lease import Phase
from provider.domain.errors import Temporary
from provider.domain.ids import LeaseId, Owner
from provider.rpc.calls import cancelled_after, unary
from provider.rpc.codec import lease_id_to_pb
from provider.rpc.settings import unix_channel
from provider.rpc.status import Denied
from provider.rpc.v1 import lease_pb2, operator_pb2, usage_pb2
from provider.rpc.v1.operator_pb2_grpc import OperatorServiceStub
from provider.sim.waiting import until
from tests.integration.gateway.test_operator_service import agent_of
from tests.integration.gateway.test_operator_service import run as run_operator
from tests.integration.gateway.world import LEASE, World, bearer, lease, run, status
from tests.launches import eventually

LONGEST_MS = 60_000
"""So that what comes sooner comes because something changed."""


def stream(stub: Any, world: World, interval_ms: int = 500, **token: Any) -> Any:
    request = lease_pb2.StreamLeaseStatusRequest(lease=lease_id_to_pb(LEASE), interval_ms=interval_ms)
    return cancelled_after(stub.StreamLeaseStatus(request, metadata=bearer(world.token(**token))))


def check_usage(usage: usage_pb2.LeaseUsage) -> None:
    (card,), (service,) = usage.gpus, usage.services
    assert (usage.at_ms, usage.disk_bytes) == (9, 4096)
    assert (card.uuid, card.busy_s, card.energy_joules, card.energy_estimated) == ("GPU-1", 1.5, 30, True)
    assert (service.service, service.cpu_s, service.oom_kills, service.restarts) == ("web", 2.5, 0, 2)
    assert service.HasField("oom_kills"), "none is something that was told"
    assert not card.HasField("power_watts")
    assert not service.HasField("received_bytes")
    assert not service.HasField("cpu_throttled_s")


def test_a_tenant_sees_what_its_lease_uses() -> None:
    async def scenario(world: World) -> None:
        async with world.stub() as stub:
            check_usage((await status(stub, world.token())).usage)
            world.usages.clear()
            assert not (await status(stub, world.token())).HasField("usage")

    run(scenario)


def test_another_leases_token_opens_nothing() -> None:
    """That no token, or one for everything but this, does not either: ``test_lease_admission``."""

    async def scenario(world: World) -> None:
        other = LeaseId(owner=Owner("alice"), dseq=9, gseq=1, oseq=1, provider=LEASE.provider)
        async with world.stub() as stub:
            with pytest.raises(Denied, match="the lease token is refused"):
                async with stream(stub, world, lease=other) as call:
                    await anext(aiter(call))

    run(scenario)


def test_a_lease_is_told_of_at_each_interval_and_at_once_when_it_changes() -> None:
    async def scenario(world: World) -> None:
        async with world.stub() as stub:
            async with stream(stub, world, 500) as call:
                told = [(await call.read()).status for _ in range(2)]
                assert [each.detail for each in told] == ["as ordered"] * 2
            async with stream(stub, world, LONGEST_MS) as call:
                await call.read()
                changed = replace(lease(Phase.REPAIRING), detail="it died")
                world.agent.state = replace(world.agent.state, leases={LEASE: changed})
                assert (await call.read()).status.detail == "it died"

    run(scenario)


def test_a_status_stream_ends_with_its_lease() -> None:
    async def scenario(world: World) -> None:
        async with world.stub() as stub, stream(stub, world, LONGEST_MS) as call:
            await call.read()
            world.agent.state = replace(world.agent.state, leases={})
            assert await call.read() is grpc.aio.EOF
            assert await call.code() is grpc.StatusCode.OK

    run(scenario)


@pytest.mark.parametrize("interval_ms", [-1, 1, 499, LONGEST_MS + 1])
def test_an_interval_has_bounds(interval_ms: int) -> None:
    async def scenario(world: World) -> None:
        async with world.stub() as stub:
            with pytest.raises(Denied, match="interval_ms: is"):
                async with stream(stub, world, interval_ms) as call:
                    await anext(aiter(call))

    run(scenario)


def test_streams_of_a_lease_are_bounded_and_given_back() -> None:
    async def scenario(world: World) -> None:
        async with world.stub() as stub:
            async with stream(stub, world) as one:
                await one.read()
                with pytest.raises(Temporary, match="1 streams of this lease"):
                    async with stream(stub, world) as another:
                        await anext(aiter(another))

            async def again() -> bool:
                try:
                    async with stream(stub, world) as call:
                        await anext(aiter(call))
                except Temporary:
                    return False
                return True

            assert await eventually(again, bool)

    run(scenario, GatewaySettings(streams_per_lease=1))


def test_a_stopping_server_ends_a_status_stream_and_says_so() -> None:
    async def scenario(world: World) -> None:
        async with world.stub() as stub, stream(stub, world, LONGEST_MS) as call:
            await call.read()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(world.server.__aexit__())
                with pytest.raises(grpc.aio.AioRpcError, match="the provider is stopping"):
                    await call.read()

    run(scenario)


# --- the operator


def test_the_operator_sees_what_every_lease_uses(tmp_path: Path) -> None:
    async def scenario(made: OperatorGateway) -> None:
        path = tmp_path / "provider.sock"
        async with OperatorServer(path, made), unix_channel(path) as channel:
            seen = await unary(OperatorServiceStub(channel).GetStatus(operator_pb2.GetStatusRequest()))
        check_usage(seen.leases[0].usage)
        assert seen.usage_problem == "containers are out of sight"

    run_operator(scenario)


def test_the_operator_is_told_again_when_something_changed_and_after_the_interval(tmp_path: Path) -> None:
    async def scenario(made: OperatorGateway) -> None:
        agent, path = agent_of(made), tmp_path / "provider.sock"
        async with OperatorServer(path, made), unix_channel(path) as channel:
            stub: Any = OperatorServiceStub(channel)
            request = operator_pb2.StreamStatusRequest(interval_ms=500)
            async with cancelled_after(stub.StreamStatus(request)) as call:
                for _ in range(2):
                    check_usage((await call.read()).status.leases[0].usage)
            request = operator_pb2.StreamStatusRequest(interval_ms=LONGEST_MS)
            async with cancelled_after(stub.StreamStatus(request)) as call:
                assert not (await call.read()).status.draining
                agent.state = replace(agent.state, is_draining=True)
                assert (await call.read()).status.draining

    run_operator(scenario)


def test_watchers_are_bounded_and_commands_go_through_beside_them(tmp_path: Path) -> None:
    async def scenario(made: OperatorGateway) -> None:
        path = tmp_path / "provider.sock"
        async with OperatorServer(path, made), unix_channel(path) as channel:
            stub: Any = OperatorServiceStub(channel)
            calls = [stub.StreamStatus(operator_pb2.StreamStatusRequest()) for _ in range(WATCHERS_MOST)]
            for call in calls:
                await call.read()
            with pytest.raises(grpc.aio.AioRpcError, match="too many streams"):
                await stub.StreamStatus(operator_pb2.StreamStatusRequest()).read()
            assert (await unary(stub.GetStatus(operator_pb2.GetStatusRequest()))).provider
            for call in calls:
                call.cancel()
            await until(lambda: made.slots.taken == 0)

    run_operator(scenario)


def test_a_stopping_daemon_ends_watchers(tmp_path: Path) -> None:
    async def scenario(made: OperatorGateway) -> None:
        path = tmp_path / "provider.sock"
        server = OperatorServer(path, made)
        async with server, unix_channel(path) as channel:
            call = OperatorServiceStub(channel).StreamStatus(
                operator_pb2.StreamStatusRequest(interval_ms=LONGEST_MS)
            )
            await call.read()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(server.__aexit__())
                with pytest.raises(grpc.aio.AioRpcError):
                    await call.read()
            await until(lambda: made.slots.taken == 0)

    run_operator(scenario)


def test_nonsense_is_refused(tmp_path: Path) -> None:
    async def scenario(made: OperatorGateway) -> None:
        path = tmp_path / "provider.sock"
        async with OperatorServer(path, made), unix_channel(path) as channel:
            call = OperatorServiceStub(channel).StreamStatus(operator_pb2.StreamStatusRequest(interval_ms=-1))
            with pytest.raises(grpc.aio.AioRpcError, match="interval_ms"):
                await call.read()

    run_operator(scenario)
