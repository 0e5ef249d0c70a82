"""What a provider is told of a change: the market's rows as one provider sees them.

Owns who hears of what. Each visible row is a resource at the version of its last change, so that "everything
after version N, in order" is all that a session ever needs, live or after years away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from provider.coordinator.book import Book
from provider.coordinator.rows import (
    BidRow,
    BidState,
    LeaseRow,
    LeaseState,
    LeaseUnknown,
    OrderRow,
    OrderState,
    Visible,
)
from provider.domain.ids import LeaseId, OrderId, ProviderId
from provider.domain.market import Award, CloseReason, Order
from provider.domain.money import Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderOpened:
    order: Order
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderClosed:
    order: OrderId
    version: int
    won_at: Rate | None = None
    """The price of the bid that won; None where nobody's did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseAwarded:
    award: Award
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseUpdated:
    """Never told before the award. May tell of what the award had already."""

    lease: LeaseId
    manifest_hash: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseEnded:
    lease: LeaseId
    reason: CloseReason
    version: int


Notice = OrderOpened | OrderClosed | LeaseAwarded | LeaseUpdated | LeaseEnded


def notice(book: Book, row: Visible, provider: ProviderId, *, since: int) -> Notice | None:
    """What ``provider``, who knows all up to version ``since``, must hear of ``row``; None for nothing."""
    if row.version <= since:
        return None
    match row:
        case OrderRow():
            return _of_order(book, row, provider, since)
        case BidRow():
            return _of_bid(book, row) if row.bid.id.provider == provider else None
        case LeaseRow():
            return _of_lease(book, row) if row.id.provider == provider else None
        case LeaseUnknown():
            if row.lease.provider != provider:
                return None
            return LeaseEnded(lease=row.lease, reason=CloseReason.LEASE_FORGOTTEN, version=row.version)
        case _:
            assert_never(row)


def _of_order(book: Book, row: OrderRow, provider: ProviderId, since: int) -> Notice | None:
    order = row.order.id
    match row.state:
        case OrderState.OPEN:
            return OrderOpened(order=row.order, version=row.version)
        case OrderState.AWARDED:
            return None  # nobody else's bid is lost before the winner has confirmed
        case OrderState.CLOSED:
            lease = book.leases.get(order)
            if lease is not None and lease.id.provider == provider:
                return None
            knows = row.opened_version <= since or book.bid(order.lease(provider)) is not None
            won_at = None if lease is None else lease.rate
            return OrderClosed(order=order, version=row.version, won_at=won_at) if knows else None
        case _:
            assert_never(row.state)


def _of_bid(book: Book, row: BidRow) -> Notice | None:
    lease = book.lease(row.bid.id)
    if row.ended is not None:
        return LeaseEnded(lease=row.bid.id, reason=row.ended, version=row.version)
    stands = row.state is BidState.AWARDED or (lease is not None and lease.state is LeaseState.ACTIVE)
    if not stands:
        return None
    assert row.confirm_by is not None, "an award has a time limit"
    award = Award(
        id=row.bid.id,
        rate=row.bid.rate,
        manifest_hash=book.orders[row.bid.id.order].order.manifest_hash,
        confirm_by=row.confirm_by,
    )
    return LeaseAwarded(award=award, version=row.version)


def _of_lease(book: Book, row: LeaseRow) -> Notice:
    if row.reason is None:
        manifest_hash = book.orders[row.id.order].order.manifest_hash
        return LeaseUpdated(lease=row.id, manifest_hash=manifest_hash, version=row.version)
    return LeaseEnded(lease=row.id, reason=row.reason, version=row.version)
