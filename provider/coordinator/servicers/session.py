"""One agent's session, from Hello to its end.

Owns the stream's one reader and one writer, sequence numbers, acknowledgements, heartbeats and the silence
that ends it. Does not own what is sent (``sessions.py``) nor what a message does (the market).

**Invariant:** a message is acknowledged only after its effect is on disk, and a refusal is sent before the
acknowledgement that covers it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc.aio
from grpc import StatusCode

from provider.coordinator import denial
from provider.coordinator.market import requests
from provider.coordinator.market.notices import (
    LeaseAwarded,
    LeaseEnded,
    LeaseUpdated,
    Notice,
    OrderClosed,
    OrderOpened,
)
from provider.coordinator.refusals import granted
from provider.coordinator.screenings import Screenings
from provider.coordinator.sessions import Outgoing
from provider.coordinator.writer import Clock, Writer
from provider.domain.errors import PeerError, ProviderError, Temporary
from provider.domain.ids import ProviderId
from provider.domain.moment import Span
from provider.rpc import codec, codec_market
from provider.rpc.changes import together
from provider.rpc.fields import text, word
from provider.rpc.sequence import Inbox
from provider.rpc.settings import HEARTBEAT_INTERVAL_MS, SILENT_INTERVALS, WELCOME_S
from provider.rpc.status import Denied
from provider.rpc.v1 import market_pb2 as pb

_Context = grpc.aio.ServicerContext[pb.SessionRequest, pb.SessionResponse]

SUPERSEDED = Denied(
    StatusCode.ABORTED,
    "SUPERSEDED",
    "a newer session of this provider took over",
    remedy="run one agent for each provider",
)
STOPPING = "the coordinator is stopping"
RETRY_AFTER = Span(1_000)
"""What a stopping coordinator asks for: most often it is being restarted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    token_keys_pem: tuple[str, ...]
    """Public, newest first."""
    bid_deposit: int = 0
    """Micro-denom, as the market's rules have it."""
    heartbeat_interval_ms: int = HEARTBEAT_INTERVAL_MS
    welcome_s: float = WELCOME_S


