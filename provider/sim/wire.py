"""A ``SimulatedMarket`` served over real gRPC and mutual TLS: the other end for tests of an agent's link.

Speaks ``proto/provider/rpc/v1/market.proto`` as a coordinator must: epochs, sequence numbers, acks
after taking in, heartbeats, one session a provider. It decides nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Self

import grpc.aio
from grpc import StatusCode

from provider.core.effects import (
    ConfirmLease,
    Effect,
    EndLease,
    PlaceBid,
    RefuseLease,
    ReportLease,
    ReportUsage,
    WithdrawBid,
)
from provider.core.events import LeaseAwarded, LeaseEnded, LeaseUpdated, OrderClosed, OrderOpened
from provider.domain.errors import PeerError, Permanent, ProviderError
from provider.domain.ids import EffectId
from provider.domain.market import Refused
from provider.domain.money import Denom, Money
from provider.ports import Clock
from provider.rpc.changes import together
from provider.rpc.codec import lease_id_from_pb, lease_id_to_pb, money_to_pb, order_id_to_pb, rate_to_pb
from provider.rpc.codec_market import (
    REASON_TO_PB,
    award_to_pb,
    bid_from_pb,
    ending_from_pb,
    order_to_pb,
    refusal_from_pb,
    report_from_pb,
    update_to_pb,
    usage_from_pb,
)
from provider.rpc.fields import present
from provider.rpc.guard import Guard
from provider.rpc.identity import LiveIdentity
from provider.rpc.member import Member, Role
from provider.rpc.sequence import Inbox
from provider.rpc.settings import bind, mtls_server_credentials, server, tls_server_credentials
from provider.rpc.status import Denied, caller_as
from provider.rpc.v1 import market_pb2 as pb
from provider.rpc.v1.enrolment_pb2 import EnrolRequest, EnrolResponse, RenewRequest, RenewResponse
from provider.rpc.v1.enrolment_pb2_grpc import (
    EnrolmentServiceServicer,
    add_EnrolmentServiceServicer_to_server,
)
from provider.rpc.v1.market_pb2_grpc import MarketServiceServicer, add_MarketServiceServicer_to_server
from provider.sim.authority import ThrowawayAuthority
from provider.sim.market import MarketEvent, SimulatedMarket

_Context = grpc.aio.ServicerContext[Any, Any]


def news_to_pb(event: MarketEvent) -> dict[str, Any]:
    """The body of the SessionResponse that carries ``event``."""
    match event:
        case OrderOpened():
            return {"order_opened": pb.OrderOpened(order=order_to_pb(event.order))}
        case OrderClosed():
            won_at = None if event.won_at is None else rate_to_pb(event.won_at)
            return {"order_closed": pb.OrderClosed(order=order_id_to_pb(event.order), won_at=won_at)}
        case LeaseAwarded():
            return {"lease_awarded": award_to_pb(event.award)}
        case LeaseUpdated():
            return {"lease_updated": update_to_pb(event.lease, event.manifest_hash)}
        case LeaseEnded():
            ended = pb.LeaseEnded(lease=lease_id_to_pb(event.lease), reason=REASON_TO_PB[event.reason])
            return {"lease_ended": ended}


def told_from_pb(wire: pb.SessionRequest) -> Effect | None:
    """What an agent told on the stream; None for control messages."""
    key = EffectId(wire.id)
    match wire.WhichOneof("body"):
        case "lease_confirmed":
            path = present(wire.lease_confirmed, "lease", "lease_confirmed")
            return ConfirmLease(id=key, lease=lease_id_from_pb(wire.lease_confirmed.lease, path))
        case "lease_refused":
            refusal = refusal_from_pb(wire.lease_refused)
            return RefuseLease(id=key, lease=refusal.lease, why=Refused(why=refusal.reason))
        case "lease_report":
            report = report_from_pb(wire.lease_report)
            return ReportLease(
                id=key, lease=report.lease, health=report.health, ports=report.ports, detail=report.detail
            )
        case "lease_ending":
            ending = ending_from_pb(wire.lease_ending)
            return EndLease(id=key, lease=ending.lease, reason=ending.reason, detail=ending.detail)
        case _:
            return None


class _Session:
    """One agent's stream, at the market's end."""

    def __init__(self, wire: WireMarket, context: _Context) -> None:
        self._wire = wire
        self._market = wire.market
        self._context = context
        self._inbox = Inbox()
        self._seq = 0
        self._acked = 0
        self._version = 0
        self._takes_changes = False
        self._wake = asyncio.Event()
        self._over: ProviderError | None = None
        self._refused: list[tuple[int, pb.MessageRefused]] = []
        self._words: list[dict[str, Any]] = []
        self._heard = 0

    @property
    def unacknowledged(self) -> int:
        """Messages that the agent has not said it committed."""
        return self._seq - self._heard

    def end(self, why: ProviderError) -> None:
        self._over = why
        self._wake.set()

    def say(self, **fields: Any) -> None:
        self._words.append(fields)
        self._wake.set()

    async def run(self) -> None:
        hello = await self._read()
        if hello is None or not hello.HasField("hello"):
            raise PeerError("hello: is missing")
        self._wire.hellos.append(hello.hello)
        self._version = hello.hello.last_version
        self._takes_changes = hello.hello.takes_changes and self._wire.tells_together
        self._inbox.committed(1)
        welcome = pb.Welcome(
            epoch=self._market.next_epoch(),
            market=self._market.name,
            heartbeat_interval_ms=self._wire.heartbeat_ms,
            token_keys_pem=self._wire.token_keys,
        )
        await self._send(welcome=welcome)
        unwatch = self._market.watch(self._wake.set)
        try:
            async with asyncio.TaskGroup() as tasks:
                ends = {tasks.create_task(self._listen()), tasks.create_task(self._speak())}
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                for end in ends:
                    end.cancel()
        finally:
            unwatch()
        if self._over:
            raise self._over

    async def _read(self) -> pb.SessionRequest | None:
        message = await self._context.read()
        if not isinstance(message, pb.SessionRequest):
            return None
        self._inbox.take(message.seq)
        return message

    async def _listen(self) -> None:
        try:
            while (message := await self._read()) is not None:
                await self._wire.thawed.wait()
                self._wire.acks.append(message.ack)
                self._heard = message.ack
                if message.HasField("goodbye"):
                    self._wire.goodbyes.append(message.goodbye.reason)
                    await self._wire.ends.wait()
                    return
                self._take(message)
        except PeerError as error:
            self._over = error

    def _take(self, message: pb.SessionRequest) -> None:
        effect = told_from_pb(message)
        if effect is not None:
            try:
                self._market.take(effect)
            except Permanent as error:
                refused = pb.MessageRefused(id=message.id, reason="REFUSED", detail=error.what)
                self._refused.append((message.seq, refused))
                self._wake.set()
                return  # acknowledged together with the refusal, never before it
        self._inbox.committed(message.seq)
        if message.id:  # else two heartbeats would answer each other for ever
            self._wake.set()

    async def _speak(self) -> None:
        while self._over is None:
            await self._wire.thawed.wait()
            self._wake.clear()
            is_quiet = True
            while self._words:
                await self._send(**self._words.pop(0))
            while self._refused:
                seq, refused = self._refused.pop(0)
                self._inbox.committed(seq)
                await self._send(message_refused=refused)
            news = self._bodies()
            while (body := together(news) if self._takes_changes else next(news, None)) is not None:
                is_quiet = False
                await self._send(**body)
            if is_quiet:
                await self._send(heartbeat=pb.Heartbeat(sent_ms=1))
            try:
                async with asyncio.timeout(self._wire.heartbeat_ms / 1000):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _bodies(self) -> Iterator[dict[str, Any]]:
        for event in self._market.since(self._version):
            self._version = event.version
            yield self._wire.body(event)

    async def _send(self, **fields: Any) -> None:
        self._seq += 1
        numbers = {"seq": self._seq, "ack": self._inbox.ack}
        message = pb.SessionResponse(**{**numbers, **fields})
        self._wire.sends(message)
        await self._context.write(message)


class WireMarket(MarketServiceServicer):
    """Serves ``market`` at ``address``, which is free to choose before entering and fixed after."""

    def __init__(
        self,
        market: SimulatedMarket,
        authority: ThrowawayAuthority,
        clock: Clock,
        *,
        heartbeat_ms: int = 200,
        address: str = "127.0.0.1:0",
    ) -> None:
        self.market = market
        self.heartbeat_ms = heartbeat_ms
        self.address = address
        self.token_keys: tuple[str, ...] = ()
        self.tells_together = True
        """False: as a market of before ``Changes``, one in a message."""
        self.hellos: list[pb.Hello] = []
        self.goodbyes: list[str] = []
        self.acks: list[int] = []
        """As agents sent them, one a message."""
        self.live_calls = 0
        self.bid_calls = 0
        """That were ever opened for bids."""
        self.ends = asyncio.Event()
        """Cleared: streams are not ended after a goodbye."""
        self.ends.set()
        self.thawed = asyncio.Event()
        """Cleared: the process stands still, though its kernel answers."""
        self.thawed.set()
        self._authority = authority
        self._clock = clock
        self._sessions: dict[str, _Session] = {}
        self._server: grpc.aio.Server | None = None
        self._door: grpc.aio.Server | None = None
        self.enrolment_address = ""
        self.invitations: dict[str, Member] = {}
        """Secrets of join tokens, each good once."""
        identity = authority.member(Role.COORDINATOR, "", at=clock.now())
        self.identity = LiveIdentity(identity)

    async def __aenter__(self) -> Self:
        self._server = server([Guard()], concurrent_calls=100)
        add_MarketServiceServicer_to_server(self, self._server)
        enrolment = _Enrolment(self, self._authority, self._clock)
        add_EnrolmentServiceServicer_to_server(enrolment, self._server)
        port = bind(self._server, self.address, mtls_server_credentials(self.identity))
        self.address = f"127.0.0.1:{port}"
        self._door = server([Guard()], concurrent_calls=10)
        add_EnrolmentServiceServicer_to_server(enrolment, self._door)
        port = bind(self._door, "127.0.0.1:0", tls_server_credentials(self.identity))
        self.enrolment_address = f"127.0.0.1:{port}"
        await self._server.start()
        await self._door.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None, "entered before"
        assert self._door is not None, "entered before"
        await self._server.stop(None)
        await self._door.stop(None)

    def body(self, event: MarketEvent) -> dict[str, Any]:
        """The fields of the message that tells of ``event``."""
        return {"version": event.version, **news_to_pb(event)}

    def sends(self, message: pb.SessionResponse) -> None:
        """Told of each message to an agent just before it goes out. Here for whoever measures."""

    @property
    def unacknowledged(self) -> int:
        """Messages that some agent has not said it committed."""
        return sum(session.unacknowledged for session in self._sessions.values())

    def say(self, **fields: Any) -> None:
        """Send a message with these fields, whatever they are, to every agent."""
        for session in self._sessions.values():
            session.say(**fields)

    async def Session(self, request_iterator: Any, context: _Context) -> None:  # type: ignore[override]  # noqa: N802
        name = caller_as(context, Role.PROVIDER, self.market.name).name
        session = _Session(self, context)
        older = self._sessions.get(name)
        self._sessions[name] = session
        if older:
            older.end(Denied(StatusCode.ABORTED, "SUPERSEDED", "a newer session of this provider took over"))
        self.live_calls += 1
        try:
            await session.run()
        finally:
            self.live_calls -= 1
            if self._sessions.get(name) is session:
                del self._sessions[name]

    async def PlaceBid(self, request: pb.PlaceBidRequest, context: _Context) -> pb.PlaceBidResponse:  # noqa: N802
        bid = bid_from_pb(request.bid)
        await self._heard(context, PlaceBid(id=EffectId(request.key), bid=bid))
        return pb.PlaceBidResponse()

    async def PlaceBids(self, request_iterator: Any, context: _Context) -> None:  # type: ignore[override]  # noqa: N802
        caller_as(context, Role.PROVIDER, self.market.name)
        self.live_calls += 1
        self.bid_calls += 1
        try:
            while isinstance(request := await context.read(), pb.PlaceBidsRequest):
                await self.thawed.wait()
                await context.write(pb.PlaceBidsResponse(refused=list(self._refused(request))))
        finally:
            self.live_calls -= 1

    def _refused(self, request: pb.PlaceBidsRequest) -> Iterator[pb.MessageRefused]:
        """Takes in all others."""
        for each in request.bids:
            try:
                self.market.take(PlaceBid(id=EffectId(each.key), bid=bid_from_pb(each.bid)))
            except Permanent as error:
                yield pb.MessageRefused(id=each.key, reason="REFUSED", detail=error.what)

    async def WithdrawBid(self, request: pb.WithdrawBidRequest, context: _Context) -> pb.WithdrawBidResponse:  # noqa: N802
        bid = lease_id_from_pb(request.bid, "bid")
        await self._heard(context, WithdrawBid(id=EffectId(request.key), bid=bid))
        return pb.WithdrawBidResponse()

    async def ReportUsage(self, request: pb.ReportUsageRequest, context: _Context) -> pb.ReportUsageResponse:  # noqa: N802
        await self._heard(context, ReportUsage(id=EffectId(request.key), usage=usage_from_pb(request)))
        return pb.ReportUsageResponse(settled=money_to_pb(Money(amount=0, denom=Denom.UACT)))

    async def _heard(self, context: _Context, effect: Effect) -> None:
        caller_as(context, Role.PROVIDER, self.market.name)
        self.live_calls += 1
        try:
            await self.thawed.wait()
            self.market.take(effect)
        finally:
            self.live_calls -= 1


class _Enrolment(EnrolmentServiceServicer):
    """Single-use invitations; a repeat under the same idempotency key is answered again."""

    def __init__(self, wire: WireMarket, authority: ThrowawayAuthority, clock: Clock) -> None:
        self._wire = wire
        self._authority = authority
        self._clock = clock
        self._used: dict[str, str] = {}

    async def Enrol(self, request: EnrolRequest, context: _Context) -> EnrolResponse:  # noqa: N802
        member = self._wire.invitations.get(request.token)
        if member is None or self._used.setdefault(request.token, request.key) != request.key:
            raise Denied(
                StatusCode.UNAUTHENTICATED,
                "TOKEN_UNKNOWN",
                "the join token is not known, used or expired",
                remedy="ask the market's owner for a new one",
            )
        certificate = self._authority.sign(request.csr_pem, member, at=self._clock.now())
        return EnrolResponse(certificate_pem=certificate, authority_pem=self._authority.pem)

    async def Renew(self, request: RenewRequest, context: _Context) -> RenewResponse:  # noqa: N802
        member = caller_as(context, Role.PROVIDER, self._authority.market)
        certificate = self._authority.sign(request.csr_pem, member, at=self._clock.now())
        return RenewResponse(certificate_pem=certificate, authority_pem=self._authority.pem)
