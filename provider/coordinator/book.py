"""The market's whole state: a book of rows.

Owns how a row gets into the book. Does not own any rule: the ``market`` package decides, ``store`` keeps. A
step's rows are both what changed in the book and what is committed, and nothing else ever changes.

**Invariants:** an order has at most one lease, because leases are kept by order. ``version`` grows with every
change that a provider is to see, and no two rows ever carry the same one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import assert_never

from provider.coordinator.escrow import Ledger, Transfer
from provider.coordinator.record import RecordEntry, Tip
from provider.coordinator.rows import (
    AnswerRow,
    AnswersForgotten,
    BalanceRow,
    BidRow,
    DeploymentRow,
    InviteRow,
    LeaseRow,
    LeaseUnknown,
    MemberId,
    MemberRow,
    OrderRow,
    Role,
    Row,
    Visible,
)
from provider.coordinator.table import Table
from provider.domain.ids import DeploymentId, LeaseId, OrderId, Owner, ProviderId
from provider.domain.moment import Instant

EPOCH = Instant(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    market: str
    salt: bytes
    """Hides owners in the public record; constant, never shown."""
    version: int = 0
    at: Instant = EPOCH
    """The latest instant of any change: time never runs back in here."""
    members: Table[MemberId, MemberRow] = field(default_factory=Table)
    invites: Table[str, InviteRow] = field(default_factory=Table)
    """By the inviter's key."""
    deployments: Table[DeploymentId, DeploymentRow] = field(default_factory=Table)
    orders: Table[OrderId, OrderRow] = field(default_factory=Table)
    bids: Table[OrderId, tuple[BidRow, ...]] = field(default_factory=Table)
    """In the order in which they were placed, one a provider."""
    leases: Table[OrderId, LeaseRow] = field(default_factory=Table)
    ledger: Ledger = field(default_factory=Ledger)
    tip: Tip = field(default_factory=Tip)
    answers: Table[tuple[MemberId, str], AnswerRow] = field(default_factory=Table)
    live: frozenset[DeploymentId] = frozenset()
    """Deployments that are not closed: all that time can still change."""

    def bid(self, lease: LeaseId) -> BidRow | None:
        return next((row for row in self.bids.get(lease.order) or () if row.bid.id == lease), None)

    def lease(self, lease: LeaseId) -> LeaseRow | None:
        row = self.leases.get(lease.order)
        return row if row is not None and row.id == lease else None

    def member(self, role: Role, name: str) -> MemberRow | None:
        return self.members.get(MemberId(role=role, name=name))

    def tenant(self, owner: Owner) -> MemberRow | None:
        return self.member(Role.TENANT, owner)

    def provider(self, provider: ProviderId) -> MemberRow | None:
        return self.member(Role.PROVIDER, provider)


def with_row(book: Book, row: Row) -> Book:
    """The book in which ``row`` stands: how a step changes it, and how it is read back from the store."""
    match row:
        case MemberRow():
            return replace(book, members=book.members.put(row.id, row))
        case InviteRow():
            return replace(book, invites=book.invites.put(row.key, row))
        case DeploymentRow():
            return _with_deployment(book, row)
        case OrderRow() | BidRow() | LeaseRow() | LeaseUnknown():
            return _with_visible(book, row)
        case Transfer() | BalanceRow():
            return replace(book, ledger=_with_money(book.ledger, row))
        case RecordEntry():
            return replace(book, tip=Tip(number=row.number, hash=row.hash))
        case AnswerRow():
            return replace(book, answers=book.answers.put((row.member, row.key), row))
        case AnswersForgotten():
            return _without_answers(book, row.before)
        case _:
            assert_never(row)


def _with_deployment(book: Book, row: DeploymentRow) -> Book:
    live = book.live | {row.id} if row.closed_at is None else book.live - {row.id}
    return replace(book, deployments=book.deployments.put(row.id, row), live=live)


def _with_visible(book: Book, row: Visible) -> Book:
    version = max(book.version, row.version)
    match row:
        case OrderRow():
            return replace(book, orders=book.orders.put(row.order.id, row), version=version)
        case BidRow():
            order = row.bid.id.order
            others = (each for each in book.bids.get(order) or () if each.bid.id != row.bid.id)
            bids = tuple(sorted((*others, row), key=lambda each: each.number))
            return replace(book, bids=book.bids.put(order, bids), version=version)
        case LeaseRow():
            return replace(book, leases=book.leases.put(row.id.order, row), version=version)
        case LeaseUnknown():
            return replace(book, version=version)
        case _:
            assert_never(row)


def _with_money(ledger: Ledger, row: Transfer | BalanceRow) -> Ledger:
    """Rows of a transfer that ``escrow.apply`` has taken, or that the store gives back."""
    match row:
        case Transfer():
            denom = row.target.denom
            issued = (ledger.issued.get(denom) or 0) + (row.amount if row.source is None else 0)
            latest = ledger.latest.put(row.subject, row)
            return replace(ledger, latest=latest, issued=ledger.issued.put(denom, issued))
        case BalanceRow():
            return replace(ledger, balances=ledger.balances.put(row.account, row.amount))
        case _:
            assert_never(row)


def _without_answers(book: Book, before: Instant) -> Book:
    answers = book.answers
    for row in list(answers.values()):
        if row.at < before:
            answers = answers.without((row.member, row.key))
    return replace(book, answers=answers)
