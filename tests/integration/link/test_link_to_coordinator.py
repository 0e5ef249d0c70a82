"""The agent's link at a real coordinator: joining, orders, bids, awards, cuts, restarts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import grpc.aio
import pytest

from provider.adapters.link import GrpcLink
from provider.app.cli.coordinator import main as command
from provider.coordinator.market.draft import RULES
from provider.coordinator.server import RunningCoordinator, running
from provider.coordinator.settings import CoordinatorSettings
from provider.core.events import CoordinatorConnected, LeaseAwarded, LeaseEnded, OrderOpened
from provider.domain.errors import Permanent
from provider.domain.ids import DeploymentId, EffectId, LeaseId, OrderId, Owner
from provider.domain.market import Bid, CloseReason, LeaseHealth
from provider.domain.money import Denom, Money
from provider.domain.secret import Secret
from provider.rpc.calls import unary
from provider.rpc.codec import group_to_pb, lease_id_to_pb, money_to_pb
from provider.rpc.enrolment import enrol
from provider.rpc.identity import Identity, LiveIdentity
from provider.rpc.join import JoinToken
from provider.rpc.member import Member, Role
from provider.rpc.settings import mtls_channel, unix_channel
from provider.rpc.v1 import admin_pb2, tenant_pb2
from provider.rpc.v1.admin_pb2_grpc import AdminServiceStub
from provider.rpc.v1.tenant_pb2_grpc import TenantServiceStub
from provider.sim.proxy import FaultyProxy
from provider.sim.waiting import until
from tests.integration.link.market_world import CLOCK, PROVIDER, RATE, Follower, order, settings

HOUR_MS = 3_600_000


def market(state: Path) -> CoordinatorSettings:
    return CoordinatorSettings(
        state=state, market="sim", listen="127.0.0.1:0", enrolment_listen="127.0.0.1:0", stop_grace_s=2
    )


async def invited(coordinator: RunningCoordinator, role: Role, name: str) -> Identity:
    """A new member, as `coordinator invite` and `enroll` make one."""
    async with unix_channel(coordinator.settings.socket) as channel:
        request = admin_pb2.InviteRequest(key=name, role=role, name=name, ttl_ms=HOUR_MS)
        invitation = await unary(AdminServiceStub(channel).Invite(request, timeout=5))
    token = JoinToken(
        member=Member(role=role, market=invitation.market, name=name),
        address=invitation.address,
        enrolment_address=invitation.enrolment_address,
        authority_pem=invitation.authority_pem,
        secret=Secret(invitation.secret),
    )
    return await enrol(token)


@asynccontextmanager
async def tenant(coordinator: RunningCoordinator) -> AsyncIterator[grpc.aio.Channel]:
    """A funded tenant's channel."""
    identity = await invited(coordinator, Role.TENANT, "alice")
    async with unix_channel(coordinator.settings.socket) as channel:
        amount = money_to_pb(Money(amount=100_000_000, denom=Denom.UACT))
        fund = admin_pb2.FundRequest(key="f", owner="alice", amount=amount)
        await unary(AdminServiceStub(channel).Fund(fund, timeout=5))
    expect = Member(role=Role.COORDINATOR, market="sim")
    async with mtls_channel(identity.coordinator, identity, expect=expect) as channel:
        yield channel


async def deploy(channel: grpc.aio.Channel, key: str) -> OrderId:
    request = tenant_pb2.CreateDeploymentRequest(
        key=key,
        groups=[group_to_pb(order(1).group)],
        manifest_hash=bytes.fromhex(order(1).manifest_hash),
        deposit=money_to_pb(Money(amount=5_000_000, denom=Denom.UACT)),
    )
    made = await unary(TenantServiceStub(channel).CreateDeployment(request, timeout=5))
    deployment = DeploymentId(owner=Owner(made.owner), dseq=made.dseq)
    return OrderId(owner=deployment.owner, dseq=deployment.dseq, gseq=1, oseq=1)


async def won(channel: grpc.aio.Channel, link: GrpcLink, follower: Follower, key: str) -> LeaseId:
    """One lease from order to confirmation."""
    id_ = await deploy(channel, key)
    await until(lambda: id_ in _opened(follower))
    bid = id_.lease(PROVIDER)
    await link.place_bid(EffectId(f"{key}#1"), Bid(id=bid, rate=RATE))
    accept = tenant_pb2.AcceptBidRequest(key=f"{key}-accept", bid=lease_id_to_pb(bid))
    await unary(TenantServiceStub(channel).AcceptBid(accept, timeout=5))
    await until(lambda: bid in _awarded(follower))
    await link.confirm_lease(EffectId(f"{key}#2"), bid)
    return bid


def _opened(follower: Follower) -> list[OrderId]:
    return [event.order.id for event in follower.events if isinstance(event, OrderOpened)]


def _awarded(follower: Follower) -> list[LeaseId]:
    return [event.award.id for event in follower.events if isinstance(event, LeaseAwarded)]


def _ended(follower: Follower) -> list[CloseReason]:
    return [event.reason for event in follower.events if isinstance(event, LeaseEnded)]


