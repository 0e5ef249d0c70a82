"""One session with the coordinator, from Hello to its end.

Owns: the stream, its one reader and one writer, sequence numbers and acknowledgements, heartbeats and
the silence that ends it. Does not own: when to dial again, nor what waits to be told (``link.py``).
Invariant: a message is acknowledged only once its step is committed, and everything that the stream
brings is delivered in its order.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc.aio

from provider.adapters.link.settings import LinkSettings
from provider.adapters.link.translate import event_from_pb
from provider.core.markets import MarketEvent
from provider.domain.errors import PeerError, Permanent, ProviderError, Temporary
from provider.domain.moment import Instant, Span
from provider.ports import Clock, Delivery
from provider.rpc.calls import cancelled_after
from provider.rpc.sequence import Inbox, Outbox
from provider.rpc.settings import ACK_AT_ONCE, ACK_DELAY_S, SILENT_INTERVALS
from provider.rpc.status import is_broken
from provider.rpc.v1.market_pb2 import (
    Change,
    Goodbye,
    Heartbeat,
    Hello,
    LeaseConfirmed,
    LeaseEnding,
    LeaseRefused,
    LeaseReport,
    MessageRefused,
    Screened,
    ScreeningWanted,
    SessionRequest,
    SessionResponse,
    Welcome,
)

if TYPE_CHECKING:
    from provider.rpc.v1.market_pb2_grpc import MarketServiceAsyncStub

Told = LeaseConfirmed | LeaseRefused | LeaseReport | LeaseEnding
"""What an agent tells the market on the stream."""
_Call = grpc.aio.StreamStreamCall[SessionRequest, SessionResponse]
SCREENED_MOST = 256
"""Answers that wait to be sent: past it the oldest are dropped, and asked for again."""

_FIELD: dict[type[Told], str] = {
    LeaseConfirmed: "lease_confirmed",
    LeaseRefused: "lease_refused",
    LeaseReport: "lease_report",
    LeaseEnding: "lease_ending",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSink:
    """Where a session puts what it learns."""

    inbound: asyncio.Queue[Delivery | None]
    welcomed: Callable[[Welcome], Delivery]
    """Accepts the coordinator's first message, or raises ``ProviderError``."""
    settled: Callable[[str, Permanent | None], None]
    """A message was taken in over there, or refused for good."""
    skipped: Callable[[PeerError], None]
    """An order that cannot be read here was passed over."""
    tunnel_wanted: Callable[[str], None]
    """The coordinator asks for a tunnel of this name."""
    screened: Callable[[ScreeningWanted], Screened | None]
    """The coordinator asks whether we would bid: what we say; None where nobody is there to say it."""


