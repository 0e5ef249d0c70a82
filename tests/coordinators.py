"""Real coordinators on loopback, and members that speak to them over mutual TLS."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio

from provider.adapters.clock import SystemClock
from provider.coordinator.server import RunningCoordinator, running
from provider.coordinator.settings import CoordinatorSettings
from provider.domain.ids import LeaseId, OrderId, Owner, ProviderId
from provider.domain.market import Bid, GroupSpec
from provider.domain.secret import Secret
from provider.rpc import codec, codec_market
from provider.rpc.calls import cancelled_after, unary
from provider.rpc.enrolment import enrol
from provider.rpc.identity import Identity
from provider.rpc.join import JoinToken
from provider.rpc.member import Member, Role
from provider.rpc.settings import mtls_channel, unix_channel
from provider.rpc.v1 import admin_pb2, market_pb2, tenant_pb2
from provider.rpc.v1.admin_pb2_grpc import AdminServiceStub
from provider.rpc.v1.market_pb2_grpc import MarketServiceStub
from provider.rpc.v1.tenant_pb2_grpc import TenantServiceStub
from tests.market import HASH, group, rate, uact

Holds = Callable[[tenant_pb2.Deployment], object]
PATIENCE_S = 10.0
"""For anything that is to happen at all."""


def settings(folder: Path, **changes: Any) -> CoordinatorSettings:
    """Free ports on loopback."""
    fixed = {"listen": "127.0.0.1:0", "enrolment_listen": "127.0.0.1:0", "stop_grace_s": 1.0}
    return CoordinatorSettings(state=folder, **{"market": "test", **fixed, **changes})


@asynccontextmanager
async def coordinator(folder: Path, **changes: Any) -> AsyncIterator[RunningCoordinator]:
    async with running(settings(folder, **changes), SystemClock()) as started:
        yield started


def run(body: Callable[[], Any]) -> None:
    """An async test, with a bound."""

    async def bounded() -> None:
        async with asyncio.timeout(40):
            await body()

    asyncio.run(bounded())


def key() -> str:
    return secrets.token_hex(8)


async def invite(at: RunningCoordinator | Path, role: Role, name: str, ttl_ms: int = 0) -> JoinToken:
    """A join token, made over the owner's socket."""
    socket = at if isinstance(at, Path) else at.settings.socket
    async with unix_channel(socket) as channel:
        request = admin_pb2.InviteRequest(key=key(), role=role, name=name, ttl_ms=ttl_ms)
        made = await unary(AdminServiceStub(channel).Invite(request, timeout=PATIENCE_S))
    return JoinToken(
        member=Member.checked(role=role, market=made.market, name=name),
        address=made.address,
        enrolment_address=made.enrolment_address,
        authority_pem=made.authority_pem,
        secret=Secret(made.secret),
    )


async def join(at: RunningCoordinator | Path, role: Role, name: str) -> Identity:
    return await enrol(await invite(at, role, name))


async def couple(at: RunningCoordinator) -> tuple[Identity, Identity]:
    """The tenant alice, with money, and the provider north."""
    alice, north = await join(at, Role.TENANT, "alice"), await join(at, Role.PROVIDER, "north")
    await fund(at, "alice", 5_000_000)
    return alice, north


async def fund(at: RunningCoordinator | Path, owner: str, amount: int, again: str | None = None) -> int:
    """What is available then."""
    socket = at if isinstance(at, Path) else at.settings.socket
    async with unix_channel(socket) as channel:
        request = admin_pb2.FundRequest(
            key=again or key(), owner=owner, amount=codec.money_to_pb(uact(amount))
        )
        funded = await unary(AdminServiceStub(channel).Fund(request, timeout=PATIENCE_S))
    return funded.available.amount_micros


def channel_of(who: Identity, address: str | None = None) -> grpc.aio.Channel:
    coordinator_ = Member(role=Role.COORDINATOR, market=who.member.market)
    return mtls_channel(address or who.coordinator, who, expect=coordinator_)


