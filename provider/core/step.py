"""What one decision comes to: the new state, what is wanted, and what is worth telling.

The order is a promise to whoever drives the core: commit ``state``, ``effects`` and ``settled`` in one
transaction, then observe ``notes``, then perform ``effects``.
"""

from __future__ import annotations

from dataclasses import dataclass

from provider.core.admission import Decision
from provider.core.effects import Effect
from provider.core.lease import Phase, Trigger
from provider.core.state import AgentState
from provider.domain.gpu_health import SignalChange, XidClass
from provider.domain.idle import IdlePhase
from provider.domain.ids import EffectId, GpuUuid, LeaseId, OrderId
from provider.domain.market import CloseReason, Order, Refused
from provider.domain.moment import Instant
from provider.domain.money import Money
from provider.domain.workload import ExitCause


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderConsidered:
    """Bid on, or refused with a reason."""

    order: Order
    decision: Decision
    version: int
    """The market's change counter when the order opened."""
    is_again: bool = False
    """It was refused before, and what there is changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BidEnded:
    """``outcome``: won, lost, expired, withdrawn or rejected."""

    bid: LeaseId
    outcome: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseMoved:
    lease: LeaseId
    before: Phase | None
    """None for a lease that just began."""
    after: Phase
    trigger: Trigger | None
    detail: str = ""
    restarting: str = ""
    """The service that its tenant wants restarted, where that is why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerEnded:
    """A container that should run does not."""

    lease: LeaseId
    service: str
    replica: int
    cause: ExitCause
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateTakenBack:
    """What ran before runs again."""

    lease: LeaseId
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeGiven:
    """The operator takes the lease back at ``ends_at``."""

    lease: LeaseId
    ends_at: Instant
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseNamed:
    """It asks for other host names than before: another manifest was taken, or taken back."""

    lease: LeaseId
    hostnames: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseClosed:
    """The whole story of a lease that is over."""

    lease: LeaseId
    reason: CloseReason
    ran_ms: int
    earned: Money


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphanFound:
    """Something runs that no live lease accounts for; it is being removed."""

    lease: LeaseId


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectGaveUp:
    """An effect was refused for good and nothing else follows from it."""

    effect: EffectId
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFaulted:
    """The driver reported ``count`` errors of one kind; those of our own ends of containers are not told."""

    gpu: GpuUuid
    xid: int
    kind: XidClass
    count: int = 1
    lease: LeaseId | None = None
    """Whose it was, or who has the GPU."""
    process: str = ""
    """Whose process, as far as the kernel said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSignalMoved:
    """Something holds against a GPU, or does no more."""

    gpu: GpuUuid
    line: SignalChange
    """As its history has it."""
    leases: tuple[LeaseId, ...] = ()
    """Who has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleMoved:
    """The operator's idle job on one GPU."""

    gpu: GpuUuid
    before: IdlePhase
    after: IdlePhase
    detail: str = ""


GpuNote = GpuFaulted | GpuSignalMoved
LeaseNote = (
    LeaseMoved
    | ContainerEnded
    | UpdateTakenBack
    | NoticeGiven
    | LeaseNamed
    | LeaseClosed
    | OrphanFound
    | EffectGaveUp
)
Note = OrderConsidered | BidEnded | LeaseNote | GpuNote | IdleMoved


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    state: AgentState
    touched: frozenset[LeaseId | OrderId] | None = None
    """Names of all bids, leases and waiting orders that may differ from the state before; None for any."""
    effects: tuple[Effect, ...] = ()
    """In the order in which they were wanted."""
    settled: tuple[EffectId, ...] = ()
    """Effects that need not be performed again."""
    notes: tuple[Note, ...] = ()
    refused: Refused | None = None
    """The answer to a question that the event asked (``ManifestArrived``); None for yes."""
