"""One provider in two markets, over real coordinators: everything twice, and each GPU once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from provider.adapters.clock import SystemClock
from provider.app.market_client import Market
from provider.domain.ids import LeaseId
from provider.rpc import identity
from provider.rpc.calls import unary
from provider.rpc.codec import lease_id_to_pb
from provider.rpc.member import Member, Role
from provider.rpc.settings import mtls_channel
from provider.rpc.status import Denied
from provider.rpc.tokens import Scope
from provider.rpc.v1 import lease_pb2, resources_pb2
from provider.rpc.v1.lease_pb2_grpc import LeaseServiceStub
from tests.e2e.world import until
from tests.integration.markets.world import FIRST, NAMES, SECOND, World, running

AT_FIRST, AT_SECOND = "alice/1/1/1/north", "alice@second.example/1/1/1/gpu-7"


@pytest.fixture
def world(short_path: Path) -> Iterator[World]:
    with running(short_path) as made:
        yield made


def runs(world: World, *leases: str) -> bool:
    found = world.leases()
    return set(found) == set(leases) and all(
        each.health == resources_pb2.LEASE_HEALTH_RUNNING for each in found.values()
    )


@pytest.mark.timeout(180)
def test_each_gpu_is_sold_once_and_each_market_gets_its_own(world: World) -> None:
    assert (world.state / "identity.json").exists()
    assert (world.state / "markets" / SECOND / "identity.json").exists()
    for market in (FIRST, SECOND):
        assert world.rent(market) == 1, "the same name in both"
    leases = world.leases()
    assert set(leases) == {AT_FIRST, AT_SECOND}
    held = [uuid for lease in leases.values() for uuid in lease.gpu_uuids]
    assert len(held) == len(set(held)) == 2

    for market in (FIRST, SECOND):  # what runs is the tenant's own, by whichever road
        assert "it runs" in world.tenant(market, "logs", "1").out
        said = world.tenant(market, "exec", "1", "web", "--", "echo", market)
        assert said.out.strip() == market, said.err
        until(lambda market=market: world.billed(market, 1) > 0, f"{market} bills")  # type: ignore[misc]

    refused = asyncio.run(_shown_at(world, LeaseId.parse(AT_SECOND).as_told))
    assert "its key is not one of this market's" in refused

    for market in (FIRST, SECOND):
        assert world.deploy(market) == 2
    third = {"alice/2/1/1", "alice@second.example/2/1/1"}
    until(lambda: third <= set(world.refusals()), "both are refused")
    assert {world.refusals()[order].split(" (")[0] for order in third} == {"gpu busy"}

    printed = world.provider("markets", "--json").json
    assert [(each["market"], each["provider"], each["leases"]) for each in printed] == [
        (FIRST, "north", 1),
        (SECOND, "gpu-7", 1),
    ]
    listed = world.markets()
    assert {name: each.provider for name, each in listed.items()} == NAMES
    assert [(each.leases, each.open_bids) for each in listed.values()] == [(1, 0), (1, 0)]
    assert all(each.earned[0].amount_micros > 0 for each in listed.values())
    assert (bool(listed[FIRST].lease_address), listed[SECOND].lease_address) == (True, "")

    closed = world.tenant(FIRST, "close", "1")
    assert closed.status == 0, closed.err
    bids = world.tenant(FIRST, "bids", "2", "--wait", "20")
    assert bids.status == 0, "the GPU that is free again is offered to whoever waits, in the order they came"
    assert world.markets()[SECOND].open_bids == 0


@pytest.mark.timeout(180)
def test_a_market_that_is_gone_holds_up_no_other_and_all_survive_kill_9(world: World) -> None:
    for market in (FIRST, SECOND):
        world.rent(market)
    world.kill(FIRST)
    world.until_connected(first=False)
    before = world.billed(SECOND, 1)
    until(lambda: world.billed(SECOND, 1) > before, "the other one goes on being told")
    assert "it runs" in world.tenant(SECOND, "logs", "1").out
    assert runs(world, AT_FIRST, AT_SECOND), "blindness is not death"

    world.kill("provider")
    world.start_provider()
    world.until_connected(first=False)
    until(lambda: runs(world, AT_FIRST, AT_SECOND), "both run again")
    world.start_coordinator(FIRST)
    world.until_connected()
    before = world.billed(FIRST, 1)
    until(lambda: world.billed(FIRST, 1) > before, "what ran meanwhile is billed")
    for market in (FIRST, SECOND):
        assert world.tenant(market, "close", "1").status == 0
    until(lambda: world.leases() == {}, "both have ended")


@pytest.mark.timeout(120)
def test_a_market_is_left_when_nothing_is_owed_there(world: World) -> None:
    world.rent(SECOND)
    assert "another provider runs" in world.provider("leave", SECOND).err
    world.kill("provider")
    kept = world.provider("leave", SECOND)
    assert kept.status != 0
    assert "1 lease(s)" in kept.err
    assert "not in the market third" in world.provider("leave", "third").err
    world.start_provider()
    world.until_connected()
    assert world.tenant(SECOND, "close", "1").status == 0
    until(lambda: world.leases() == {}, "it has ended")
    world.kill("provider")
    left = world.provider("leave", SECOND)
    assert left.status == 0, left.err
    assert not (world.state / "markets" / SECOND).exists()
    world.start_provider()
    until(lambda: set(world.markets()) == {FIRST}, "one market is left")


async def _shown_at(world: World, lease: LeaseId) -> str:
    """What the second market's door says to its own alice with the first one's token."""
    now = SystemClock().now()
    first = identity.load(world.home(FIRST), Role.TENANT, at=now)
    second = identity.load(world.home(SECOND), Role.TENANT, at=now)
    async with Market(first) as market:
        token = await market.lease_token(LeaseId.parse(AT_FIRST), (Scope.STATUS,))
    door = f"unix:{world.state / 'markets' / SECOND / 'lease.sock'}"
    expect = Member(role=Role.PROVIDER, market=SECOND, name=NAMES[SECOND])
    request = lease_pb2.GetLeaseStatusRequest(lease=lease_id_to_pb(lease))
    async with mtls_channel(door, second, expect=expect) as channel:
        stub = LeaseServiceStub(channel)
        call = stub.GetLeaseStatus(request, timeout=10, metadata=(("authorization", f"Bearer {token}"),))
        try:
            await unary(call)
        except Denied as denied:
            return str(denied)
    raise AssertionError("it was let in")