@asynccontextmanager
async def agent(state: Path, identity: Identity, address: str) -> AsyncIterator[tuple[GrpcLink, Follower]]:
    follower = Follower()
    chance = random.Random(1)  # noqa: S311 -- jitter
    made = settings(state, address)
    link = GrpcLink(made, LiveIdentity(identity), CLOCK, chance, follower.position)
    async with asyncio.TaskGroup() as tasks, link:
        tasks.create_task(follower.follow(link))
        yield link, follower


def test_a_lease_goes_its_whole_way_through_cuts(tmp_path: Path) -> None:
    async def main() -> None:
        async with asyncio.timeout(30), running(market(tmp_path / "market"), CLOCK) as coordinator:
            identity = await invited(coordinator, Role.PROVIDER, PROVIDER)
            async with (
                FaultyProxy(identity.coordinator) as proxy,
                tenant(coordinator) as channel,
                agent(tmp_path / "agent", identity, proxy.address) as (link, follower),
            ):
                await until(follower.epochs)
                assert len(link.token_keys()) == 1
                for number in range(6):
                    proxy.cut_after(100 + number * 250)
                    lease = await won(channel, link, follower, str(number))
                    await link.report_lease(
                        EffectId(f"{number}#3"), lease, LeaseHealth.RUNNING, (), "as ordered"
                    )
                close = tenant_pb2.CloseDeploymentRequest(key="close", dseq=lease.dseq)
                await unary(TenantServiceStub(channel).CloseDeployment(close, timeout=5))
                await until(lambda: CloseReason.TENANT_CLOSED in _ended(follower))
                assert len(follower.epochs()) > 3

    asyncio.run(main())


def test_deposits_are_told_taken_and_given_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        terms = replace(market(tmp_path / "market"), rules=replace(RULES, bid_deposit=500_000))
        async with asyncio.timeout(30), running(terms, CLOCK) as coordinator:
            identity = await invited(coordinator, Role.PROVIDER, PROVIDER)
            async with (
                tenant(coordinator) as channel,
                agent(tmp_path / "agent", identity, "") as (link, follower),
            ):
                await until(follower.epochs)
                (connected,) = (each for each in follower.events if isinstance(each, CoordinatorConnected))
                assert connected.bid_deposit == 500_000
                bid = Bid(id=(await deploy(channel, "d")).lease(PROVIDER), rate=RATE)
                with pytest.raises(Permanent, match="takes a deposit of 500000uact"):
                    await link.place_bid(EffectId("1"), bid)
                state = ["--state", str(coordinator.settings.state)]
                fund = [*state, "fund", PROVIDER, "600000uact", "--provider"]
                assert await asyncio.to_thread(command, fund) == 0
                await link.place_bid(EffectId("2"), bid)
                assert await asyncio.to_thread(command, [*state, "status"]) == 0
                await link.withdraw_bid(EffectId("3"), bid.id)
                assert await asyncio.to_thread(command, [*state, "status"]) == 0
        held, back = capsys.readouterr().out.split("ACCOUNT")[1:]
        assert [line.split()[:2] for line in held.splitlines()[1:4]] == [
            [f"bids:{PROVIDER}", "0.500000"],
            ["escrow:alice/1", "5.000000"],
            [f"provider:{PROVIDER}", "0.100000"],
        ]
        assert f"provider:{PROVIDER} 0.600000 ACT" in " ".join(back.split())

    asyncio.run(main())


def test_what_the_market_does_not_take_is_permanent(tmp_path: Path) -> None:
    async def main() -> None:
        async with asyncio.timeout(30), running(market(tmp_path / "market"), CLOCK) as coordinator:
            identity = await invited(coordinator, Role.PROVIDER, PROVIDER)
            async with agent(tmp_path / "agent", identity, "") as (link, follower):
                await until(follower.epochs)
                nobody = order(99).id.lease(PROVIDER)
                with pytest.raises(Permanent):
                    await link.place_bid(EffectId("1"), Bid(id=nobody, rate=RATE))
                await link.confirm_lease(EffectId("2"), nobody)
                await until(lambda: _ended(follower) == [CloseReason.LEASE_FORGOTTEN])
                await link.withdraw_bid(EffectId("3"), nobody)
                assert follower.losses() == []

    asyncio.run(main())


def test_a_coordinator_that_restarts_goes_on_where_it_was(tmp_path: Path) -> None:
    async def main() -> None:
        async with asyncio.timeout(30):
            async with running(market(tmp_path / "market"), CLOCK) as coordinator:
                identity = await invited(coordinator, Role.PROVIDER, PROVIDER)
                port = coordinator.port
            again = replace(market(tmp_path / "market"), listen=f"127.0.0.1:{port}", market=None)
            async with agent(tmp_path / "agent", identity, "") as (link, follower):
                await until(follower.losses)
                async with running(again, CLOCK) as coordinator, tenant(coordinator) as channel:
                    await until(follower.epochs)
                    lease = await won(channel, link, follower, "a")
                assert any("the coordinator is stopping" in why for why in follower.losses())
                async with running(again, CLOCK):
                    await link.end_lease(EffectId("end"), lease, CloseReason.OPERATOR_CLOSED, "")
                    await until(lambda: CloseReason.OPERATOR_CLOSED in _ended(follower))
                assert follower.epochs() == sorted(set(follower.epochs()))

    asyncio.run(main())
