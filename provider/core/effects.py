"""Everything that an agent can want done to the outside, as frozen values.

An effect is stored with the state that wanted it, in one transaction, before it is performed; it is
removed when its result is committed. So it may be performed more than once and every one of them is
idempotent. ``id`` is ``<lease>@<version>#<n>``: the market's version at which the bid or lease began, and
a count of its effects; no chance is involved, so it is the same after a crash.

Effects of one ``lane`` are performed in order, lanes in parallel. A lease has two, one to the engine and
one to the market: a market that is away must not keep a container from being stopped. A price that is asked
for has one of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from provider.domain.ids import EffectId, LeaseId
from provider.domain.market import Bid, CloseReason, LeaseHealth, Refused, Usage
from provider.domain.price import PriceQuestion
from provider.domain.workload import Launch, PortBinding


@dataclass(frozen=True, slots=True, kw_only=True)
class AskPrice:
    """Have a price made outside for what ``bid`` holds. Asking twice is harmless: the first answer counts."""

    id: EffectId
    bid: LeaseId
    question: PriceQuestion

    @property
    def lane(self) -> str:
        return f"{self.bid} price"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceBid:
    """Offer ``bid``; its GPUs are reserved already. The id is the idempotency key."""

    id: EffectId
    bid: Bid

    @property
    def lane(self) -> str:
        return f"{self.bid.id} market"


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawBid:
    """Take an open bid back: what it stood for can no longer be delivered."""

    id: EffectId
    bid: LeaseId

    @property
    def lane(self) -> str:
        return f"{self.bid} market"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmLease:
    """Tell the market that the accepted bid stands: the lease begins."""

    id: EffectId
    lease: LeaseId

    @property
    def lane(self) -> str:
        return f"{self.lease} market"


@dataclass(frozen=True, slots=True, kw_only=True)
class RefuseLease:
    """Tell the market that an award cannot be served; it takes the next bid."""

    id: EffectId
    lease: LeaseId
    why: Refused

    @property
    def lane(self) -> str:
        return f"{self.lease} market"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartWorkload:
    """Make ``launch`` run, and nothing else of that lease."""

    id: EffectId
    launch: Launch

    @property
    def lane(self) -> str:
        return f"{self.launch.lease} engine"


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartService:
    """Stop and start all containers of a service, as they are."""

    id: EffectId
    lease: LeaseId
    service: str
    generation: int
    """Of the lease's launch."""
    grace_s: int

    @property
    def lane(self) -> str:
        return f"{self.lease} engine"


@dataclass(frozen=True, slots=True, kw_only=True)
class StopWorkload:
    """Remove all that runs or lies around for the lease: containers, networks, volumes."""

    id: EffectId
    lease: LeaseId
    grace_s: int
    """Between asking a process to end and ending it."""

    @property
    def lane(self) -> str:
        return f"{self.lease} engine"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportLease:
    """Tell the market how the lease is."""

    id: EffectId
    lease: LeaseId
    health: LeaseHealth
    ports: tuple[PortBinding, ...] = ()
    detail: str = ""
    """One line for the tenant: why it is being repaired."""

    @property
    def lane(self) -> str:
        return f"{self.lease} market"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportUsage:
    """Bill: cumulative, so that a lost report costs nothing and a doubled one bills nothing."""

    id: EffectId
    usage: Usage

    @property
    def lane(self) -> str:
        return f"{self.usage.lease} market"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndLease:
    """Tell the market that this provider ends the lease, and why."""

    id: EffectId
    lease: LeaseId
    reason: CloseReason
    detail: str = ""

    @property
    def lane(self) -> str:
        return f"{self.lease} market"


Effect = (
    AskPrice
    | PlaceBid
    | WithdrawBid
    | ConfirmLease
    | RefuseLease
    | StartWorkload
    | RestartService
    | StopWorkload
    | ReportLease
    | ReportUsage
    | EndLease
)
