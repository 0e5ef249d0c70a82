"""``CoordinatorLink`` over gRPC: one session kept up for ever, and calls beside it.

Owns: dialling, backoff, what waits to be told, the identity's renewal, the fence against older
epochs. Does not own: a session's inner life (``session.py``), what events mean (the core).
Invariant: whatever a caller awaits here is at the coordinator, committed, when the call returns.

Every session has a channel of its own: certificates are read when a channel is made, and gRPC's
reconnection would hide from us when and why a connection was lost.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Self, TypeVar

import grpc.aio

from provider.adapters.link.backoff import Backoff
from provider.adapters.link.bids import BidCall, Bids
from provider.adapters.link.keys import TokenKeys
from provider.adapters.link.renewal import Renewal
from provider.adapters.link.session import Session, SessionSink, Told
from provider.adapters.link.settings import LinkSettings
from provider.adapters.link.tunnel import Tunnels
from provider.core.events import CoordinatorConnected, CoordinatorLost
from provider.domain.errors import ConfigError, PeerError, Permanent, ProviderError, Temporary
from provider.domain.ids import EffectId, LeaseId
from provider.domain.market import Bid, CloseReason, LeaseHealth, Refused, Usage
from provider.domain.moment import Instant
from provider.domain.workload import PortBinding
from provider.ports import Clock, Delivery
from provider.rpc.calls import unary
from provider.rpc.codec import lease_id_to_pb
from provider.rpc.codec_market import (
    LeaseEnding,
    LeaseReport,
    ending_to_pb,
    refused_to_pb,
    report_to_pb,
    usage_to_pb,
)
from provider.rpc.fields import at_least, line, text
from provider.rpc.identity import LiveIdentity, check_valid
from provider.rpc.member import Member, Role
from provider.rpc.problems import explain
from provider.rpc.sequence import Outbox
from provider.rpc.settings import mtls_channel
from provider.rpc.status import Denied
from provider.rpc.v1.lease_pb2 import ScreenBidRequest, ScreenBidResponse
from provider.rpc.v1.market_pb2 import (
    Hello,
    LeaseConfirmed,
    PlaceBidsRequest,
    PlaceBidsResponse,
    Screened,
    ScreeningWanted,
    Welcome,
    WithdrawBidRequest,
)
from provider.rpc.v1.market_pb2_grpc import MarketServiceStub

if TYPE_CHECKING:
    from provider.rpc.v1.market_pb2_grpc import MarketServiceAsyncStub

Answer = TypeVar("Answer")
CALLS_MOST = 16
"""Unary calls at once: a coordinator refuses when too many come from all members together."""
Position = Callable[[], tuple[str, int]]
"""The market whose changes the agent follows, and how far it has committed them; ``("", 0)`` at first."""
Screen = Callable[[ScreenBidRequest, str], ScreenBidResponse]
"""Would we bid on that, were it an order of this member? ``Denied`` or ``PeerError`` where nobody decides."""


class LinkStage(StrEnum):
    """Where a link is on its way to a session."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    BACKOFF = "backoff"
    """Waiting before it dials again."""
    AUTH_FAILED = "auth_failed"
    """Certificate, market or version are not taken: it dials on, but somebody has to mend something."""