class Session:
    """``run`` it once."""

    def __init__(
        self,
        provider: ProviderId,
        writer: Writer,
        screenings: Screenings,
        clock: Clock,
        settings: SessionSettings,
    ) -> None:
        self._provider = provider
        self._writer = writer
        self._screenings = screenings
        self._sessions = screenings.sessions
        self._clock = clock
        self._settings = settings
        self._beat_s = settings.heartbeat_interval_ms / 1000
        self._inbox = Inbox()
        self._acked = 0
        self._seq = 0
        self._refused: deque[pb.MessageRefused] = deque()
        self._takes_changes = False

    async def run(self, context: _Context) -> None:
        """Until the agent says goodbye or is gone. What else ended it is raised."""
        told = await self._hello(context)
        self._takes_changes = told.takes_changes
        hello = self._asked_by(told)
        welcomed = granted(await self._writer.ask(hello), requests.Welcomed)
        outgoing = self._sessions.open(
            self._writer.book, self._provider, welcomed.epoch, hello.last_version, screens=told.screens
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                writing = tasks.create_task(self._write(context, outgoing))
                await self._read(context, outgoing)
                writing.cancel()
        except* ProviderError as group:
            raise group.exceptions[0] from None
        finally:
            self._sessions.left(self._provider, outgoing)

    # --- reading

    async def _hello(self, context: _Context) -> pb.Hello:
        message = await self._next(context, self._settings.welcome_s)
        if message is None or not message.HasField("hello"):
            raise PeerError("a session begins with a hello")
        self._inbox.committed(message.seq)
        return message.hello

    def _asked_by(self, hello: pb.Hello) -> requests.Hello:
        return requests.Hello(
            provider=self._provider,
            instance=text(hello.instance, "hello.instance"),
            market=hello.market,
            last_version=hello.last_version,
            lease_address=text(hello.lease_address, "hello.lease_address"),
            software=text(hello.software, "hello.software"),
        )

    async def _read(self, context: _Context, outgoing: Outgoing) -> None:
        while (message := await self._next(context, self._beat_s * SILENT_INTERVALS)) is not None:
            match message.WhichOneof("body"):
                case "goodbye":
                    return
                case "hello":
                    raise PeerError("a session has one hello")
                case "heartbeat":
                    pass
                case "screened":
                    self._screenings.hear(self._provider, message.screened)
                case _:
                    await self._take(message)
            self._inbox.committed(message.seq)
            if message.id:
                outgoing.wake.set()

    async def _next(self, context: _Context, patience_s: float) -> pb.SessionRequest | None:
        """The next message; None at the end of the stream."""
        try:
            # Giving up ends the session, so that the read it cancels is the last one.
            async with asyncio.timeout(patience_s):
                message = await context.read()
        except TimeoutError:
            raise Temporary(f"the agent has been silent for {patience_s:g} s") from None
        if not isinstance(message, pb.SessionRequest):
            return None
        self._inbox.take(message.seq)
        self._sessions.seen[self._provider] = self._clock.now()
        return message

    async def _take(self, message: pb.SessionRequest) -> None:
        """Carry it out, or say why not. Either way it is done with."""
        word(message.id, "id")
        try:
            request = request_of(self._provider, message)
        except PeerError as error:
            self._refuse(message.id, "MALFORMED", error.what)
            return
        reply = await self._writer.ask(request)
        if isinstance(reply, denial.Denied):
            self._refuse(message.id, reply.why.name, reply.what)

    def _refuse(self, message: str, reason: str, detail: str) -> None:
        self._refused.append(pb.MessageRefused(id=message, reason=reason, detail=detail))

    # --- writing

    async def _write(self, context: _Context, outgoing: Outgoing) -> None:
        settings = self._settings
        welcome = pb.Welcome(
            epoch=outgoing.epoch,
            market=self._writer.book.market,
            heartbeat_interval_ms=settings.heartbeat_interval_ms,
            token_keys_pem=settings.token_keys_pem,
            bid_deposit_micros=settings.bid_deposit,
        )
        await self._send(context, welcome=welcome)
        while True:
            outgoing.wake.clear()
            is_idle = True
            while (body := self._waiting(outgoing)) is not None:
                await self._send(context, **body)
                is_idle = False
            if is_idle and not await self._woken(outgoing):
                await self._send(context, heartbeat=pb.Heartbeat(sent_ms=self._clock.now()))

    def _waiting(self, outgoing: Outgoing) -> dict[str, Any] | None:
        """What is to be sent next; None for nothing. Raises what ended the session."""
        if outgoing.end is not None:
            raise outgoing.end
        if self._refused:
            return {"message_refused": self._refused.popleft()}
        if outgoing.hints:
            return outgoing.hints.popleft()
        if outgoing.waiting:
            bodies = _bodies(outgoing)
            return together(bodies) if self._takes_changes else next(bodies)
        if outgoing.is_stopping:
            # Whatever the agent still says is not acknowledged any more, so it will say it again.
            outgoing.is_stopping = False
            outgoing.close(Temporary(STOPPING, retry_after=RETRY_AFTER))
            return {"go_away": pb.GoAway(reason=STOPPING, retry_after_ms=RETRY_AFTER)}
        if self._inbox.ack > self._acked:
            return {"heartbeat": pb.Heartbeat(sent_ms=self._clock.now())}
        return None

    async def _woken(self, outgoing: Outgoing) -> bool:
        """False when nothing came for so long that a heartbeat is due."""
        try:
            async with asyncio.timeout(self._beat_s):
                await outgoing.wake.wait()
        except TimeoutError:
            return False
        return True

    async def _send(self, context: _Context, **body: Any) -> None:
        self._seq += 1
        # Nothing is acknowledged together with a refusal, or while one waits: whoever reads an
        # acknowledgement first would take the refused message for done.
        if not self._refused and "message_refused" not in body:
            self._acked = self._inbox.ack
        await context.write(pb.SessionResponse(seq=self._seq, ack=self._acked, **body))


def request_of(provider: ProviderId, message: pb.SessionRequest) -> requests.Request:
    """What a message asks of the market. ``PeerError`` with the field's path where it cannot be."""
    match message.WhichOneof("body"):
        case "lease_confirmed":
            lease = codec.lease_id_from_pb(message.lease_confirmed.lease, "lease_confirmed.lease")
            return requests.ConfirmLease(provider=provider, key=message.id, lease=lease)
        case "lease_refused":
            refusal = codec_market.refusal_from_pb(message.lease_refused)
            return requests.RefuseLease(
                provider=provider,
                key=message.id,
                lease=refusal.lease,
                reason=refusal.reason,
                detail=refusal.detail,
            )
        case "lease_report":
            report = codec_market.report_from_pb(message.lease_report)
            return requests.ReportLease(
                provider=provider,
                key=message.id,
                lease=report.lease,
                health=report.health,
                ports=report.ports,
                detail=report.detail,
            )
        case "lease_ending":
            ending = codec_market.ending_from_pb(message.lease_ending)
            return requests.EndLease(
                provider=provider,
                key=message.id,
                lease=ending.lease,
                reason=ending.reason,
                detail=ending.detail,
            )
        case _:
            raise PeerError(f"message {message.seq}: is of a kind that this market does not know")


def _bodies(outgoing: Outgoing) -> Iterator[dict[str, Any]]:
    """Of what waits, each taken off as it is asked for."""
    while outgoing.waiting:
        told = outgoing.waiting.popleft()
        told.body = told.body or body_of(told.notice)
        yield told.body


def body_of(notice: Notice) -> dict[str, Any]:
    """A notice as the fields of a message."""
    match notice:
        case OrderOpened():
            body: Any = pb.OrderOpened(order=codec_market.order_to_pb(notice.order))
            return {"version": notice.version, "order_opened": body}
        case OrderClosed():
            won_at = None if notice.won_at is None else codec.rate_to_pb(notice.won_at)
            body = pb.OrderClosed(order=codec.order_id_to_pb(notice.order), won_at=won_at)
            return {"version": notice.version, "order_closed": body}
        case LeaseAwarded():
            return {"version": notice.version, "lease_awarded": codec_market.award_to_pb(notice.award)}
        case LeaseUpdated():
            updated = codec_market.update_to_pb(notice.lease, notice.manifest_hash)
            return {"version": notice.version, "lease_updated": updated}
        case LeaseEnded():
            reason = codec_market.REASON_TO_PB[notice.reason]
            body = pb.LeaseEnded(lease=codec.lease_id_to_pb(notice.lease), reason=reason)
            return {"version": notice.version, "lease_ended": body}
