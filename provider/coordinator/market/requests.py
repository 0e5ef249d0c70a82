"""All that can be asked of the market, as frozen values, and all that it answers.

A request names who asks; that the asker really is who it says was checked at the edge, from its
certificate. ``key`` is the asker's idempotency key.
"""

from __future__ import annotations

from dataclasses import dataclass

from provider.coordinator.denial import Denied
from provider.coordinator.rows import Accepted, Created, Done, MemberId, Role
from provider.domain.ids import DeploymentId, LeaseId, Owner, ProviderId
from provider.domain.market import Bid, CloseReason, GroupSpec, LeaseHealth, Usage
from provider.domain.moment import Instant, Span
from provider.domain.money import Money
from provider.domain.workload import PortBinding

# --- the market's owner


@dataclass(frozen=True, slots=True, kw_only=True)
class Invite:
    """Repeated with the same key before it was used, the newer secret replaces the older."""

    key: str
    member: MemberId
    digest: str
    """sha256 of the secret, 64 hex digits."""
    ttl: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Fund:
    key: str
    owner: str
    """By name."""
    amount: Money
    role: Role = Role.TENANT
    """Whose account."""


# --- somebody with a join token


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrol:
    key: str
    digest: str
    """sha256 of the secret that was presented."""
    csr: str
    """sha256 of the signing request's public key."""


# --- a provider


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """A session begins."""

    provider: ProviderId
    instance: str
    market: str
    """In which ``last_version`` counts; empty on first contact."""
    last_version: int
    lease_address: str
    software: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceBid:
    provider: ProviderId
    key: str
    bid: Bid


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawBid:
    provider: ProviderId
    key: str
    bid: LeaseId


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmLease:
    provider: ProviderId
    key: str
    lease: LeaseId


@dataclass(frozen=True, slots=True, kw_only=True)
class RefuseLease:
    provider: ProviderId
    key: str
    lease: LeaseId
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportLease:
    provider: ProviderId
    key: str
    lease: LeaseId
    health: LeaseHealth
    ports: tuple[PortBinding, ...]
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EndLease:
    provider: ProviderId
    key: str
    lease: LeaseId
    reason: CloseReason
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportUsage:
    """Has no key of its own: the report's number makes a repeat harmless."""

    provider: ProviderId
    usage: Usage


# --- a tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateDeployment:
    owner: Owner
    key: str
    groups: tuple[GroupSpec, ...]
    manifest_hash: str
    deposit: Money


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateDeployment:
    owner: Owner
    key: str
    deployment: DeploymentId
    groups: tuple[GroupSpec, ...]
    """As the new file has them: what was ordered stays, so they must be that."""
    manifest_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptBid:
    owner: Owner
    key: str
    bid: LeaseId


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseDeployment:
    owner: Owner
    key: str
    deployment: DeploymentId


# --- time


@dataclass(frozen=True, slots=True, kw_only=True)
class TimePassed:
    """Whatever is overdue in this deployment happens now; nothing if nothing is."""

    deployment: DeploymentId


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """The market was away: whoever owes it a word gets the whole time for it again, from now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetAnswers:
    """Answers older than the market keeps them are dropped."""


Keyed = (
    PlaceBid
    | WithdrawBid
    | ConfirmLease
    | RefuseLease
    | ReportLease
    | EndLease
    | CreateDeployment
    | UpdateDeployment
    | AcceptBid
    | CloseDeployment
)
"""Requests whose answers are remembered by key. The others are harmless to repeat by what they name."""
Request = Keyed | Invite | Fund | Enrol | Hello | ReportUsage | TimePassed | Resumed | ForgetAnswers


@dataclass(frozen=True, slots=True, kw_only=True)
class Invited:
    expires_at: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Funded:
    available: Money


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    member: MemberId


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcomed:
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """Paid to the provider for this lease so far."""

    paid: Money


Reply = Created | Accepted | Done | Invited | Funded | Enrolled | Welcomed | Settled | Denied
