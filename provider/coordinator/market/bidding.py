"""Bids, the tenant's choice, the provider's word: how an order becomes a lease.

Checks are flat and in a fixed order. A provider whose award came to nothing cannot bid on that order again,
so a lease's name is never used twice.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from provider.coordinator import record
from provider.coordinator.denial import Denial, Denied
from provider.coordinator.escrow import escrow_account
from provider.coordinator.market import bid_deposits, deployments, leases, orders
from provider.coordinator.market.draft import Draft
from provider.coordinator.market.requests import (
    AcceptBid,
    ConfirmLease,
    PlaceBid,
    RefuseLease,
    Reply,
    WithdrawBid,
)
from provider.coordinator.rows import (
    Accepted,
    BidRow,
    BidState,
    Done,
    LeaseRow,
    LeaseState,
    OrderRow,
    OrderState,
)
from provider.domain.market import CloseReason

Request = PlaceBid | WithdrawBid | AcceptBid | ConfirmLease | RefuseLease


def decide(draft: Draft, request: Request) -> tuple[Draft, Reply] | Denied:
    match request:
        case PlaceBid():
            return place(draft, request)
        case WithdrawBid():
            return withdraw(draft, request)
        case AcceptBid():
            return accept(draft, request)
        case ConfirmLease():
            return confirm(draft, request)
        case RefuseLease():
            return refuse(draft, request)
        case _:
            assert_never(request)


def place(draft: Draft, request: PlaceBid) -> tuple[Draft, Reply] | Denied:
    """Offer a price. The same bid again is fine."""
    bid = request.bid
    row = draft.book.orders.get(bid.id.order)
    if row is None or bid.id.provider != request.provider:
        return Denied(
            why=Denial.ORDER_UNKNOWN, what=f"there is no order {bid.id.order} for {request.provider}"
        )
    mine = draft.book.bid(bid.id)
    if mine is not None and mine.state is BidState.OPEN and mine.bid == bid:
        return draft, Done()
    denied = _check_bid(draft, row, mine, request)
    if denied is not None:
        return denied
    earlier = draft.book.bids.get(bid.id.order) or ()
    number = max((each.number for each in earlier), default=0) + 1
    placed = BidRow(bid=bid, state=BidState.OPEN, number=number, placed_at=draft.at)
    held = bid_deposits.taken(draft, placed)
    return held if isinstance(held, Denied) else (held.put(placed), Done())


def withdraw(draft: Draft, request: WithdrawBid) -> tuple[Draft, Reply] | Denied:
    """Take a bid back, or an award that is not confirmed yet. Fine when there is none."""
    row = draft.book.bid(request.bid)
    if row is None or request.bid.provider != request.provider:
        return draft, Done()
    match row.state:
        case BidState.OPEN:
            return bid_deposits.given_back(draft.put(replace(row, state=BidState.WITHDRAWN)), row), Done()
        case BidState.AWARDED:
            return orders.award_lost(draft, row, None), Done()
        case BidState.WON:
            return Denied(why=Denial.BID_WON, what=f"the bid {request.bid} has become a lease")
        case BidState.WITHDRAWN | BidState.LOST:
            return draft, Done()
        case _:
            assert_never(row.state)


def accept(draft: Draft, request: AcceptBid) -> tuple[Draft, Reply] | Denied:
    """The tenant's choice; it counts once the provider confirms."""
    row = draft.book.bid(request.bid)
    if row is None or request.bid.owner != request.owner:
        return Denied(why=Denial.BID_UNKNOWN, what=f"{request.owner} has no bid {request.bid}")
    order = draft.book.orders[request.bid.order]
    if row.state in {BidState.AWARDED, BidState.WON}:
        assert row.confirm_by is not None, "an award has a time limit"
        return draft, Accepted(confirm_by=row.confirm_by)
    if order.state is not OrderState.OPEN:
        return Denied(
            why=Denial.ORDER_NOT_OPEN,
            what=f"the order {request.bid.order} is {order.state}",
            remedy="see its state with `tenant status`",
        )
    if row.state is not BidState.OPEN:
        return Denied(
            why=Denial.BID_ENDED, what=f"the bid {request.bid} was {row.state}", remedy="accept another one"
        )
    if not draft.book.ledger.balance(escrow_account(request.bid.deployment, row.bid.rate.denom)):
        return Denied(
            why=Denial.ESCROW_EMPTY,
            what=f"nothing is left in escrow for {request.bid.deployment}",
            remedy="close it and deploy again with a new deposit",
        )
    return orders.awarded(draft, row)


