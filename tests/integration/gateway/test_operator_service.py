"""The operator's socket: what it shows, who may open it, and that one daemon does not take another's."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from grpc_reflection.v1alpha import (  # type: ignore[import-untyped]
    reflection_pb2,
    reflection_pb2_grpc,
)

from provider.adapters.clock import SystemClock
from provider.adapters.gateway import OperatorGateway, OperatorServer, OperatorWorld
from provider.adapters.gateway.operator_service import OperatedMarket
from provider.app.market_client import Daemon
from provider.core.events import DrainSet, OperatorCloses
from provider.core.policy import Policy
from provider.core.state import AgentState, Market
from provider.domain.errors import ConfigError
from provider.domain.ids import HOME, NodeName
from provider.domain.market import Placement, Refusal, Refused, UnitPlacement
from provider.domain.moment import Instant
from provider.domain.node import HostCapacity, Node
from provider.domain.resources import GIB
from provider.domain.workload import GpuAttachment, RuntimeCapabilities
from provider.ports import Reloaded
from provider.rpc.calls import cancelled_after, unary
from provider.rpc.codec import lease_id_to_pb
from provider.rpc.identity import LiveIdentity
from provider.rpc.member import Role
from provider.rpc.settings import unix_channel
from provider.rpc.status import Denied
from provider.rpc.v1 import operator_pb2 as pb
from provider.rpc.v1.operator_pb2_grpc import OperatorServiceStub
from provider.sim.authority import ThrowawayAuthority
from provider.sim.gpu import SimulatedGpus, SimulatedProbe
from provider.sim.ledger import MemoryLedger
from tests.integration.gateway.world import CLOCK, LEASE, PROVIDER, USAGE, StillAgent, lease


@asynccontextmanager
async def gateway() -> AsyncIterator[OperatorGateway]:
    """Of a provider with two simulated GPUs, the second of which is leased."""
    probe = SimulatedProbe([SimulatedGpus(model="h100", count=2)], SystemClock(), seed="node-1")
    async with probe:
        inventory = await probe.discover()
        held = (UnitPlacement(resources_id=1, replica=0, gpus=(inventory.gpus[1].uuid,)),)
        mine = replace(lease(), placement=Placement(node=NodeName("n1"), replicas=held))
        capacity = HostCapacity(cpu_millis=8000, memory_bytes=64 * GIB, storage_bytes=500 * GIB, boot_id="b")
        state = AgentState(
            policy=Policy(provider=PROVIDER),
            leases={LEASE: mine},
            nodes=(Node(name=NodeName("n1"), capacity=capacity, inventory=inventory),),
            runtime=RuntimeCapabilities(engine="docker 26.1.5", gpu_attachment=GpuAttachment.CDI),
            markets={HOME: Market(problem="coordinator: nothing listens there")},
        )
        identity = ThrowawayAuthority("sim").member(Role.PROVIDER, PROVIDER, at=CLOCK.now())
        world = OperatorWorld(
            agent=StillAgent(state),
            probe=probe,
            clock=CLOCK,
            markets=(OperatedMarket(id=HOME, identity=LiveIdentity(identity)),),
            started_at=Instant(5),
            software="0.1.0",
            ledger=MemoryLedger(),
            exposition=exposition,
            usage={LEASE: USAGE}.get,
            usage_problem=lambda: "containers are out of sight",
            reload=reload,
        )
        yield OperatorGateway(world)


def exposition() -> bytes:
    return "provider_tasks 7.0 \u00e9\n".encode()


async def reload() -> Reloaded:
    return Reloaded(changes=("pricing.ip_hour: 0 -> 1",), waits=("log_level: info -> debug",))


def run(scenario: Callable[[OperatorGateway], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(20), gateway() as made:
            await scenario(made)

    asyncio.run(main())


def test_the_operator_sees_everything_at_once(tmp_path: Path) -> None:
    async def scenario(made: OperatorGateway) -> None:
        path = tmp_path / "run" / "provider.sock"
        async with OperatorServer(path, made), unix_channel(path) as channel:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            seen = await unary(OperatorServiceStub(channel).GetStatus(pb.GetStatusRequest(), timeout=5))
        assert (seen.provider, seen.market, seen.connected) == (PROVIDER, "sim", False)
        assert seen.link_problem == "coordinator: nothing listens there"
        assert (seen.engine, seen.gpu_attachment) == ("docker 26.1.5", "cdi")
        assert seen.leases[0].key == LEASE.key
        node = seen.nodes[0]
        assert (node.cpu_millis, node.cpu_millis_free) == (8000, 7000)
        assert [gpu.model for gpu in node.gpus] == ["h100", "h100"]
        assert not node.gpus[0].HasField("lease")
        assert node.gpus[1].lease == lease_id_to_pb(LEASE)
        assert node.simulated_gpus

    run(scenario)


def test_a_lease_is_closed_after_a_notice_in_one_line(tmp_path: Path) -> None:
    async def scenario(made: OperatorGateway) -> None:
        agent, path = agent_of(made), tmp_path / "provider.sock"
        async with OperatorServer(path, made), unix_channel(path) as channel:
            stub = OperatorServiceStub(channel)
            request = pb.CloseLeaseRequest(
                lease=lease_id_to_pb(LEASE), notice_ms=600_000, why="a disk\nis  failing"
            )
            before = CLOCK.now()
            ends = (await unary(stub.CloseLease(request))).ends_ms
            assert before + 600_000 <= ends <= CLOCK.now() + 600_000
            assert agent.events == [
                OperatorCloses(lease=LEASE, ends_at=Instant(ends), why="a disk is failing")
            ]
            agent.refused = Refused(why=Refusal.LEASE_UNKNOWN)
            with pytest.raises(Denied, match="there is no lease") as denied:
                await unary(stub.CloseLease(request))
            assert denied.value.remedy == "list them with `provider leases`"
            agent.refused = Refused(why=Refusal.NOTICE_TOO_SHORT, required="2h", available="10m")
            with pytest.raises(Denied, match="was promised 2h of notice") as denied:
                await unary(stub.CloseLease(request))
            assert denied.value.remedy == "provider close --notice 2h; --force breaks the promise"
            for notice_ms in (-1, 31 * 24 * 3_600_000):
                wrong = pb.CloseLeaseRequest(lease=lease_id_to_pb(LEASE), notice_ms=notice_ms)
                with pytest.raises(Denied, match="notice_ms: is"):
                    await unary(stub.CloseLease(wrong))
            assert len(agent.events) == 3

    run(scenario)


def test_a_reload_says_what_is_different(tmp_path: Path) -> None:
    async def scenario(made: OperatorGateway) -> None:
        path = tmp_path / "provider.sock"
        async with OperatorServer(path, made), unix_channel(path) as channel:
            said = await unary(OperatorServiceStub(channel).Reload(pb.ReloadRequest(), timeout=5))
        assert (list(said.changes), list(said.waits), said.problem) == (
            ["pricing.ip_hour: 0 -> 1"],
            ["log_level: info -> debug"],
            "",
        )

    run(scenario)


def test_draining_is_asked_for_and_shown(tmp_path: Path) -> None:
    async def scenario(made: OperatorGateway) -> None:
        agent, path = agent_of(made), tmp_path / "provider.sock"
        async with OperatorServer(path, made), unix_channel(path) as channel:
            stub = OperatorServiceStub(channel)
            assert (await unary(stub.SetDrain(pb.SetDrainRequest(drain=True)))).leases == 1
            await unary(stub.SetDrain(pb.SetDrainRequest()))
            assert agent.events == [DrainSet(is_draining=True), DrainSet(is_draining=False)]
            assert not (await unary(stub.GetStatus(pb.GetStatusRequest()))).draining
            agent.state = replace(agent.state, is_draining=True)
            assert (await unary(stub.GetStatus(pb.GetStatusRequest()))).draining

    run(scenario)


def agent_of(made: OperatorGateway) -> StillAgent:
    agent = made._world.agent
    assert isinstance(agent, StillAgent)
    return agent


def test_metrics_are_those_of_a_scrape(tmp_path: Path) -> None:
    async def scenario(made: OperatorGateway) -> None:
        path = tmp_path / "provider.sock"
        async with OperatorServer(path, made), Daemon(path) as daemon:
            assert await daemon.metrics() == exposition()

    run(scenario)


def test_a_call_without_a_deadline_is_answered_here(tmp_path: Path) -> None:
    async def scenario(made: OperatorGateway) -> None:
        path = tmp_path / "provider.sock"
        async with OperatorServer(path, made), unix_channel(path) as channel:
            seen = await unary(OperatorServiceStub(channel).GetStatus(pb.GetStatusRequest()))
        assert seen.provider == PROVIDER

    run(scenario)


def test_the_services_can_be_listed(tmp_path: Path) -> None:
    async def scenario(made: OperatorGateway) -> None:
        path = tmp_path / "provider.sock"
        async with OperatorServer(path, made), unix_channel(path) as channel:
            call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
            async with cancelled_after(call):
                await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
                answer = await call.read()
        names = {service.name for service in answer.list_services_response.service}
        assert "provider.rpc.v1.OperatorService" in names

    run(scenario)


def test_a_second_daemon_does_not_take_the_socket(tmp_path: Path) -> None:
    async def scenario(made: OperatorGateway) -> None:
        path = tmp_path / "provider.sock"
        async with OperatorServer(path, made):
            with pytest.raises(ConfigError, match="another daemon listens at") as busy:
                await OperatorServer(path, made).__aenter__()
            assert busy.value.remedy is not None
        with pytest.raises(ConfigError, match="nothing listens at"):
            unix_channel(path)

    run(scenario)


def test_what_a_dead_daemon_left_is_replaced(tmp_path: Path) -> None:
    async def scenario(made: OperatorGateway) -> None:
        path = tmp_path / "provider.sock"
        dead = await asyncio.start_unix_server(lambda _reader, writer: writer.close(), path)
        dead.close()
        await dead.wait_closed()
        async with OperatorServer(path, made), unix_channel(path) as channel:
            seen = await unary(OperatorServiceStub(channel).GetStatus(pb.GetStatusRequest(), timeout=5))
        assert seen.provider == PROVIDER

    run(scenario)
