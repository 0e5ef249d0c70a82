"""Bids on their way to the market: those that wait together go together, in one message.

Owns what waits, and the call that stays open for it. Does not own what becomes of a message that fails
(``link``). A bid that waits alone goes at once; while a message is under way the next ones gather, so that a
thousand orders opening at once are a few messages, and no burst comes up against a market's limit of calls.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc.aio

from provider.domain.errors import Permanent, Temporary
from provider.domain.ids import EffectId
from provider.domain.market import Bid
from provider.rpc.calls import cancelled_on_failure
from provider.rpc.codec_market import bid_to_pb
from provider.rpc.settings import BIDS_MOST
from provider.rpc.v1.market_pb2 import MessageRefused, PlaceBidRequest, PlaceBidsRequest, PlaceBidsResponse

if TYPE_CHECKING:
    from provider.rpc.v1.market_pb2_grpc import MarketServiceAsyncStub

Send = Callable[[PlaceBidsRequest], Awaitable[PlaceBidsResponse]]
"""Returns once there is an answer, over any number of connections. ``Permanent`` refuses all of them."""


class BidCall:
    """The call that bids go through, open for as long as its connection is: opening one takes as long as the
    agent's whole decision (measured). One question at a time."""

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._stub: MarketServiceAsyncStub | None = None
        self._call: grpc.aio.StreamStreamCall[PlaceBidsRequest, PlaceBidsResponse] | None = None

    async def ask(self, stub: MarketServiceAsyncStub, request: PlaceBidsRequest) -> PlaceBidsResponse:
        """The answer; a failure as ``domain.errors``, and the next question opens a call anew."""
        if self._call is None or self._stub is not stub or self._call.done():
            self.close()
            self._stub, self._call = stub, stub.PlaceBids()
        try:
            async with cancelled_on_failure(self._call) as call, asyncio.timeout(self._deadline_s):
                await call.write(request)
                answer = await call.read()
        except TimeoutError as silence:
            raise Temporary(f"the market has not answered bids for {self._deadline_s:g} s") from silence
        except asyncio.InvalidStateError as over:
            raise Temporary("the call for bids ended") from over
        if not isinstance(answer, PlaceBidsResponse):
            raise Temporary("the market ended the call for bids")
        return answer

    def close(self) -> None:
        """Idempotent."""
        if self._call is not None:
            self._call.cancel()
        self._stub = self._call = None


@dataclass(frozen=True, slots=True)
class _Waiting:
    request: PlaceBidRequest
    answer: asyncio.Future[None]


class Bids:
    """``run`` it beside the link."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()

    async def place(self, key: EffectId, bid: Bid) -> None:
        """Until the market has it. ``Permanent`` if it does not take it."""
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(PlaceBidRequest(key=key, bid=bid_to_pb(bid)), answer))
        self._arrived.set()
        await answer

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), BIDS_MOST))]
                await self._go(batch)

    async def _go(self, batch: Sequence[_Waiting]) -> None:
        try:
            response = await self._send(PlaceBidsRequest(bids=[each.request for each in batch]))
        except Permanent as refusal:
            for each in batch:
                _settle(each, refusal)
            return
        refused = {each.id: _why(each) for each in response.refused}
        for each in batch:
            _settle(each, refused.get(each.request.key))


def _why(refused: MessageRefused) -> Permanent:
    return Permanent(refused.detail or f"the market refused: {refused.reason}")


def _settle(waiting: _Waiting, refusal: Permanent | None) -> None:
    """Whoever waited may have gone: the bid was wanted all the same, and is told again after a restart."""
    if waiting.answer.done():
        return
    if refusal is None:
        waiting.answer.set_result(None)
    else:
        waiting.answer.set_exception(refusal)
