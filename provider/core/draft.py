"""A step in the making: what the parts of one transition add to it.

The one mutable thing in the core, and it lives no longer than one call of ``agent.transition``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from provider.core import holdings as held_things
from provider.core.effects import Effect
from provider.core.holdings import Held, Holdings
from provider.core.state import (
    ORDERS_MOST,
    AgentState,
    Lease,
    OpenBid,
    WaitingOrder,
    holdings,
    sum_of_holdings,
)
from provider.core.step import Note, Step
from provider.domain.ids import EffectId, LeaseId, NodeName, OrderId
from provider.domain.market import GroupSpec, Placement, Refused


class Draft:
    """Collects state, effects and notes in order."""

    def __init__(self, state: AgentState) -> None:
        self.state = state
        self.refused: Refused | None = None
        self.capacity_changed = False
        """What there is, or what is wanted, is another: all refused orders are worth another look."""
        self.freed = False
        """Something was given back: orders that it may be enough for are worth another look."""
        self._effects: list[Effect] = []
        self._settled: list[EffectId] = []
        self._notes: list[Note] = []
        self._bids: dict[LeaseId, OpenBid] = {}
        self._leases: dict[LeaseId, Lease] = {}
        self._orders: dict[OrderId, WaitingOrder] = {}
        if state.holdings is None:
            self.state = replace(state, holdings=sum_of_holdings(state))

    def want(self, effect: Effect) -> None:
        self._effects.append(effect)

    def settle(self, effect: EffectId) -> None:
        self._settled.append(effect)

    def note(self, note: Note) -> None:
        self._notes.append(note)

    def put_bid(self, bid: OpenBid) -> None:
        bids = self._own_bids()
        if bid.bid.id not in bids:
            self._hold(held_things.with_bid, bid.order.group, bid.placement)
        bids[bid.bid.id] = bid

    def drop_bid(self, lease_id: LeaseId, *, is_won: bool = False) -> None:
        """What it held is free, unless a lease takes it over in this step."""
        bid = self._own_bids().pop(lease_id)
        self._hold(held_things.without_bid, bid.order.group, bid.placement)
        self.freed |= not is_won

    def put_lease(self, lease: Lease) -> None:
        leases = self._own_leases()
        if lease.id not in leases:
            self._hold(held_things.with_lease, lease.group, lease.placement)
        leases[lease.id] = lease

    def drop_lease(self, lease_id: LeaseId) -> None:
        lease = self._own_leases().pop(lease_id)
        self._hold(held_things.without_lease, lease.group, lease.placement)
        self.freed = True

    def put_order(self, waiting: WaitingOrder) -> None:
        """Of each market the newest ``ORDERS_MOST`` stay."""
        orders, market = self._own_orders(), waiting.order.id.market
        orders[waiting.order.id] = waiting
        if len(orders) > ORDERS_MOST and sum(key.market == market for key in orders) > ORDERS_MOST:
            del orders[next(key for key in orders if key.market == market)]

    def drop_order(self, order: OrderId) -> None:
        """Fine when it is not remembered."""
        if order in self.state.orders:
            del self._own_orders()[order]

    def _hold(
        self, change: Callable[[Holdings, NodeName, Held], Holdings], group: GroupSpec, at: Placement
    ) -> None:
        changed = change(holdings(self.state), at.node, held_things.held(group, at))
        self.state = replace(self.state, holdings=changed)

    # Of the three mappings a step makes at most one copy each, when it first changes it: nobody else has
    # seen the copy before the step is done, and the state that the step began with stays as it is.

    def _own_bids(self) -> dict[LeaseId, OpenBid]:
        if self._bids is not self.state.bids:
            self._bids = dict(self.state.bids)
            self.state = replace(self.state, bids=self._bids)
        return self._bids

    def _own_leases(self) -> dict[LeaseId, Lease]:
        if self._leases is not self.state.leases:
            self._leases = dict(self.state.leases)
            self.state = replace(self.state, leases=self._leases)
        return self._leases

    def _own_orders(self) -> dict[OrderId, WaitingOrder]:
        if self._orders is not self.state.orders:
            self._orders = dict(self.state.orders)
            self.state = replace(self.state, orders=self._orders)
        return self._orders

    def bid_effect_id(self, lease_id: LeaseId) -> EffectId:
        """The next effect's id of an open bid."""
        bid = self.state.bids[lease_id]
        self.put_bid(replace(bid, effects_issued=bid.effects_issued + 1))
        return EffectId(f"{lease_id}@{bid.version}#{bid.effects_issued + 1}")

    def lease_effect_id(self, lease_id: LeaseId) -> EffectId:
        """The next effect's id of a lease."""
        lease = self.state.leases[lease_id]
        self.put_lease(replace(lease, effects_issued=lease.effects_issued + 1))
        return EffectId(f"{lease_id}@{lease.version}#{lease.effects_issued + 1}")

    def step(self) -> Step:
        return Step(
            state=self.state,
            effects=tuple(self._effects),
            settled=tuple(self._settled),
            notes=tuple(self._notes),
            refused=self.refused,
        )
