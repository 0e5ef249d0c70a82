"""One message of an agent to the market, told until it is answered, in whatever weather.

A request, or its answer, may be lost or doubled; the agent tells it again under the same key. Invariant: once
``done`` is called, the market has committed it or refused it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from provider.coordinator.denial import Denied
from provider.coordinator.market import requests
from provider.coordinator.market.requests import Reply, Request
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
from provider.core.events import Failed, Performed
from provider.domain.ids import ProviderId
from provider.domain.moment import SECOND, Span
from provider.sim.world_market import Surroundings

TRY_AGAIN = Span(2 * SECOND)

CanSend = Callable[[], bool | None]
"""Whether there is a line; None once nobody wants the message told any more."""


class Telling:
    """``begin`` it once; ``done`` hears of the end, once."""

    def __init__(
        self, around: Surroundings, effect: Effect, done: Callable[[Performed | Failed], None]
    ) -> None:
        self._agenda, self._chance, self._market = around.agenda, around.chance, around.market
        self._effect, self._done = effect, done
        self._is_over = False

    def begin(self, provider: ProviderId, can_send: CanSend) -> None:
        self._try(request_of(provider, self._effect), can_send)

    def _try(self, request: Request, can_send: CanSend) -> None:
        can = can_send()
        if can is None or self._is_over:
            return
        self._agenda.later(
            TRY_AGAIN + self._chance.delay(), "tells again", partial(self._try, request, can_send)
        )
        if not can or self._chance.loses():
            return
        for _ in range(2 if self._chance.doubles() else 1):
            self._agenda.later(self._chance.delay(), "told", partial(self._arrive, request, can_send))

    def _arrive(self, request: Request, can_send: CanSend) -> None:
        reply = self._market.ask(request)
        if reply is not None and not self._chance.loses():
            self._agenda.later(self._chance.delay(), "answered", partial(self._answer, reply, can_send))

    def _answer(self, reply: Reply, can_send: CanSend) -> None:
        if self._is_over or can_send() is None:
            return
        self._is_over = True
        if isinstance(reply, Denied):
            self._done(Failed(effect=self._effect, what=reply.what, is_final=True))
        else:
            self._done(Performed(effect=self._effect))


def request_of(provider: ProviderId, effect: Effect) -> Request:
    """What the wire makes of an effect."""
    key = effect.id
    match effect:
        case PlaceBid(bid=bid):
            return requests.PlaceBid(provider=provider, key=key, bid=bid)
        case WithdrawBid(bid=withdrawn):
            return requests.WithdrawBid(provider=provider, key=key, bid=withdrawn)
        case ConfirmLease(lease=lease):
            return requests.ConfirmLease(provider=provider, key=key, lease=lease)
        case RefuseLease(lease=lease, why=why):
            return requests.RefuseLease(
                provider=provider, key=key, lease=lease, reason=why.why, detail=str(why)
            )
        case ReportLease(lease=lease, health=health, ports=ports, detail=detail):
            return requests.ReportLease(
                provider=provider, key=key, lease=lease, health=health, ports=ports, detail=detail
            )
        case ReportUsage(usage=usage):
            return requests.ReportUsage(provider=provider, usage=usage)
        case EndLease(lease=lease, reason=reason, detail=detail):
            return requests.EndLease(provider=provider, key=key, lease=lease, reason=reason, detail=detail)
        case _:
            raise AssertionError(f"{effect} is for the engine")
