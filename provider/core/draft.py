"""A step in the making: what the parts of one transition add to it.

The one mutable thing in the core, and it lives no longer than one call of ``agent.transition``.
"""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter

from provider.core import holdings as held_things
from provider.core.effects import Effect
from provider.core.hostnames import wanted
from provider.core.layered import Layered
from provider.core.state import (
    NEVER,
    ORDERS_MOST,
    AgentState,
    Lease,
    OpenBid,
    WaitingOrder,
    due_of,
    earliest_due,
    holdings,
    sum_of_holdings,
)
from provider.core.step import LeaseNamed, Note, Step
from provider.domain.ids import EffectId, LeaseId, OrderId
from provider.domain.market import Refused
from provider.domain.moment import Instant


class Draft:
    """Collects state, effects and notes in order."""

    def __init__(self, state: AgentState) -> None:
        self.state = state
        self.refused: Refused | None = None
        self.capacity_changed = False
        """What there is, or what is wanted, is another: all refused orders are worth another look."""
        self.freed = False
        """Something was given back: orders that it may be enough for are worth another look."""
        self.lapsed = False
        """An instant has come that orders were refused because of: these are worth another look."""
        self.is_due_unknown = False
        """What asked for attention first does not any more: who does now is looked for, once a step."""
        self._effects: list[Effect] = []
        self._settled: list[EffectId] = []
        self._notes: list[Note] = []
        self._touched: set[LeaseId | OrderId] = set()
        # Of these a step makes at most one copy each, when it first changes it: nobody has seen the copy
        # before the step is done, and the state that the step began with stays as it is.
        self._bids: dict[LeaseId, OpenBid] = {}
        self._leases: dict[LeaseId, Lease] = {}
        self._orders: Layered[OrderId, WaitingOrder] | None = None
        if state.holdings is None or state.due_at is None:
            self.state = replace(state, holdings=sum_of_holdings(state), due_at=earliest_due(state))

    def want(self, effect: Effect) -> None:
        self._effects.append(effect)

    def settle(self, effect: EffectId) -> None:
        self._settled.append(effect)

    def note(self, note: Note) -> None:
        self._notes.append(note)

    def put_bid(self, bid: OpenBid) -> None:
        changed, before = holdings(self.state), self.state.bids.get(bid.bid.id)
        if before is None:
            taken = held_things.held(bid.order.group, bid.placement)
            changed = held_things.with_bid(changed, bid.placement.node, taken)
        if self._bids is not self.state.bids:
            self._bids = dict(self.state.bids)
        self._bids[bid.bid.id] = bid
        self._touched.add(bid.bid.id)
        due_at = self._due_with(before, bid)
        self.state = replace(self.state, bids=self._bids, holdings=changed, due_at=due_at)

    def drop_bid(self, lease_id: LeaseId, *, is_won: bool = False) -> None:
        """What it held is free, unless a lease takes it over in this step."""
        if self._bids is not self.state.bids:
            self._bids = dict(self.state.bids)
        bid = self._bids.pop(lease_id)
        self._due_with(bid, None)
        self._touched.add(lease_id)
        taken = held_things.held(bid.order.group, bid.placement)
        changed = held_things.without_bid(holdings(self.state), bid.placement.node, taken)
        self.state = replace(self.state, bids=self._bids, holdings=changed)
        self.freed |= not is_won or bool(self.state.policy.bids.open_bids_most)

    def put_lease(self, lease: Lease) -> None:
        changed, before = holdings(self.state), self.state.leases.get(lease.id)
        if before is None:
            taken = held_things.held(lease.group, lease.placement)
            changed = held_things.with_lease(changed, lease.placement.node, taken)
        if self._leases is not self.state.leases:
            self._leases = dict(self.state.leases)
        if before and (before.current is not lease.current or before.former is not lease.former):
            self._named(before, lease)
        self._leases[lease.id] = lease
        self._touched.add(lease.id)
        due_at = self._due_with(before, lease)
        self.state = replace(self.state, leases=self._leases, holdings=changed, due_at=due_at)

    def _named(self, before: Lease, after: Lease) -> None:
        """What it runs is another: so may be the host names that it asks for."""
        had, has = wanted(before), wanted(after)
        if had != has:
            self.note(LeaseNamed(lease=after.id, hostnames=tuple(sorted(has))))
            self.freed |= bool(had - has)

    def drop_lease(self, lease_id: LeaseId) -> None:
        if self._leases is not self.state.leases:
            self._leases = dict(self.state.leases)
        lease = self._leases.pop(lease_id)
        self._due_with(lease, None)
        self._touched.add(lease_id)
        taken = held_things.held(lease.group, lease.placement)
        changed = held_things.without_lease(holdings(self.state), lease.placement.node, taken)
        self.state = replace(self.state, leases=self._leases, holdings=changed)
        self.freed = True

    def put_order(self, waiting: WaitingOrder) -> None:
        """Of each market the newest ``ORDERS_MOST`` stay."""
        orders, market = self._own_orders(), waiting.order.id.market
        orders[waiting.order.id] = waiting
        self._touched.add(waiting.order.id)
        if orders.count(market) > ORDERS_MOST:
            oldest = next(key for key in orders if key.market == market)
            del orders[oldest]
            self._touched.add(oldest)

    def wake_at(self, due: Instant) -> None:
        """Look at refused orders again then, if not sooner."""
        known = self.state.look_again_at
        if known is None or due < known:
            self.state = replace(self.state, look_again_at=due)

    def drop_order(self, order: OrderId) -> None:
        """Fine when it is not remembered."""
        if order in self.state.orders:
            del self._own_orders()[order]
            self._touched.add(order)

    def _own_orders(self) -> Layered[OrderId, WaitingOrder]:
        if self._orders is None or self._orders is not self.state.orders:
            self._orders = Layered(self.state.orders, attrgetter("market"))
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

    def _due_with(self, before: OpenBid | Lease | None, now: OpenBid | Lease | None) -> Instant:
        """When the first asks for attention, as far as it is not the one that changes or goes."""
        due_at = NEVER if self.state.due_at is None else self.state.due_at
        if before is not None and due_of(before) <= due_at:
            self.is_due_unknown = True
        return due_at if now is None else min(due_at, due_of(now))

    def step(self) -> Step:
        if self.is_due_unknown:
            self.state = replace(self.state, due_at=earliest_due(self.state))
        return Step(
            state=self.state,
            touched=frozenset(self._touched),
            effects=tuple(self._effects),
            settled=tuple(self._settled),
            notes=tuple(self._notes),
            refused=self.refused,
        )