class GrpcLink:
    """See ``ports.CoordinatorLink``. Entered and left by the same task."""

    def __init__(
        self,
        settings: LinkSettings,
        identity: LiveIdentity,
        clock: Clock,
        chance: random.Random,
        position: Position,
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._clock = clock
        self._position = position
        self.screen: Screen | None = None
        """Set before it is entered, or the market asks us nothing beforehand."""
        self._address = settings.address or identity.now.coordinator
        self._backoff = Backoff(settings, chance)
        self._call_backoff = Backoff(settings, chance)
        self._turns = asyncio.Semaphore(CALLS_MOST)
        self._bids = Bids(self._send_bids)
        self._bid_call = BidCall(settings.deadline_s)
        self._keys = TokenKeys(settings.state_dir, identity.now.member.market)
        self._renewal = Renewal(settings, identity, clock, chance)
        self._inbound: asyncio.Queue[Delivery | None] = asyncio.Queue(settings.waiting_most)
        self._outbox: Outbox[Told] = Outbox()
        self._answers: dict[str, asyncio.Future[None]] = {}
        self._tasks = asyncio.TaskGroup()
        self.tunnels = Tunnels(self._address, identity, settings.lease_socket, self._tasks)
        self._dialling: asyncio.Task[None] | None = None
        self._bidding: asyncio.Task[None] | None = None
        self._session: Session | None = None
        self._channel: grpc.aio.Channel | None = None
        self._stub: MarketServiceAsyncStub | None = None
        self._is_dialling_again = False
        self._is_up = asyncio.Event()
        self._is_leaving = asyncio.Event()
        self._epoch = 0
        self._told_lost: str | None = None
        self._is_unwelcome = False
        """The last session failed for a reason that only its operator can mend."""
        self._last_message: Instant | None = None
        self.skipped: str | None = None
        """The last order that could not be read, with the field's path."""

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        self._dialling = self._tasks.create_task(self._stay_connected())
        self._bidding = self._tasks.create_task(self._bids.run())
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._is_leaving.set()
        if self._session:
            self._session.leave("the provider is stopping")
        assert self._dialling is not None, "entered before"
        await asyncio.wait({self._dialling}, timeout=self._settings.leave_s * 2)
        self._dialling.cancel()
        assert self._bidding is not None, "entered before"
        self._bidding.cancel()
        self.tunnels.close()
        await self._tasks.__aexit__(None, None, None)
        while self._inbound.full():
            self._inbound.get_nowait()  # never acknowledged: it comes again after the next start
        self._inbound.put_nowait(None)

    @property
    def renewal_problem(self) -> str | None:
        """Why the certificate could not be renewed the last time; None when all is well."""
        return self._renewal.problem

    @property
    def stage(self) -> LinkStage:
        """Where the link is, now."""
        if self._stub is not None:
            return LinkStage.CONNECTED
        if self._is_unwelcome:
            return LinkStage.AUTH_FAILED
        return LinkStage.BACKOFF if self._session is None else LinkStage.CONNECTING

    @property
    def last_message(self) -> Instant | None:
        """When the coordinator last said something."""
        return (self._session.last_message if self._session else None) or self._last_message

    def token_keys(self) -> tuple[str, ...]:
        """Public keys (PEM) that sign lease tokens, newest first; as last heard, over restarts."""
        return self._keys.now

    async def inbound(self) -> AsyncIterator[Delivery]:
        while (delivery := await self._inbound.get()) is not None:
            yield delivery

    # --- calls

    async def place_bid(self, key: EffectId, bid: Bid) -> None:
        await self._bids.place(key, bid)

    async def _send_bids(self, request: PlaceBidsRequest) -> PlaceBidsResponse:
        return await self._asked(lambda stub: self._bid_call.ask(stub, request))

    async def withdraw_bid(self, key: EffectId, bid: LeaseId) -> None:
        request = WithdrawBidRequest(key=key, bid=lease_id_to_pb(bid))
        await self._asked(lambda stub: unary(stub.WithdrawBid(request, timeout=self._settings.deadline_s)))

    async def report_usage(self, key: EffectId, usage: Usage) -> None:
        request = usage_to_pb(key, usage)
        await self._asked(lambda stub: unary(stub.ReportUsage(request, timeout=self._settings.deadline_s)))

    async def _asked(self, ask: Callable[[MarketServiceAsyncStub], Awaitable[Answer]]) -> Answer:
        """The answer, over any number of connections. So many at once as the market stands."""
        while True:
            while self._stub is None:
                await self._is_up.wait()
            try:
                async with self._turns:
                    if self._stub is None:
                        continue
                    answer = await ask(self._stub)
            except (Temporary, PeerError) as error:
                await asyncio.sleep(_wait_s(error, self._call_backoff))
            else:
                self._call_backoff.forgive()
                return answer

    # --- messages on the stream

    async def confirm_lease(self, key: EffectId, lease: LeaseId) -> None:
        await self._tell(key, LeaseConfirmed(lease=lease_id_to_pb(lease)))

    async def refuse_lease(self, key: EffectId, lease: LeaseId, why: Refused) -> None:
        await self._tell(key, refused_to_pb(lease, why))

    async def report_lease(
        self, key: EffectId, lease: LeaseId, health: LeaseHealth, ports: tuple[PortBinding, ...], detail: str
    ) -> None:
        await self._tell(
            key, report_to_pb(LeaseReport(lease=lease, health=health, ports=ports, detail=detail))
        )

    async def end_lease(self, key: EffectId, lease: LeaseId, reason: CloseReason, detail: str) -> None:
        await self._tell(key, ending_to_pb(LeaseEnding(lease=lease, reason=reason, detail=detail)))

    async def _tell(self, key: EffectId, message: Told) -> None:
        answer = self._answers.get(key)
        if answer is None:
            answer = self._answers[key] = asyncio.get_running_loop().create_future()
            self._outbox.add(key, message)
        # A caller that goes away leaves the message: it was wanted, and is told again after a restart.
        await asyncio.shield(answer)

    def _settled(self, key: str, refused: Permanent | None) -> None:
        answer = self._answers.pop(key, None)
        if answer is None:
            return
        if refused is None:
            answer.set_result(None)
        else:
            answer.set_exception(refused)
            answer.exception()  # nobody may be left to hear it

    # --- staying connected

    async def _stay_connected(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            renewing = tasks.create_task(self._renewal.run(self._connected_channel, self._dial_again))
            while not self._is_leaving.is_set():
                began = asyncio.get_running_loop().time()
                error = await self._one_session()
                self._is_unwelcome = isinstance(error, ConfigError | Permanent | PeerError)
                if asyncio.get_running_loop().time() - began >= self._settings.stable_s:
                    self._backoff.forgive()
                if self._is_dialling_again or self._is_leaving.is_set():
                    self._is_dialling_again = False
                    continue
                await self._tell_lost(error)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_wait_s(error, self._backoff)):
                        await self._is_leaving.wait()
            renewing.cancel()

    async def _one_session(self) -> ProviderError:
        """Dial, talk, and clean up; why it ended."""
        identity = self._identity.now
        try:
            check_valid(identity, self._clock.now())
        except ConfigError as error:
            return error
        coordinator = Member(role=Role.COORDINATOR, market=identity.member.market)
        channel = mtls_channel(self._address, identity, expect=coordinator)
        stub = MarketServiceStub(channel)

        def welcomed(welcome: Welcome) -> Delivery:
            delivery = self._accept(welcome)
            self._channel, self._stub = channel, stub
            self._is_up.set()
            return delivery

        sink = SessionSink(
            inbound=self._inbound,
            welcomed=welcomed,
            settled=self._settled,
            skipped=self._skip,
            tunnel_wanted=self.tunnels.wanted,
            screened=self._screened,
        )
        self._session = Session(self._settings, self._clock, self._outbox, sink)
        try:
            return await self._session.run(stub, self._hello())
        finally:
            self._last_message = self.last_message
            self._session = self._channel = self._stub = None
            self._is_up.clear()
            self._bid_call.close()
            await channel.close()

    def _hello(self) -> Hello:
        market, version = self._position()
        return Hello(
            instance=self._settings.instance,
            last_version=version,
            market=market,
            lease_address=self._settings.lease_address,
            software=self._settings.software,
            screens=self.screen is not None,
            takes_changes=True,
        )

    def _accept(self, welcome: Welcome) -> Delivery:
        """``PeerError`` unless this is our market, in an epoch that no other has followed."""
        ours = {self._identity.now.member.market, self._position()[0] or welcome.market}
        if ours != {welcome.market}:
            raise PeerError(
                f"this is the market {welcome.market}, this provider belongs to {', '.join(sorted(ours))}",
                remedy="check the address, or use another state directory for another market",
            )
        if welcome.epoch <= self._epoch:
            raise PeerError(
                f"epoch {welcome.epoch} is over, {self._epoch} followed it: an old coordinator or backup",
                remedy="stop the old coordinator; after restoring a backup, restart this provider",
            )
        self._epoch = welcome.epoch
        self._keys.replace(tuple(welcome.token_keys_pem))
        self._told_lost = None
        return Delivery(event=self._connected(welcome))

    def _connected(self, welcome: Welcome) -> CoordinatorConnected:
        return CoordinatorConnected(
            market=welcome.market,
            epoch=welcome.epoch,
            bid_deposit=at_least(welcome.bid_deposit_micros, 0, "welcome.bid_deposit_micros"),
        )

    async def _tell_lost(self, error: ProviderError) -> None:
        """Once for each new reason: every event is committed to disk."""
        if isinstance(error, ConfigError):
            why = f"{error.what}. Try: {error.remedy}"
        else:
            why = explain(error, f"coordinator {self._address}")
        if why != self._told_lost:
            self._told_lost = why
            await self._inbound.put(Delivery(event=CoordinatorLost(why=why)))

    async def _connected_channel(self) -> grpc.aio.Channel:
        while self._channel is None:
            await self._is_up.wait()
        return self._channel

    def _dial_again(self) -> None:
        """With the new certificate, at once; nobody need hear of it."""
        self._is_dialling_again = True
        if self._session:
            self._session.leave("its certificate was renewed")

    def _screened(self, wanted: ScreeningWanted) -> Screened | None:
        if self.screen is None:
            return None
        try:
            request = ScreenBidRequest(group=wanted.group) if wanted.HasField("group") else ScreenBidRequest()
            answer = self.screen(request, text(wanted.owner, "screening_wanted.owner"))
        except (Denied, PeerError) as problem:
            return Screened(screening=wanted.screening, problem=line(problem.what))
        return Screened(screening=wanted.screening, answer=answer)

    def _skip(self, error: PeerError) -> None:
        self.skipped = error.what


def _wait_s(error: ProviderError, backoff: Backoff) -> float:
    """Seconds: the other side's wish, or our own schedule, whichever is longer."""
    wish_ms = error.retry_after if isinstance(error, Temporary) else None
    return max((wish_ms or 0) / 1000, backoff.next_s())
