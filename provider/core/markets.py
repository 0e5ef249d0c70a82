"""What the agent knows of each market, and the words that are spoken to it.

Owns: how far each market was read, how its link is, and the translation between a market's ids and this
provider's (``within`` on the way in, ``as_told`` on the way out). Does not own bids and leases: there is one
set of them for all markets, because there is one set of GPUs.

Invariant: a market's change is taken in once, whatever the other markets do; nothing that a market says can
name an order or a lease of another one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar, assert_never

from provider.core.draft import Draft
from provider.core.effects import (
    AskPrice,
    ConfirmLease,
    Effect,
    EndLease,
    PlaceBid,
    RefuseLease,
    ReportLease,
    ReportUsage,
    RestartService,
    StartWorkload,
    StopWorkload,
    WithdrawBid,
)
from provider.core.events import (
    CoordinatorConnected,
    CoordinatorLost,
    LeaseAwarded,
    LeaseEnded,
    LeaseUpdated,
    OrderClosed,
    OrderOpened,
)
from provider.core.state import AgentState, Market
from provider.core.step import Step
from provider.domain.ids import HOME, LeaseId, MarketId
from provider.domain.moment import Instant

MarketEvent = OrderOpened | OrderClosed | LeaseAwarded | LeaseUpdated | LeaseEnded
Heard = MarketEvent | CoordinatorConnected | CoordinatorLost
"""All that a coordinator's link brings."""
Told = PlaceBid | WithdrawBid | ConfirmLease | RefuseLease | ReportLease | ReportUsage | EndLease
"""What is done to a market, not to the engine."""
T = TypeVar("T", bound=Told)


def connected(draft: Draft, event: CoordinatorConnected, at: Instant) -> None:
    known = draft.state.market(event.market_id)
    fresh = replace(
        known, name=event.market, connected=True, problem="", since=at, bid_deposit=event.bid_deposit
    )
    draft.freed |= fresh.bid_deposit != known.bid_deposit
    _put(draft, event.market_id, fresh)


def lost(draft: Draft, event: CoordinatorLost, at: Instant) -> None:
    """Another reason for the same absence does not begin it anew."""
    known = draft.state.market(event.market_id)
    since = at if known.connected or known.since is None else known.since
    _put(draft, event.market_id, replace(known, connected=False, problem=event.why, since=since))


def is_news(draft: Draft, event: MarketEvent) -> bool:
    """Whether this change was not taken in before; then it counts as taken in."""
    market_id = market_of(event)
    known = draft.state.market(market_id)
    if event.version <= known.version:
        return False
    _put(draft, market_id, replace(known, version=event.version))
    return True


def market_of(event: MarketEvent) -> MarketId:
    match event:
        case OrderOpened():
            return event.order.id.market
        case OrderClosed():
            return event.order.market
        case LeaseAwarded():
            return event.award.id.market
        case LeaseUpdated() | LeaseEnded():
            return event.lease.market
        case _:
            assert_never(event)


def within(event: Heard, market: MarketId) -> Heard:
    """What ``market`` said, in this provider's ids."""
    if market == HOME:
        return event
    match event:
        case OrderOpened(order=order):
            return replace(event, order=replace(order, id=order.id.within(market)))
        case OrderClosed():
            return replace(event, order=event.order.within(market))
        case LeaseAwarded(award=award):
            return replace(event, award=replace(award, id=award.id.within(market)))
        case LeaseUpdated() | LeaseEnded():
            return replace(event, lease=event.lease.within(market))
        case CoordinatorConnected() | CoordinatorLost():
            return replace(event, market_id=market)
        case _:
            assert_never(event)


def lease_of(effect: Effect) -> LeaseId:
    """The lease, or the bid for one, that ``effect`` is about."""
    match effect:
        case PlaceBid():
            return effect.bid.id
        case WithdrawBid() | AskPrice():
            return effect.bid
        case ReportUsage():
            return effect.usage.lease
        case StartWorkload():
            return effect.launch.lease
        case ConfirmLease() | RefuseLease() | ReportLease() | EndLease() | RestartService() | StopWorkload():
            return effect.lease
        case _:
            assert_never(effect)


def as_told(effect: T) -> T:
    """``effect`` in the ids of its market. Its own id stays: to a market that is a key, and says nothing."""
    if lease_of(effect).market == HOME:
        return effect
    match effect:
        case PlaceBid(bid=bid):
            return replace(effect, bid=replace(bid, id=bid.id.as_told))
        case WithdrawBid():
            return replace(effect, bid=effect.bid.as_told)
        case ReportUsage(usage=usage):
            return replace(effect, usage=replace(usage, lease=usage.lease.as_told))
        case ConfirmLease() | RefuseLease() | ReportLease() | EndLease():
            return replace(effect, lease=effect.lease.as_told)
        case _:
            assert_never(effect)


def ties_to(state: AgentState, unfinished: Iterable[Effect], market: MarketId) -> tuple[str, ...]:
    """What keeps this provider in ``market``, as a person would say it: leases, and what is still to do.

    A bid does not: a market that hears nothing more of one takes the next.
    """
    leases = sum(lease.market == market for lease in state.leases)
    about_bids = PlaceBid | WithdrawBid | RefuseLease
    owed = sum(
        lease_of(effect).market == market and not isinstance(effect, about_bids) for effect in unfinished
    )
    return tuple(
        f"{count} {what}"
        for count, what in ((leases, "lease(s)"), (owed, "thing(s) still to be done or told"))
        if count
    )


def leave(state: AgentState, unfinished: Iterable[Effect], market: MarketId) -> Step:
    """Nothing of ``market`` any more: no bids, no orders, not how far it was read. Nothing ties us to it."""
    return Step(
        state=replace(
            state,
            bids={bid: open_bid for bid, open_bid in state.bids.items() if bid.market != market},
            orders={order: waiting for order, waiting in state.orders.items() if order.market != market},
            markets={each: known for each, known in state.markets.items() if each != market},
            holdings=None,
            due_at=None,
        ),
        settled=tuple(effect.id for effect in unfinished if lease_of(effect).market == market),
    )


def _put(draft: Draft, market_id: MarketId, market: Market) -> None:
    draft.state = replace(draft.state, markets={**draft.state.markets, market_id: market})
