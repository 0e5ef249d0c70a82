"""What ends a tunnel and what bounds it: over real gRPC, with ends that stall, die and are too many."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from pathlib import Path

import grpc.aio
import pytest

from provider import ports
from provider.app.lease_client import LeaseCalls
from provider.coordinator.tunnels import TunnelLimits
from provider.domain.errors import Temporary
from provider.rpc.settings import TUNNEL_PIECE_BYTES
from provider.rpc.v1.lease_pb2 import ExecRequest
from provider.sim.waiting import until
from tests.coordinators import Tenant, coordinator
from tests.integration.gateway.world import OpenExec
from tests.integration.tunnel.world import World, run

MIB = 1024 * 1024


def start(calls: LeaseCalls) -> ExecRequest:
    return calls.start(ports.ExecRequest(service="web", argv=("cat",)))


async def stands_still(count: Callable[[], int]) -> int:
    """The count, once it has not moved for half a second."""
    last, same = count(), 0
    while same < 25:
        await asyncio.sleep(0.02)
        same = same + 1 if count() == last else 0
        last = count()
    return last


async def started(world: World) -> OpenExec:
    await until(lambda: bool(world.engine.execs))
    return world.engine.execs[0]


def test_output_that_nobody_reads_stops_the_command_and_hurts_nobody_else(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.engine.floods = True
        async with world.calls() as slow, slow.exec() as call:
            await call.write(start(slow))
            stuck = await started(world)
            produced = await stands_still(lambda: stuck.produced)
            # The windows of four streams and the sockets between them, and nothing that grows.
            assert produced * 32_768 < 40 * MIB
            assert world.market.tunnels.held_bytes <= 2 * TUNNEL_PIECE_BYTES
            async with world.calls() as other:
                assert (await other.status()).detail == "as ordered"
            for _ in range(produced):
                await call.read()
            assert stuck.produced > produced

    run(tmp_path, scenario)


def test_a_tenant_that_goes_ends_what_it_started_though_its_output_is_stuck(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.engine.floods = True
        async with world.calls() as calls, calls.exec() as call:
            await call.write(start(calls))
            stuck = await started(world)
            await stands_still(lambda: stuck.produced)
        await until(lambda: stuck.is_left and len(world.link.tunnels) == 0)
        assert len(world.market.tunnels) == 0

    run(tmp_path, scenario)


def test_a_provider_that_is_cut_off_is_noticed_and_the_next_call_has_a_tunnel_of_its_own(
    tmp_path: Path,
) -> None:
    async def scenario(world: World) -> None:
        async with world.calls() as calls:
            async with calls.exec() as call:
                await call.write(start(calls))
                cut = await started(world)
                world.proxy.cut()
                with pytest.raises(grpc.aio.AioRpcError):
                    await call.read()
            await until(lambda: cut.is_left and len(world.market.tunnels) == 0)
            async with world.calls() as again:
                assert (await again.status()).detail == "as ordered"
            await _works_again(calls)

    run(tmp_path, scenario)


async def _works_again(calls: LeaseCalls) -> None:
    """The same calls dial anew, as soon as gRPC's own pause is over."""

    async def asked() -> None:
        while True:
            try:
                assert (await calls.status()).detail == "as ordered"
            except Temporary:
                await asyncio.sleep(0.05)
            else:
                return

    async with asyncio.timeout(10):
        await asked()


def test_a_provider_that_is_away_is_said_to_be(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.proxy.close()
        with pytest.raises(Temporary, match="the provider north is not connected to the market"):
            async with world.calls():
                pass

    run(tmp_path, scenario, tunnels=TunnelLimits(answer_s=0.5))


def test_a_provider_that_comes_back_while_somebody_waits_is_asked_then(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.proxy.close()

        async def ask() -> None:
            async with world.calls() as calls:
                assert (await calls.status()).detail == "as ordered"

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(ask())
            await until(lambda: len(world.market.tunnels) == 1)
            world.proxy.open()

    run(tmp_path, scenario)


def test_past_the_limit_it_is_said_how_many_there_are(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        async with world.calls() as first, world.calls() as second, world.calls() as third:
            with pytest.raises(Temporary, match="alice has 3 tunnels open, and may have 3"):
                async with world.calls():
                    pass
            for calls in (first, second, third):
                assert (await calls.status()).detail == "as ordered"
        await until(lambda: len(world.market.tunnels) == 0)
        async with world.calls() as again:
            assert (await again.status()).detail == "as ordered"

    run(tmp_path, scenario, tunnels=TunnelLimits(per_tenant=3))


def test_many_at_once_carry_each_their_own(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        async def one() -> None:
            sent = secrets.token_bytes(300_000)
            async with world.calls() as calls:
                assert await world.echoed(calls, sent) == sent

        async with asyncio.TaskGroup() as tasks:
            for _ in range(16):
                tasks.create_task(one())

    run(tmp_path, scenario)


def test_a_tunnel_ends_with_its_lease(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        async with Tenant(world.alice) as tenant, world.calls() as calls:
            async with calls.exec() as call:
                await call.write(start(calls))
                session = await started(world)
                await tenant.close(world.lease.dseq)
                assert not session.is_left  # why it ended is worth a look
                await world.settle()
                with pytest.raises(grpc.aio.AioRpcError):
                    await call.read()
            await until(lambda: session.is_left)
            with pytest.raises(Temporary, match="is closed"):
                await calls.status()

    run(tmp_path, scenario)


def test_a_coordinator_that_restarts_ends_tunnels_in_order_and_opens_them_again(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        port = world.market.port
        async with world.calls() as calls:

            async def cut_off() -> None:
                async with calls.exec() as call:
                    await call.write(start(calls))
                    await started(world)
                    await world.stop_market()
                    await call.read()

            with pytest.raises(Temporary, match="the coordinator is stopping"):
                await cut_off()
            await until(lambda: world.engine.execs[0].is_left)
            with pytest.raises(Temporary, match="the coordinator: nothing listens there"):
                await calls.status()
            async with coordinator(tmp_path / "market", listen=f"127.0.0.1:{port}"):
                await _works_again(calls)

    run(tmp_path, scenario)


def test_a_tunnel_through_which_nothing_passes_ends(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        async with world.calls() as calls, calls.exec() as call:
            await call.write(start(calls))
            await started(world)
            with pytest.raises(grpc.aio.AioRpcError):
                await call.read()
            assert len(world.market.tunnels) == 0

    run(tmp_path, scenario, tunnels=TunnelLimits(idle_s=0.3))
