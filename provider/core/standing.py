"""What a run of records comes to: what was held at its end, what waited, what there was, what was done.

Where a replay begins. Pure; decides nothing. Invariant: what it says is held is what the agent that was
recorded held at that instant, as far as its records go.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

from provider.core.admission import Accepted
from provider.core.learning import WinCurve
from provider.core.lease import Phase
from provider.core.ledger import (
    LIVE,
    Began,
    Decided,
    Drained,
    Fate,
    Held,
    Named,
    OrderGone,
    Record,
    Seen,
    Settled,
    Turned,
    Woke,
)
from provider.core.policy import Policy
from provider.core.state import AgentState, Lease, OpenBid, WaitingOrder
from provider.domain.ids import OrderId
from provider.domain.market import Order
from provider.domain.moment import Instant, after
from provider.domain.money import Rate

NEVER = Instant(2**62)
"""When a bid expires of which that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Real:
    """What was really done about an order, as far as the records go."""

    order: Order
    rate: Rate | None
    """Of the last bid on it; None where there was none."""
    fate: Fate


class Standing:
    """Takes records one after the other."""

    def __init__(self) -> None:
        self.real: dict[OrderId, Real] = {}
        self.seen: Seen | None = None
        self._held: dict[OrderId, Held] = {}
        self._placed_at: dict[OrderId, Instant] = {}
        """Of bids whose decision is among the records."""
        self._waiting: dict[OrderId, WaitingOrder] = {}
        self._is_draining = False
        self._curves: dict[str, WinCurve] = {}
        self._is_new = True

    def take(self, record: Record) -> None:
        match record:
            case Decided():
                self._decided(record)
            case Turned():
                self._turned(record)
            case OrderGone(order=order):
                self._waiting.pop(order, None)
                self._held = {key: held for key, held in self._held.items() if key != order or held.is_lease}
            case Seen():
                self.seen = record
            case Drained(is_draining=is_draining):
                self._is_draining = is_draining
            case Began():
                self._held = {each.order.id: each for each in record.held}
                self._placed_at = {key: at for key, at in self._placed_at.items() if key in self._held}
                self._is_draining = record.is_draining
                self._curves = dict(record.curves)
                self.seen = None
            case Named(order=order, hostnames=names):
                held = self._held.get(order)
                if held is not None:
                    group = replace(held.order.group, hostnames=names)
                    self._held[order] = replace(held, order=replace(held.order, group=group))
            case Woke() | Settled():
                pass
            case _:
                assert_never(record)

    def _decided(self, record: Decided) -> None:
        order = record.order
        known = self.real.get(order.id)
        rate = record.decision.rate or (known.rate if known else None)
        self.real[order.id] = Real(order=order, rate=rate, fate=record.fate)
        verdict = record.decision.verdict
        if isinstance(verdict, Accepted) or not record.is_again:  # looked at again, it keeps its place
            self._waiting.pop(order.id, None)
        if isinstance(verdict, Accepted):
            self._held[order.id] = Held(
                order=order, bid=verdict.bid, placement=verdict.placement, version=record.version
            )
            self._placed_at[order.id] = record.at
        else:
            self._waiting[order.id] = WaitingOrder(order=order, refused=verdict, version=record.version)

    def _turned(self, record: Turned) -> None:
        real = self.real.get(record.order)
        if real is not None:
            self.real[record.order] = replace(real, fate=record.fate)
        held = self._held.get(record.order)
        if held is None:
            return
        if record.fate is Fate.WON:
            self._held[record.order] = replace(held, is_lease=True)
        elif record.fate not in LIVE:
            del self._held[record.order]

    def _expires_at(self, order: OrderId, policy: Policy) -> Instant:
        at = self._placed_at.get(order)
        return NEVER if at is None else after(at, policy.bid_lifetime)

    def state(self, policy: Policy) -> AgentState:
        bids = {
            held.bid.id: OpenBid(
                bid=held.bid,
                order=held.order,
                placement=held.placement,
                expires_at=held.expires_at or self._expires_at(held.order.id, policy),
                version=held.version,
            )
            for held in self._held.values()
            if not held.is_lease
        }
        leases = {held.bid.id: _running(held) for held in self._held.values() if held.is_lease}
        return AgentState(
            policy=policy,
            bids=bids,
            leases=leases,
            orders=dict(self._waiting),
            is_draining=self._is_draining,
            curves=self._curves,
        )


def _running(held: Held) -> Lease:
    return Lease(
        id=held.bid.id,
        group=held.order.group,
        rate=held.bid.rate,
        manifest_hash=held.order.manifest_hash,
        placement=held.placement,
        version=held.version,
        phase=Phase.AWARDED,
        due=None,
    )
