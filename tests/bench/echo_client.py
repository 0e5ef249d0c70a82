"""The other process of the bid benchmark's baselines: answers each message, with as many bytes as a bid.

Its arguments: a folder with its identity, what it does before it answers, and the answer's size. ``commits``
is the least that an agent can be: rows of a bid's size into a SQLite file with the store's own settings.
``decides`` is all that an agent must do for a bid and nothing of what makes it a daemon: it decodes, decides,
commits by the store, encodes.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path

import grpc.aio

from provider.adapters.clock import SystemClock
from provider.adapters.link.translate import event_from_pb
from provider.adapters.store.database import open_database
from provider.adapters.store.sqlite import SCHEMA, SqliteStore
from provider.core.agent import transition
from provider.core.effects import PlaceBid
from provider.core.events import OrderClosed, OrderOpened
from provider.rpc import identity
from provider.rpc.codec_market import bid_to_pb
from provider.rpc.member import Member, Role
from provider.rpc.settings import mtls_channel
from provider.rpc.v1.market_pb2 import PlaceBidRequest, PlaceBidsRequest, SessionResponse
from tests.bench.bench_decision import WIDE, empty

COMMITTED_BYTES = 1_200
"""By a bid: its row and its effect's."""
Answer = Callable[[bytes], bytes]
CLOCK = SystemClock()


class Before(StrEnum):
    """What comes before an answer."""

    NOTHING = "nothing"
    COMMITS = "commits"
    DECIDES = "decides"


async def main(folder: Path, before: Before, answer_bytes: int) -> None:
    who = identity.load(folder, Role.PROVIDER, at=CLOCK.now())
    coordinator = Member(role=Role.COORDINATOR, market=who.member.market, name="")
    with ExitStack() as stack:
        agent: _Agent | None = None
        match before:
            case Before.NOTHING:
                answer: Answer = _echoes(answer_bytes)
            case Before.COMMITS:
                answer = _commits(folder, answer_bytes, stack)
            case Before.DECIDES:
                agent = _Agent(folder, stack)
                answer = agent.bid
        async with mtls_channel(who.coordinator, who, expect=coordinator) as channel:
            call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream("/bench.Echo/Both")()
            try:
                while isinstance(message := await call.read(), bytes):
                    await call.write(answer(message))
                    if agent is not None:
                        agent.lose()
            finally:
                call.cancel()


def _echoes(size: int) -> Answer:
    return lambda _: b"y" * size


def _commits(folder: Path, size: int, stack: ExitStack) -> Answer:
    database = stack.enter_context(open_database(folder / "least.db", SCHEMA))
    half, count = COMMITTED_BYTES // 2, iter(range(sys.maxsize))

    def answer(_: bytes) -> bytes:
        name = str(next(count))
        with database.transaction() as connection:
            connection.execute("INSERT INTO bid (id, body) VALUES (?, ?)", (name, "b" * half))
            connection.execute("INSERT INTO effect (id, body) VALUES (?, ?)", (name, "e" * half))
        return b"y" * size

    return answer


class _Agent:
    """Eight cards, the core and the store."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._store = SqliteStore.open(folder / "provider.db", WIDE)
        stack.callback(self._store.close)
        self._state = empty()
        self._opened: OrderOpened | None = None

    def bid(self, message: bytes) -> bytes:
        event = event_from_pb(SessionResponse.FromString(message))
        assert isinstance(event, OrderOpened), "an order is all that is sent"
        self._opened = event
        step = transition(self._state, event, CLOCK.now())
        self._store.commit([step])
        self._state = step.state
        (effect,) = step.effects
        assert isinstance(effect, PlaceBid), "there is room for it"
        request = PlaceBidRequest(key=effect.id, bid=bid_to_pb(effect.bid))
        return PlaceBidsRequest(bids=[request]).SerializeToString()

    def lose(self) -> None:
        """Somebody else got it: the next order finds what this one found."""
        assert self._opened is not None, "bid on before"
        closed = OrderClosed(order=self._opened.order.id, version=self._opened.version + 1)
        step = transition(self._state, closed, CLOCK.now())
        self._store.commit([step])
        self._state = step.state


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Before(sys.argv[2]), int(sys.argv[3])))