def confirm(draft: Draft, request: ConfirmLease) -> tuple[Draft, Reply] | Denied:
    """The bid stands: the lease begins, and everybody else has lost. Too late is as good as never."""
    row = draft.book.bid(request.lease)
    if row is None or request.lease.provider != request.provider:
        return leases.unknown(draft, request.lease, request.provider)
    if row.state is not BidState.AWARDED:
        return draft, Done()
    assert row.confirm_by is not None, "an award has a time limit"
    if draft.at > row.confirm_by:
        return orders.award_lost(draft, row, CloseReason.NOT_CONFIRMED), Done()
    draft = draft.put(replace(row, state=BidState.WON))
    draft = orders.others_lost(draft, request.lease.order)
    order = draft.book.orders[request.lease.order]
    draft = draft.put(replace(order, state=OrderState.CLOSED, version=draft.next_version))
    lease = LeaseRow(id=request.lease, state=LeaseState.ACTIVE, rate=row.bid.rate, confirmed_at=draft.at)
    if draft.book.deployments[request.lease.deployment].updates:
        # An award may be told twice and only the first is heard: the provider is told what stands now.
        lease = replace(lease, version=draft.next_version)
    draft = draft.put(lease)
    name = record.lease_name(request.lease, draft.book.salt)
    return draft.recorded(record.lease_opened(name, row.bid.rate, row.bid.gpus)), Done()


def refuse(draft: Draft, request: RefuseLease) -> tuple[Draft, Reply] | Denied:
    """The award cannot be served. From a provider that had confirmed, the end of the lease."""
    row = draft.book.bid(request.lease)
    if row is None or request.lease.provider != request.provider:
        return leases.unknown(draft, request.lease, request.provider)
    if row.state is BidState.AWARDED:
        return orders.award_lost(draft, row, None), Done()
    lease = draft.book.lease(request.lease)
    if lease is not None:
        told = replace(lease, detail=f"{request.reason}: {request.detail}".strip(": "))
        return deployments.ended_by_provider(draft, told, CloseReason.OPERATOR_CLOSED), Done()
    return draft, Done()


def _check_bid(draft: Draft, row: OrderRow, mine: BidRow | None, request: PlaceBid) -> Denied | None:
    bid, group = request.bid, row.order.group
    taken = [each for each in draft.book.bids.get(row.order.id) or () if each.state is BidState.OPEN]
    if row.state is not OrderState.OPEN:
        return Denied(why=Denial.ORDER_NOT_OPEN, what=f"the order {row.order.id} is {row.state}")
    if mine is not None and mine.state is BidState.OPEN:
        return Denied(
            why=Denial.BID_EXISTS,
            what=f"{request.provider} bids {mine.bid.rate} on {row.order.id} already",
            remedy="withdraw that bid first",
        )
    if mine is not None and mine.state is not BidState.WITHDRAWN:
        return Denied(
            why=Denial.BID_ENDED, what=f"the award of {row.order.id} to {request.provider} came to nothing"
        )
    if len(taken) >= draft.rules.bids_max:
        return Denied(why=Denial.BIDS_FULL, what=f"the order {row.order.id} has {len(taken)} bids already")
    if bid.rate.denom != group.max_rate.denom:
        return Denied(
            why=Denial.DENOM_DIFFERS,
            what=f"the order {row.order.id} is priced in {group.max_rate.denom}, not {bid.rate.denom}",
        )
    if bid.rate.amount > group.max_rate.amount:
        return Denied(
            why=Denial.PRICE_ABOVE_MAX, what=f"{bid.rate} is above the order's highest, {group.max_rate}"
        )
    if sum(gpu.count for gpu in bid.gpus) != group.gpu_count or any(gpu.count < 1 for gpu in bid.gpus):
        return Denied(
            why=Denial.GPUS_DIFFER,
            what=f"the order asks for {group.gpu_count} GPUs, and the bid offers others",
        )
    return None