class Tenant:
    """Calls of one tenant. A context manager."""

    def __init__(self, who: Identity, address: str | None = None) -> None:
        self.owner = Owner(who.member.name)
        self._channel = channel_of(who, address)
        self.stub = TenantServiceStub(self._channel)

    async def __aenter__(self) -> Tenant:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def deploy(self, *groups: GroupSpec, deposit: int = 1_000_000, again: str | None = None) -> OrderId:
        """The first order of a new deployment."""
        request = tenant_pb2.CreateDeploymentRequest(
            key=again or key(),
            groups=map(codec.group_to_pb, groups or (group(),)),
            manifest_hash=bytes.fromhex(HASH),
            deposit=codec.money_to_pb(uact(deposit)),
        )
        made = await unary(self.stub.CreateDeployment(request, timeout=PATIENCE_S))
        return OrderId(owner=self.owner, dseq=made.dseq, gseq=1, oseq=1)

    async def accept(self, bid: LeaseId) -> None:
        request = tenant_pb2.AcceptBidRequest(key=key(), bid=codec.lease_id_to_pb(bid))
        await unary(self.stub.AcceptBid(request, timeout=PATIENCE_S))

    async def update(
        self, dseq: int, manifest_hash: str, *groups: GroupSpec, again: str | None = None
    ) -> None:
        request = tenant_pb2.UpdateDeploymentRequest(
            key=again or key(),
            dseq=dseq,
            manifest_hash=bytes.fromhex(manifest_hash),
            groups=map(codec.group_to_pb, groups or (group(),)),
        )
        await unary(self.stub.UpdateDeployment(request, timeout=PATIENCE_S))

    async def close(self, dseq: int, again: str | None = None) -> None:
        request = tenant_pb2.CloseDeploymentRequest(key=again or key(), dseq=dseq)
        await unary(self.stub.CloseDeployment(request, timeout=PATIENCE_S))

    async def until(
        self, dseq: int, holds: Callable[[tenant_pb2.Deployment], object]
    ) -> tenant_pb2.Deployment:
        """Watch a deployment until ``holds`` of it."""
        request = tenant_pb2.WatchDeploymentRequest(dseq=dseq, watch=True)
        async with asyncio.timeout(PATIENCE_S), cancelled_after(self.stub.WatchDeployment(request)) as call:
            async for answer in call:
                if holds(answer.deployment):
                    return answer.deployment
        raise AssertionError("the watch ended before it held")

    async def balance(self) -> tuple[int, int]:
        """Available and escrowed, uact."""
        found = await unary(self.stub.GetBalance(tenant_pb2.GetBalanceRequest(), timeout=PATIENCE_S))
        return (
            sum(money.amount_micros for money in found.available),
            sum(money.amount_micros for money in found.escrowed),
        )


class Agent:
    """One provider's bare session and calls. A context manager."""

    def __init__(self, who: Identity, address: str | None = None) -> None:
        self.provider = ProviderId(who.member.name)
        self._channel = channel_of(who, address)
        self.stub = MarketServiceStub(self._channel)
        self.call = self.stub.Session()
        self.seq = 0
        self.received: list[market_pb2.SessionResponse] = []

    async def __aenter__(self) -> Agent:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.call.cancel()
        await self._channel.close()

    async def send(self, **body: Any) -> int:
        self.seq += 1
        await self.call.write(market_pb2.SessionRequest(**{"seq": self.seq, **body}))
        return self.seq

    async def hello(
        self, since: int = 0, market: str = "", *, takes_changes: bool = False
    ) -> market_pb2.Welcome:
        body = market_pb2.Hello(
            instance="i",
            last_version=since,
            market=market,
            lease_address="north:8443",
            software="test",
            takes_changes=takes_changes,
        )
        await self.send(hello=body)
        return (await self.next("welcome")).welcome

    async def next(self, kind: str) -> market_pb2.SessionResponse:
        """The next message that is no heartbeat, which must be of ``kind``."""
        while True:
            message = await self.read()
            if message.WhichOneof("body") != "heartbeat":
                assert message.WhichOneof("body") == kind, message
                return message

    async def acked(self, seq: int) -> None:
        while not any(message.ack >= seq for message in self.received):
            await self.read()

    async def read(self) -> market_pb2.SessionResponse:
        async with asyncio.timeout(PATIENCE_S):
            message = await self.call.read()
        assert isinstance(message, market_pb2.SessionResponse), "the stream ended"
        assert message.seq == len(self.received) + 1
        self.received.append(message)
        return message

    async def ended(self) -> tuple[str, str]:
        """The code and the text with which the coordinator ends the session, whatever it sends before."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while isinstance(await self.call.read(), market_pb2.SessionResponse):
                    pass
        except grpc.aio.AioRpcError as error:
            return error.code().name, error.details() or ""
        return "OK", ""

    async def tell(self, **body: Any) -> None:
        """Say something and wait until it is acknowledged."""
        await self.acked(await self.send(id=key(), **body))

    async def bid(self, order: OrderId, price: str | int = 100, again: str | None = None) -> LeaseId:
        bid = Bid(id=order.lease(self.provider), rate=rate(price))
        request = market_pb2.PlaceBidRequest(key=again or key(), bid=codec_market.bid_to_pb(bid))
        await unary(self.stub.PlaceBid(request, timeout=PATIENCE_S))
        return bid.id

    async def confirm(self, lease: LeaseId) -> None:
        await self.tell(lease_confirmed=market_pb2.LeaseConfirmed(lease=codec.lease_id_to_pb(lease)))

    async def used(self, lease: LeaseId, number: int, running_ms: int, *, final: bool = False) -> int:
        """Settled so far."""
        request = market_pb2.ReportUsageRequest(
            key=key(),
            lease=codec.lease_id_to_pb(lease),
            number=number,
            running_ms=running_ms,
            at_ms=1,
            is_final=final,
        )
        answer = await unary(self.stub.ReportUsage(request, timeout=PATIENCE_S))
        return answer.settled.amount_micros
