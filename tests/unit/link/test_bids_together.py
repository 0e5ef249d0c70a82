"""Bids on their way: what waits together goes together, and each is answered for itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from provider.adapters.link.bids import Bids
from provider.domain.errors import Permanent
from provider.domain.ids import EffectId
from provider.domain.market import Bid
from provider.rpc.settings import BIDS_MOST
from provider.rpc.v1.market_pb2 import MessageRefused, PlaceBidsRequest, PlaceBidsResponse
from tests.agents import lease_of, rate


class Market:
    """Takes calls down, answers when it is told to, refuses what is odd."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.answers = asyncio.Event()
        self.refuses_all: Permanent | None = None
        self.odd: set[str] = set()

    async def send(self, request: PlaceBidsRequest) -> PlaceBidsResponse:
        self.calls.append([each.key for each in request.bids])
        await self.answers.wait()
        if self.refuses_all:
            raise self.refuses_all
        refused = [each.key for each in request.bids if each.key in self.odd]
        return PlaceBidsResponse(
            refused=[MessageRefused(id=key, reason="ODD", detail=f"{key} is odd") for key in refused]
        )


def bidding(body: Callable[[Bids, Market], Awaitable[None]]) -> Market:
    async def main() -> Market:
        market = Market()
        bids = Bids(market.send)
        running = asyncio.create_task(bids.run())
        async with asyncio.timeout(5):
            await body(bids, market)
        running.cancel()
        return market

    return asyncio.run(main())


def place(bids: Bids, number: int) -> asyncio.Task[None]:
    bid = Bid(id=lease_of(number), rate=rate())
    return asyncio.create_task(bids.place(EffectId(f"k{number}"), bid))


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_one_goes_at_once_and_those_that_come_meanwhile_go_together_within_bounds() -> None:
    async def body(bids: Bids, market: Market) -> None:
        placed = [place(bids, 1)]
        await settled()
        placed += [place(bids, number) for number in range(2, BIDS_MOST + 4)]
        await settled()
        assert len(market.calls) == 1
        market.answers.set()
        await asyncio.gather(*placed)

    calls = bidding(body).calls
    assert [len(call) for call in calls] == [1, BIDS_MOST, 2]
    assert [key for call in calls for key in call] == [f"k{number}" for number in range(1, BIDS_MOST + 4)]


def test_a_refusal_is_for_its_own_bid_alone() -> None:
    async def body(bids: Bids, market: Market) -> None:
        market.odd = {"k2"}
        market.answers.set()
        first, second, third = (place(bids, number) for number in (1, 2, 3))
        await asyncio.gather(first, third)
        with pytest.raises(Permanent, match="k2 is odd"):
            await second

    bidding(body)


def test_a_refused_call_refuses_all_that_was_in_it_and_nothing_later() -> None:
    async def body(bids: Bids, market: Market) -> None:
        market.refuses_all = Permanent("not a member any more")
        market.answers.set()
        for placed in (place(bids, 1), place(bids, 2)):
            with pytest.raises(Permanent, match="not a member"):
                await placed
        market.refuses_all = None
        await place(bids, 3)

    bidding(body)


def test_whoever_stops_waiting_stops_nobody_else() -> None:
    async def body(bids: Bids, market: Market) -> None:
        gone, stays = place(bids, 1), place(bids, 2)
        await settled()
        gone.cancel()
        await settled()
        market.answers.set()
        await stays
        await place(bids, 3)

    assert bidding(body).calls == [["k1", "k2"], ["k3"]]
