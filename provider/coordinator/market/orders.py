"""What happens to one order: it is awarded, the award comes to nothing, it closes.

An order is OPEN, then AWARDED to one bid, then CLOSED with a lease or without. An award that is refused, or
not confirmed in time, goes to the next cheapest open bid; without one the order is OPEN again.
"""

from __future__ import annotations

from dataclasses import replace

from provider.coordinator.market.bid_deposits import given_back
from provider.coordinator.market.draft import Draft
from provider.coordinator.rows import Accepted, BidRow, BidState, OrderState
from provider.domain.ids import OrderId
from provider.domain.market import CloseReason
from provider.domain.moment import after


def awarded(draft: Draft, row: BidRow) -> tuple[Draft, Accepted]:
    """The same with the order awarded to this bid, and its provider asked to confirm."""
    confirm_by = after(draft.at, draft.rules.confirm_within)
    won = replace(row, state=BidState.AWARDED, confirm_by=confirm_by, version=draft.next_version)
    order = replace(draft.book.orders[row.bid.id.order], state=OrderState.AWARDED)
    return draft.put(won, order), Accepted(confirm_by=confirm_by)


def award_lost(draft: Draft, row: BidRow, told: CloseReason | None) -> Draft:
    """The same after an award came to nothing: the next cheapest bid is taken, or the order is open again.

    ``told`` is what its provider hears; None where it said so itself.
    """
    version = draft.next_version if told is not None else row.version
    draft = draft.put(replace(row, state=BidState.LOST, ended=told, version=version))
    draft = given_back(draft, row)
    order = draft.book.orders[row.bid.id.order]
    waiting = [each for each in draft.book.bids[row.bid.id.order] if each.state is BidState.OPEN]
    if waiting:
        cheapest = min(waiting, key=lambda each: (each.bid.rate.amount, each.number))
        return awarded(draft, cheapest)[0]
    return draft.put(replace(order, state=OrderState.OPEN, version=draft.next_version))


def closed(draft: Draft, order: OrderId, reason: CloseReason) -> Draft:
    """The same with ``order`` closed before it became a lease; an award on it ends for ``reason``."""
    for row in draft.book.bids.get(order) or ():
        if row.state is BidState.AWARDED:
            lost = replace(row, state=BidState.LOST, ended=reason, version=draft.next_version)
            draft = given_back(draft.put(lost), lost)
    draft = others_lost(draft, order)
    shut = replace(draft.book.orders[order], state=OrderState.CLOSED, version=draft.next_version)
    return draft.put(shut)


def others_lost(draft: Draft, order: OrderId) -> Draft:
    """The same with every open bid on ``order`` lost."""
    for row in draft.book.bids.get(order) or ():
        if row.state is BidState.OPEN:
            draft = given_back(draft.put(replace(row, state=BidState.LOST)), row)
    return draft
