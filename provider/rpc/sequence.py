"""Sequence numbers of one session, for either side: what was received, what still waits for its ack.

Pure bookkeeping. ``Inbox`` holds that nothing is acknowledged before everything up to it was committed;
``Outbox`` holds that nothing is forgotten before it was acknowledged, over any number of sessions, and
that each session sends in the order in which things were added.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from provider.domain.errors import PeerError
from provider.rpc.settings import UNACKED_MOST

Body = TypeVar("Body")


class Inbox:
    """One direction of one session, receiving."""

    def __init__(self) -> None:
        self.received = 0
        """The highest number so far."""
        self.ack = 0
        """The highest number up to which everything is committed."""
        self._committed: set[int] = set()

    def take(self, seq: int) -> None:
        """The next message came. ``PeerError`` where it is not the next."""
        if seq != self.received + 1:
            raise PeerError(f"message {seq} came after message {self.received}: the stream is out of order")
        self.received = seq

    def committed(self, seq: int) -> None:
        """Message ``seq`` is done, in whatever order; a repeat is fine."""
        assert 0 < seq <= self.received, f"message {seq} was never received"
        if seq > self.ack:
            self._committed.add(seq)
        while self.ack + 1 in self._committed:
            self.ack += 1
            self._committed.remove(self.ack)


class Outbox(Generic[Body]):
    """One direction, sending. Messages outlive sessions; numbers do not."""

    def __init__(self, *, unacked_most: int = UNACKED_MOST) -> None:
        self._unacked_most = unacked_most
        self._waiting: dict[str, Body] = {}
        self._unsent: deque[str] = deque()
        self._sent: deque[tuple[int, str]] = deque()
        self._last = 0
        self.on_wanted: Callable[[], None] = lambda: None
        """Called when there may be something to send."""

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, key: str) -> bool:
        return key in self._waiting

    def add(self, key: str, body: Body) -> None:
        """Send ``body`` once, under ``key``; nothing if it waits already."""
        if key not in self._waiting:
            self._waiting[key] = body
            self._unsent.append(key)
            self.on_wanted()

    def drop(self, key: str) -> None:
        """Do not send it again; fine if it is gone."""
        self._waiting.pop(key, None)

    def start_session(self) -> None:
        """Numbers start again at 1, and everything unacknowledged is to be sent again, oldest first."""
        self._last = 0
        self._sent.clear()
        self._unsent = deque(self._waiting)

    def number(self) -> int:
        """The number of a message that need not be kept: a heartbeat."""
        self._last += 1
        return self._last

    def next(self) -> tuple[int, str, Body] | None:
        """Number, key and body of what is to be sent now; None when nothing is, or too much is in flight."""
        while self._unsent and len(self._sent) < self._unacked_most:
            key = self._unsent.popleft()
            if key in self._waiting:
                number = self.number()
                self._sent.append((number, key))
                return number, key, self._waiting[key]
        return None

    def acknowledge(self, ack: int) -> tuple[str, ...]:
        """Everything up to ``ack`` is committed over there: the keys this settles, oldest first."""
        if ack > self._last:
            raise PeerError(f"message {ack} is acknowledged, but only {self._last} were sent")
        settled = []
        was_full = len(self._sent) >= self._unacked_most
        while self._sent and self._sent[0][0] <= ack:
            _, key = self._sent.popleft()
            if self._waiting.pop(key, None) is not None:
                settled.append(key)
        if was_full and settled and self._unsent:
            self.on_wanted()
        return tuple(settled)
