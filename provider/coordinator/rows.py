"""What the market remembers of each thing, one frozen row each: as it is in the book, so it is in the store.

Owns the shapes and the states. Does not own when a row may change: ``market`` does. Adding a kind of row:
this file, ``book.with_row``, ``store`` and a migration.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from provider.coordinator.escrow import Account, Transfer
from provider.coordinator.record import RecordEntry
from provider.domain.ids import DeploymentId, LeaseId, OrderId
from provider.domain.market import Bid, CloseReason, LeaseHealth, Order
from provider.domain.moment import Instant
from provider.domain.money import Money, Rate
from provider.domain.workload import PortBinding


class Role(StrEnum):
    """What a member may be invited as."""

    PROVIDER = "provider"
    TENANT = "tenant"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class MemberId:
    role: Role
    name: str

    def __str__(self) -> str:
        return f"{self.role}:{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberRow:
    id: MemberId
    enrolled_at: Instant
    deployments: int = 0
    """A tenant's last dseq."""
    epoch: int = 0
    """A provider's last session."""
    instance: str = ""
    lease_address: str = ""
    """host:port at which tenants reach a provider; empty where they cannot."""
    software: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InviteRow:
    """A secret that is good once. Only its digest is kept."""

    key: str
    """The inviter's idempotency key."""
    digest: str
    """sha256 of the secret, 64 hex digits."""
    member: MemberId
    expires_at: Instant
    used_key: str = ""
    """The idempotency key with which it was used; empty while it is good."""
    used_csr: str = ""
    """sha256 of the signing request's public key: a repeat must come from the same key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentRow:
    id: DeploymentId
    manifest_hash: str
    deposit: Money
    orders: tuple[OrderId, ...]
    created_at: Instant
    closed_at: Instant | None = None
    """When everything was settled and the rest refunded."""
    refunded: int = 0
    updates: int = 0
    """Times that its manifest was changed."""


class OrderState(StrEnum):
    OPEN = "open"
    AWARDED = "awarded"
    """A bid was accepted and its provider's word is awaited."""
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRow:
    order: Order
    state: OrderState
    opened_version: int
    """At which providers first saw it."""
    version: int


class BidState(StrEnum):
    OPEN = "open"
    WITHDRAWN = "withdrawn"
    AWARDED = "awarded"
    """Accepted; its provider must confirm until ``confirm_by``."""
    WON = "won"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class BidRow:
    bid: Bid
    state: BidState
    number: int
    """Counts the order's bids from 1: of two equal prices the earlier wins."""
    placed_at: Instant
    version: int = 0
    """Of its award, or of the award's end; 0 before."""
    confirm_by: Instant | None = None
    ended: CloseReason | None = None
    """Why an award came to nothing, as its provider is told."""


class LeaseState(StrEnum):
    ACTIVE = "active"
    CLOSING = "closing"
    """Ended; the last usage is awaited."""
    CLOSED = "closed"
    """Settled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRow:
    id: LeaseId
    state: LeaseState
    rate: Rate
    confirmed_at: Instant
    health: LeaseHealth = LeaseHealth.WAITING
    ports: tuple[PortBinding, ...] = ()
    detail: str = ""
    usage_number: int = 0
    running_ms: int = 0
    """As billed: what was reported, and never more than the time since the confirmation."""
    settled: int = 0
    """Micro-denom paid to the provider."""
    usage_final: bool = False
    accrues_from: Instant | None = None
    """Since when it may have used more than is settled; None while it does not run."""
    closed_at: Instant | None = None
    reason: CloseReason | None = None
    settle_by: Instant | None = None
    """While closing: when the last usage is no longer awaited."""
    version: int = 0
    """Of its end, or of the last change of its manifest; 0 before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceRow:
    account: Account
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    deployment: DeploymentId


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    confirm_by: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Nothing to say but yes."""


Answer = Created | Accepted | Done


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRow:
    """A member's request that was carried out, by its idempotency key: a repeat gets the same answer."""

    member: MemberId
    key: str
    digest: str
    """sha256 of what was asked."""
    answer: Answer
    at: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswersForgotten:
    """All answers given before this are dropped."""

    before: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseUnknown:
    """A provider speaks of a lease that the market does not have: it is told so, and nothing is kept."""

    lease: LeaseId
    version: int


Row = (
    MemberRow
    | InviteRow
    | DeploymentRow
    | OrderRow
    | BidRow
    | LeaseRow
    | Transfer
    | BalanceRow
    | RecordEntry
    | AnswerRow
    | AnswersForgotten
    | LeaseUnknown
)
Visible = OrderRow | BidRow | LeaseRow | LeaseUnknown
"""Rows with a version: what a provider is told of."""
