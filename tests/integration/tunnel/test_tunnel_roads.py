"""A provider that cannot be dialled is as good as one that can: everything works, end to end, unread."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path

import pytest

from provider.adapters.clock import SystemClock
from provider.app.market_client import Market
from provider.coordinator.authority import Authority
from provider.coordinator.server import RunningCoordinator
from provider.core.events import ManifestArrived
from provider.domain.errors import Temporary
from provider.ports import LogRequest
from provider.rpc.identity import Identity
from provider.rpc.member import Role
from provider.rpc.status import Denied
from provider.sim.waiting import until
from tests.coordinators import join
from tests.integration.gateway.world import MANIFEST_JSON
from tests.integration.tunnel.world import SCOPES, World, run

MIB = 1024 * 1024


def test_manifest_status_logs_and_a_command_go_through_a_tunnel(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        sent = os.urandom(5 * MIB)
        async with world.calls() as calls:
            assert (await calls.status()).detail == "as ordered"
            await calls.send_manifest(MANIFEST_JSON, ())
            assert isinstance(world.agent.events[-1], ManifestArrived)
            lines = [batch.text async for batch in calls.logs(LogRequest())]
            assert b"\n".join(lines) == b"one\ntwo\nthree"
            got = await world.echoed(calls, sent)
            assert (len(got), sha256(got).hexdigest()) == (len(sent), sha256(sent).hexdigest())
            assert len(world.market.tunnels) == 1
        assert world.roads == ["the provider north: through the coordinator"]
        await until(lambda: len(world.market.tunnels) == len(world.link.tunnels) == 0)

    run(tmp_path, scenario)


def test_roads_that_open_together_leave_the_process_as_it_was(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        both_open = asyncio.Barrier(16)

        async def one() -> None:
            async with world.calls() as calls:
                assert (await calls.status()).detail == "as ordered"
                await both_open.wait()

        async with asyncio.TaskGroup() as group:
            for _ in range(16):  # as many as one tenant may have
                group.create_task(one())
        made = tmp_path / "made"
        made.mkdir()
        assert made.stat().st_mode & 0o777 == 0o777 & ~mask, "the umask is the whole process's"

    mask = os.umask(0o022)
    os.umask(mask)
    run(tmp_path, scenario)


def test_a_provider_that_can_be_dialled_is(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        address = f"127.0.0.1:{world.server.port}"
        async with world.calls(address) as calls:
            assert (await calls.status()).detail == "as ordered"
            assert len(world.market.tunnels) == 0
        assert world.roads == [f"the provider north: straight to {address}"]

    run(tmp_path, scenario)


def test_an_address_where_nobody_or_somebody_else_listens_means_a_tunnel(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        for address in ("127.0.0.1:1", world.market.address, "no.such.host.invalid:8443"):
            async with world.calls(address) as calls:
                assert (await calls.status()).detail == "as ordered"
        assert set(world.roads) == {"the provider north: through the coordinator"}

    run(tmp_path, scenario)


async def _south(market: RunningCoordinator) -> Identity:
    return await join(market, Role.PROVIDER, "south")


async def _the_coordinator(market: RunningCoordinator) -> Identity:
    now = SystemClock().now()
    return Authority.open(market.settings.state, market.market, now, is_new=False).own_identity(now)


@pytest.mark.parametrize("somebody", [_south, _the_coordinator])
def test_whoever_puts_himself_in_between_is_not_spoken_to(
    tmp_path: Path, somebody: Callable[[RunningCoordinator], Awaitable[Identity]]
) -> None:
    async def scenario(world: World) -> None:
        async with world.calls() as calls:
            with pytest.raises(Temporary, match="north"):
                await calls.send_manifest(MANIFEST_JSON, ())
        assert world.agent.events == []

    run(tmp_path, scenario, served_as=somebody)


def test_nobody_dials_a_lease_of_somebody_else(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        bob = await join(world.market, Role.TENANT, "bob")
        async with Market(bob) as market, Market(world.alice) as hers:
            token = await hers.lease_token(world.lease, SCOPES)
            with pytest.raises(Denied) as refused:
                async with market.lease(world.lease, "", token):
                    pass
        assert refused.value.reason == "LEASE_UNKNOWN"
        assert len(world.market.tunnels) == 0

    run(tmp_path, scenario)
