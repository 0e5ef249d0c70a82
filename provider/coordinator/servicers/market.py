"""MarketService: the agents' side."""

# ruff: noqa: N802 -- the proto names the methods

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from provider.coordinator.gate import Gate
from provider.coordinator.market import requests
from provider.coordinator.refusals import granted
from provider.coordinator.rows import Done
from provider.coordinator.screenings import Screenings
from provider.coordinator.servicers.session import Session, SessionSettings
from provider.coordinator.writer import Clock, Writer
from provider.domain.errors import PeerError
from provider.domain.ids import ProviderId
from provider.rpc import codec, codec_market
from provider.rpc.fields import broken, line, present, word
from provider.rpc.settings import BIDS_MOST
from provider.rpc.status import Denied
from provider.rpc.v1 import market_pb2 as pb
from provider.rpc.v1 import market_pb2_grpc

_Context = grpc.aio.ServicerContext[Any, Any]


class MarketServicer(market_pb2_grpc.MarketServiceServicer):
    def __init__(
        self, writer: Writer, screenings: Screenings, clock: Clock, settings: SessionSettings
    ) -> None:
        self._writer = writer
        self._gate = Gate(writer)
        self._screenings = screenings
        self._clock = clock
        self._settings = settings

    async def Session(  # type: ignore[override]  # a coroutine that reads and writes the context itself
        self, request_iterator: AsyncIterator[pb.SessionRequest], context: _Context
    ) -> None:
        provider = self._gate.provider(context)
        session = Session(provider, self._writer, self._screenings, self._clock, self._settings)
        await session.run(context)

    async def PlaceBid(self, request: pb.PlaceBidRequest, context: _Context) -> pb.PlaceBidResponse:
        provider = self._gate.provider(context)
        bid = codec_market.bid_from_pb(request.bid, present(request, "bid", "place_bid"))
        ask = requests.PlaceBid(provider=provider, key=word(request.key, "place_bid.key"), bid=bid)
        granted(await self._writer.ask(ask), Done)
        return pb.PlaceBidResponse()

    async def PlaceBids(  # type: ignore[override]  # a coroutine that reads and writes the context itself
        self, request_iterator: AsyncIterator[pb.PlaceBidsRequest], context: _Context
    ) -> None:
        """Those of a request are asked for together, so that the writer commits them together."""
        while isinstance(request := await context.read(), pb.PlaceBidsRequest):
            provider = self._gate.provider(context)  # anew: one that was removed may still have its call
            if len(request.bids) > BIDS_MOST:
                raise broken("place_bids.bids", f"has more than {BIDS_MOST}")
            answers = await asyncio.gather(*(self._placed(provider, each) for each in request.bids))
            await context.write(pb.PlaceBidsResponse(refused=[each for each in answers if each is not None]))

    async def _placed(self, provider: ProviderId, request: pb.PlaceBidRequest) -> pb.MessageRefused | None:
        """None if it is taken."""
        key = word(request.key, "place_bids.key")
        try:
            bid = codec_market.bid_from_pb(request.bid, present(request, "bid", "place_bids"))
            granted(await self._writer.ask(requests.PlaceBid(provider=provider, key=key, bid=bid)), Done)
        except Denied as denied:
            return pb.MessageRefused(id=key, reason=denied.reason, detail=line(str(denied)))
        except PeerError as error:
            return pb.MessageRefused(id=key, reason="MALFORMED", detail=line(error.what))
        return None

    async def WithdrawBid(self, request: pb.WithdrawBidRequest, context: _Context) -> pb.WithdrawBidResponse:
        provider = self._gate.provider(context)
        bid = codec.lease_id_from_pb(request.bid, present(request, "bid", "withdraw_bid"))
        ask = requests.WithdrawBid(provider=provider, key=word(request.key, "withdraw_bid.key"), bid=bid)
        granted(await self._writer.ask(ask), Done)
        return pb.WithdrawBidResponse()

    async def ReportUsage(self, request: pb.ReportUsageRequest, context: _Context) -> pb.ReportUsageResponse:
        provider = self._gate.provider(context)
        usage = codec_market.usage_from_pb(request)
        ask = requests.ReportUsage(provider=provider, usage=usage)
        settled = granted(await self._writer.ask(ask), requests.Settled)
        return pb.ReportUsageResponse(settled=codec.money_to_pb(settled.paid))
