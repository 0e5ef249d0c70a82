"""``ports.CoordinatorLink`` in memory, with the faults that a network has.

Faults are scripted, never random: connections are cut, requests or answers are lost, deliveries come
twice. What a link may not do is not on the list: it never loses for good, never invents, and never
changes the market's order within one connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Self

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
from provider.core.events import CoordinatorConnected, CoordinatorLost
from provider.domain.ids import EffectId, LeaseId
from provider.domain.market import Bid, CloseReason, LeaseHealth, Refused, Usage
from provider.domain.workload import PortBinding
from provider.ports import Delivery
from provider.sim.market import SimulatedMarket


class SimulatedLink:
    """One life of an agent's link to ``market``. ``position`` is what the agent has committed."""

    def __init__(self, market: SimulatedMarket, position: Callable[[], tuple[str, int]]) -> None:
        self.market = market
        self.doubles = False
        """Deliver everything twice."""
        self._position = position
        self._inbound: asyncio.Queue[Delivery | None] = asyncio.Queue()
        self._is_up = asyncio.Event()
        self._sent = 0
        self._lost_answers = 0
        self._unwatch: Callable[[], None] | None = None

    async def __aenter__(self) -> Self:
        self._unwatch = self.market.watch(self._deliver_news)
        self.restore()
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._unwatch:
            self._unwatch()
        self._is_up.clear()
        self._inbound.put_nowait(None)

    # --- faults

    def cut(self, why: str = "the connection was cut") -> None:
        """Nothing passes until ``restore``."""
        if self._is_up.is_set():
            self._is_up.clear()
            self._inbound.put_nowait(Delivery(event=CoordinatorLost(why=why)))

    def restore(self) -> None:
        """A new session: what changed since the agent's position is delivered again."""
        if self._is_up.is_set():
            return
        market, version = self._position()
        assert market in {"", self.market.name}, "an agent belongs to one market"
        connected = CoordinatorConnected(market=self.market.name, epoch=self.market.next_epoch())
        self._inbound.put_nowait(Delivery(event=connected))
        self._sent = version
        self._is_up.set()
        self._deliver_news()

    def lose_answers(self, count: int) -> None:
        """Cut the connection after each of the next ``count`` messages, once the market has it."""
        self._lost_answers = count

    # --- ports.CoordinatorLink

    async def inbound(self) -> AsyncIterator[Delivery]:
        while (delivery := await self._inbound.get()) is not None:
            yield delivery

    async def place_bid(self, key: EffectId, bid: Bid) -> None:
        await self._tell(PlaceBid(id=key, bid=bid))

    async def withdraw_bid(self, key: EffectId, bid: LeaseId) -> None:
        await self._tell(WithdrawBid(id=key, bid=bid))

    async def report_usage(self, key: EffectId, usage: Usage) -> None:
        await self._tell(ReportUsage(id=key, usage=usage))

    async def confirm_lease(self, key: EffectId, lease: LeaseId) -> None:
        await self._tell(ConfirmLease(id=key, lease=lease))

    async def refuse_lease(self, key: EffectId, lease: LeaseId, why: Refused) -> None:
        await self._tell(RefuseLease(id=key, lease=lease, why=why))

    async def report_lease(
        self, key: EffectId, lease: LeaseId, health: LeaseHealth, ports: tuple[PortBinding, ...], detail: str
    ) -> None:
        await self._tell(ReportLease(id=key, lease=lease, health=health, ports=ports, detail=detail))

    async def end_lease(self, key: EffectId, lease: LeaseId, reason: CloseReason, detail: str) -> None:
        await self._tell(EndLease(id=key, lease=lease, reason=reason, detail=detail))

    async def _tell(self, effect: Effect) -> None:
        while True:
            await self._is_up.wait()
            self.market.take(effect)
            if self._lost_answers:
                self._lost_answers -= 1
                self.cut("the answer was lost")
                continue
            return

    def _deliver_news(self) -> None:
        if not self._is_up.is_set():
            return
        for event in self.market.since(self._sent):
            self._sent = event.version
            for _ in range(2 if self.doubles else 1):
                self._inbound.put_nowait(Delivery(event=event, committed=_nothing))


def _nothing() -> None:
    """The market looks at the agent's position instead."""
