"""What is kept of every decision and of what came of it: values, and how steps become them. Pure.

Owns what a record holds: enough to show why an order was bid on or not, and to decide it again under another
policy (``replay``). Does not own how long records are kept, nor where (``ports.Ledger``). Invariant: the
records of a run, in their order, hold all that its decisions depended on besides the policy: orders as they
opened and closed, what was held, what there was. No manifest is among them, only the names in it that others
cannot have; so no secret is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from provider.core.admission import Accepted, Decision
from provider.core.effects import PlaceBid
from provider.core.events import (
    DrainSet,
    Event,
    NodesRead,
    OrderClosed,
    Performed,
    PolicyChanged,
    TimeReached,
)
from provider.core.hostnames import wanted
from provider.core.learning import WinCurve
from provider.core.state import AgentState, Lease
from provider.core.step import BidEnded, LeaseClosed, LeaseNamed, Note, OrderConsidered, Step
from provider.domain.gpu_health import GpuRecord
from provider.domain.ids import GpuUuid, MarketId, OrderId
from provider.domain.market import Bid, GroupSpec, Order, Placement, Refusal
from provider.domain.moment import Instant
from provider.domain.money import Money, Rate
from provider.domain.node import Node
from provider.domain.workload import RuntimeCapabilities


class Fate(StrEnum):
    """What became of a decision."""

    REFUSED = "refused"
    DECIDED = "decided"
    """To bid; the market has not taken the bid yet."""
    SUBMITTED = "submitted"
    WON = "won"
    """It is a lease."""
    ENDED = "ended"
    """It was a lease."""
    LOST = "lost"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    REJECTED = "rejected"
    """The market did not take it."""
    UNKNOWN = "unknown"
    """The daemon was killed before it wrote it down."""


OPEN = frozenset({Fate.DECIDED, Fate.SUBMITTED})
"""Of a bid whose outcome is not known yet."""
LIVE = OPEN | {Fate.WON}
"""Of what still holds capacity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """An order was considered: ``order`` whole, as the market sent it."""

    at: Instant
    order: Order
    decision: Decision
    version: int
    """The market's change counter when the order opened."""
    is_again: bool = False
    took_us: int = 0
    """The step in which it was decided, microseconds; 0 where that is not known."""

    @property
    def fate(self) -> Fate:
        """As it is decided."""
        return Fate.REFUSED if self.decision.refused else Fate.DECIDED

    @property
    def why(self) -> Refusal | None:
        return self.decision.refused.why if self.decision.refused else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turned:
    """Something came of the bid on ``order``."""

    at: Instant
    order: OrderId
    fate: Fate
    detail: str = ""
    ran_ms: int | None = None
    """Of the lease, once it ended."""
    earned: Money | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderGone:
    """The market closed the order."""

    at: Instant
    order: OrderId
    won_at: Rate | None = None
    """The price of the bid that won, where the market tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What there was to sell from then on."""

    at: Instant
    nodes: tuple[Node, ...]
    """As they were read."""
    runtime: RuntimeCapabilities
    gpu_records: Mapping[GpuUuid, GpuRecord] = field(default_factory=dict)
    """What held against cards."""
    deposits: Mapping[MarketId, int] = field(default_factory=dict)
    """What markets held for a bid, micro-denom; those that are not in it held nothing."""

    def is_as(self, other: Seen | None) -> bool:
        """Whether it says what ``other`` said before."""
        return other is not None and replace(other, at=self.at) == self


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    at: Instant
    is_draining: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The operator's settings were read again, and differed."""

    at: Instant
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A lease asks for other host names than before."""

    at: Instant
    order: OrderId
    hostnames: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Woke:
    """An instant that the core had asked for came, and something followed."""

    at: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A bid or a lease that was there when the daemon began."""

    order: Order
    bid: Bid
    placement: Placement
    version: int
    expires_at: Instant | None = None
    """Of a bid."""
    is_lease: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Began:
    """The daemon began, with this in its store. What is not in it and was open before has an unknown end."""

    at: Instant
    held: tuple[Held, ...] = ()
    is_draining: bool = False
    curves: Mapping[str, WinCurve] = field(default_factory=dict)
    """What was known of prices that win."""