class Session:
    """``run`` it once; ``leave`` ends it in order."""

    def __init__(self, settings: LinkSettings, clock: Clock, outbox: Outbox[Told], sink: SessionSink) -> None:
        self._settings = settings
        self._clock = clock
        self._outbox = outbox
        self._sink = sink
        self._inbox = Inbox()
        self._acked = 0
        self._is_ack_due = False
        self._sent_at = 0.0
        self._ack_timer: asyncio.TimerHandle | None = None
        self._silence_timer: asyncio.TimerHandle | None = None
        self._silence_s = settings.welcome_s
        self._heard_at = 0.0
        self.last_message: Instant | None = None
        """When the coordinator last said something."""
        self._is_held_up = False
        self._screened: deque[Screened] = deque(maxlen=SCREENED_MOST)
        self._wake = asyncio.Event()
        self._is_welcome = asyncio.Event()
        self._beat_s = settings.welcome_s
        self._goodbye: str | None = None
        self._ended: ProviderError | None = None
        self._call: _Call | None = None

    async def run(self, stub: MarketServiceAsyncStub, hello: Hello) -> ProviderError:
        """Returns what ended it, once nothing of it is left."""
        self._outbox.start_session()
        self._outbox.on_wanted = self._wake.set
        self._heard_at = asyncio.get_running_loop().time()
        try:
            async with asyncio.TaskGroup() as tasks:
                self._call = call = stub.Session()
                self._watch(call)
                writer = tasks.create_task(self._write(call, hello))
                try:
                    async with cancelled_after(call):
                        await self._read(call)
                except ProviderError as error:
                    self._end(_lost(error) if self._inbox.received else error)
                finally:
                    writer.cancel()
        finally:
            self._outbox.on_wanted = _nothing
            for timer in (self._ack_timer, self._silence_timer):
                if timer:
                    timer.cancel()
        return self._ended or Temporary("the coordinator ended the session")

    def leave(self, reason: str) -> None:
        """Send what waits, say goodbye and let the coordinator end the stream."""
        self._goodbye = reason
        self._silence_s = min(self._silence_s, self._settings.leave_s)
        self._is_welcome.set()
        self._wake.set()
        if self._call:
            self._heard_at = asyncio.get_running_loop().time()
            self._watch(self._call)

    def _end(self, error: ProviderError) -> None:
        """The first reason counts: what follows from it says less."""
        self._ended = self._ended or error

    def _watch(self, call: _Call) -> None:
        """End the session when nothing has come for too long: a frozen peer still answers TCP."""
        loop = asyncio.get_running_loop()
        if self._is_held_up:
            self._heard_at = loop.time()
        left = self._heard_at + self._silence_s - loop.time()
        if left <= 0:
            what = "has not welcomed us" if not self._inbox.received else "has been silent"
            self._end(Temporary(f"the coordinator {what} for {self._silence_s:g} s"))
            call.cancel()
            return
        if self._silence_timer:
            self._silence_timer.cancel()
        self._silence_timer = loop.call_later(left, self._watch, call)

    # --- reading

    async def _read(self, call: _Call) -> None:
        loop = asyncio.get_running_loop()
        while isinstance(message := await call.read(), SessionResponse):
            self._heard_at, self.last_message = loop.time(), self._clock.now()
            self._inbox.take(message.seq)
            if message.HasField("message_refused"):
                self._refused(message.message_refused)
            self._settle(message.ack)
            if message.seq == 1:
                await self._welcome(message, call)
                continue
            if message.HasField("go_away"):
                wait = Span(message.go_away.retry_after_ms)
                self._end(Temporary(f"the coordinator said: {message.go_away.reason}", retry_after=wait))
                self.leave("the coordinator asked for it")
            if message.HasField("tunnel_wanted"):
                self._sink.tunnel_wanted(message.tunnel_wanted.tunnel)
            if message.HasField("screening_wanted"):
                self._screen(message.screening_wanted)
            await self._take(message)

    def _refused(self, refused: MessageRefused) -> None:
        """Read before the ack that travels with it."""
        self._outbox.drop(refused.id)
        why = refused.detail or f"the market refused: {refused.reason}"
        self._sink.settled(refused.id, Permanent(why))

    def _screen(self, wanted: ScreeningWanted) -> None:
        screened = self._sink.screened(wanted)
        if screened is not None:
            self._screened.append(screened)
            self._wake.set()

    def _settle(self, ack: int) -> None:
        for key in self._outbox.acknowledge(ack):
            self._sink.settled(key, None)

    async def _welcome(self, message: SessionResponse, call: _Call) -> None:
        if not message.HasField("welcome"):
            raise PeerError("the coordinator did not begin with a welcome")
        delivery = self._sink.welcomed(message.welcome)
        self._inbox.committed(1)
        self._beat_s = max(message.welcome.heartbeat_interval_ms, 1) / 1000
        if self._goodbye is None:
            self._silence_s = self._beat_s * SILENT_INTERVALS
        self._watch(call)
        self._is_welcome.set()
        await self._deliver(delivery)

    async def _take(self, message: SessionResponse) -> None:
        """Events are committed in their order, so the last one's commit acknowledges the whole message."""
        changes = message.changes.changes if message.HasField("changes") else (message,)
        events = [event for change in changes if (event := self._event(change)) is not None]
        if not events:
            self._commit(message.seq)
            return
        for event in events[:-1]:
            await self._deliver(Delivery(event=event))
        await self._deliver(Delivery(event=events[-1], committed=partial(self._commit, message.seq)))

    def _event(self, change: SessionResponse | Change) -> MarketEvent | None:
        try:
            return event_from_pb(change)
        except PeerError as error:
            if not change.HasField("order_opened"):
                raise
            # An order in words that this version does not know: one not to bid on. All else must count.
            self._sink.skipped(error)
            return None

    async def _deliver(self, delivery: Delivery) -> None:
        if self._sink.inbound.full():
            # The agent is behind: the coordinator has to wait, and its silence is ours.
            self._is_held_up = True
            await self._sink.inbound.put(delivery)
            self._is_held_up = False
        else:
            self._sink.inbound.put_nowait(delivery)

    def _commit(self, seq: int) -> None:
        """Acknowledge soon: on the next message, at the latest after ``ACK_DELAY_S``."""
        self._inbox.committed(seq)
        owed = self._inbox.ack - self._acked
        if owed >= ACK_AT_ONCE:
            self._ack_now()
        elif owed and self._ack_timer is None:
            self._ack_timer = asyncio.get_running_loop().call_later(ACK_DELAY_S, self._ack_now)

    def _ack_now(self) -> None:
        self._is_ack_due = True
        self._wake.set()

    # --- writing

    async def _write(self, call: _Call, hello: Hello) -> None:
        try:
            await call.write(SessionRequest(seq=self._outbox.number(), hello=hello))
            await self._is_welcome.wait()
            self._sent_at = asyncio.get_running_loop().time()
            while self._goodbye is None:
                await self._send_waiting(call)
                if self._is_ack_due or self._until_beat() <= 0:
                    heartbeat = Heartbeat(sent_ms=self._clock.now())
                    await call.write(self._numbered(self._outbox.number(), heartbeat=heartbeat))
                await self._pause()
            await self._send_waiting(call)
            goodbye = Goodbye(reason=self._goodbye)
            await call.write(self._numbered(self._outbox.number(), goodbye=goodbye))
            await call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return  # the stream is over; the reader learns why

    async def _send_waiting(self, call: _Call) -> None:
        while (waiting := self._outbox.next()) is not None:
            seq, key, body = waiting
            await call.write(self._numbered(seq, id=key, **{_FIELD[type(body)]: body}))
        while self._screened:
            screened = self._screened.popleft()
            await call.write(self._numbered(self._outbox.number(), screened=screened))

    def _numbered(self, seq: int, **fields: Any) -> SessionRequest:
        """A message that carries all that is owed."""
        self._acked = self._inbox.ack
        self._is_ack_due = False
        if self._ack_timer:
            self._ack_timer.cancel()
            self._ack_timer = None
        self._sent_at = asyncio.get_running_loop().time()
        return SessionRequest(seq=seq, ack=self._acked, **fields)

    def _until_beat(self) -> float:
        return self._sent_at + self._beat_s - asyncio.get_running_loop().time()

    async def _pause(self) -> None:
        """Until something is to be sent, or a heartbeat is due."""
        try:
            async with asyncio.timeout(self._until_beat()):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()


def _lost(error: ProviderError) -> ProviderError:
    """A connection that broke after the welcome says nothing about certificates or addresses."""
    return Temporary("the connection was lost") if is_broken(error) else error


def _nothing() -> None:
    """No session is there to be woken."""