Record = Decided | Turned | OrderGone | Seen | Drained | Settled | Named | Woke | Began


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One decision, what came of it so far, and when each of it was."""

    decided: Decided
    fate: Fate
    turns: tuple[Turned, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerQuery:
    """Which decisions; empty means all."""

    since: Instant | None = None
    fates: frozenset[Fate] = frozenset()
    reasons: frozenset[Refusal] = frozenset()
    limit: int = 50


def began(state: AgentState, at: Instant) -> Began:
    """What an agent starts with."""
    bids = tuple(
        Held(
            order=each.order,
            bid=each.bid,
            placement=each.placement,
            version=each.version,
            expires_at=each.expires_at,
        )
        for each in state.bids.values()
        if not each.is_asking  # nothing is decided before its price is known
    )
    leases = tuple(
        Held(
            order=Order(id=lease.id.order, group=_named(lease), manifest_hash=lease.manifest_hash),
            bid=Bid(id=lease.id, rate=lease.rate),
            placement=lease.placement,
            version=lease.version,
            is_lease=True,
        )
        for lease in state.leases.values()
    )
    return Began(at=at, held=bids + leases, is_draining=state.is_draining, curves=state.curves)


def _named(lease: Lease) -> GroupSpec:
    """What was ordered, with the host names that it asks for by now."""
    return replace(lease.group, hostnames=tuple(sorted(wanted(lease))))


def of_held(held: Held, began: Began) -> Decided:
    """The decision behind ``held``, where its own record was lost: without the way to it."""
    verdict = Accepted(bid=held.bid, placement=held.placement)
    return Decided(
        at=began.at,
        order=held.order,
        decision=Decision(verdict=verdict),
        version=held.version,
    )


def seen(event: Event, step: Step, at: Instant, last: Seen | None) -> Seen | None:
    """What there is after a step, where that differs from what was told ``last``, or orders were looked at
    again because of it; comes before the step's other records."""
    state = step.state
    if state.runtime is None:
        return None
    now = Seen(
        at=at,
        nodes=state.nodes_as_read,
        runtime=state.runtime,
        gpu_records=state.gpu_records,
        deposits={market: each.bid_deposit for market, each in state.markets.items() if each.bid_deposit},
    )
    return None if now.is_as(last) and not (isinstance(event, NodesRead) and step.notes) else now


def records(event: Event, step: Step, at: Instant, took_us: int) -> Iterator[Record]:
    """What else one step adds, in the order in which it came to be."""
    match event:
        case OrderClosed(order=order, won_at=won_at):
            yield OrderGone(at=at, order=order, won_at=won_at)
        case TimeReached() if step.notes:
            yield Woke(at=at)
        case DrainSet(is_draining=is_draining):
            yield Drained(at=at, is_draining=is_draining)
        case PolicyChanged(changes=changes):
            yield Settled(at=at, changes=changes)
        case Performed(effect=PlaceBid(bid=bid)):
            yield Turned(at=at, order=bid.id.order, fate=Fate.SUBMITTED)
        case _:
            pass
    for note in step.notes:
        for record in _of_note(note, at, took_us):
            yield _told_why(record, event)


def _told_why(record: Record, event: Event) -> Record:
    """A bid that was lost, with the price of the one that won, where the market tells."""
    match record, event:
        case Turned(fate=Fate.LOST, detail=""), OrderClosed(won_at=Rate() as won_at):
            return replace(record, detail=f"another won at {won_at}")
        case _:
            return record


def _of_note(note: Note, at: Instant, took_us: int) -> Iterator[Record]:
    match note:
        case OrderConsidered():
            yield Decided(
                at=at,
                order=note.order,
                decision=note.decision,
                version=note.version,
                is_again=note.is_again,
                took_us=took_us,
            )
        case BidEnded(bid=bid, outcome=outcome, detail=detail):
            yield Turned(at=at, order=bid.order, fate=Fate(outcome), detail=detail)
        case LeaseNamed(lease=lease, hostnames=names):
            yield Named(at=at, order=lease.order, hostnames=names)
        case LeaseClosed(lease=lease, reason=reason, ran_ms=ran_ms, earned=earned):
            yield Turned(
                at=at,
                order=lease.order,
                fate=Fate.ENDED,
                detail=reason,
                ran_ms=ran_ms,
                earned=earned,
            )
        case _:
            pass
