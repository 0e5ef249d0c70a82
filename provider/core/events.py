"""Everything that can happen to an agent, as frozen values.

The outside arrives only as one of these, each with the instant ``at`` beside it (never read from a
clock in here). Results of effects are events too and carry the effect's id, so that the commit of
the result removes the intention from the store. Adding one: docs/architecture.md, "to add an event".
"""

from __future__ import annotations

from dataclasses import dataclass

from provider.core.effects import Effect
from provider.core.policy import Policy
from provider.domain.gpu import GpuFault
from provider.domain.gpu_health import ActiveSignal, ErrorCount, GpuSignal
from provider.domain.ids import HOME, GpuUuid, LeaseId, MarketId, OrderId
from provider.domain.manifest import Manifest
from provider.domain.market import Award, CloseReason, Order
from provider.domain.moment import Instant, Span
from provider.domain.money import Rate
from provider.domain.node import Node
from provider.domain.workload import Dependency, RuntimeCapabilities, Workload

# --- from a coordinator, of which the ids tell; ``version`` is its change counter, deduplicated by the core


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderOpened:
    order: Order
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderClosed:
    """The order is gone: won by somebody, expired, or withdrawn. A bid on it is lost unless awarded."""

    order: OrderId
    version: int
    won_at: Rate | None = None
    """The price of the bid that won, where the market tells; None where nobody did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseAwarded:
    award: Award
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseUpdated:
    """The tenant changed its deployment: the lease's manifest is now the one with this hash."""

    lease: LeaseId
    manifest_hash: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseEnded:
    """The market closed the lease."""

    lease: LeaseId
    reason: CloseReason
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorConnected:
    market: str
    """The market's name, which never changes for one coordinator."""
    epoch: int
    market_id: MarketId = HOME
    """The same market in this provider's ids."""
    bid_deposit: int = 0
    """What it holds of our account for each bid, micro-denom of the bid's denom."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorLost:
    why: str
    market_id: MarketId = HOME


# --- from a tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestArrived:
    """A tenant, already known to own the lease, sent a manifest. The step's ``refused`` answers."""

    lease: LeaseId
    manifest: Manifest
    manifest_hash: str
    """Computed here from what was received, never taken from the sender."""
    dependencies: tuple[Dependency, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartRequested:
    """A tenant, already known to own the lease, wants a service restarted. ``refused`` answers."""

    lease: LeaseId
    service: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationRequested:
    """A tenant, already known to own ``lease``, wants names moved to it. ``refused`` answers."""

    lease: LeaseId
    source: LeaseId
    hostnames: tuple[str, ...]


# --- from the operator


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorCloses:
    """Take a lease back at ``ends_at``, of which its tenant is told now. ``refused`` answers."""

    lease: LeaseId
    ends_at: Instant
    why: str = ""
    is_forced: bool = False
    """Sooner than its tenant was promised, if need be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainSet:
    """Bid on nothing, or bid again. Leases run on."""

    is_draining: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuCordoned:
    """Take a GPU out; a lease on it runs on. ``refused`` answers."""

    gpu: GpuUuid
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuUncordoned:
    """It is well: whatever holds against it is over, until it is seen again. ``refused`` answers."""

    gpu: GpuUuid


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChanged:
    """The operator's choices were read again. Open bids and leases stay as they are."""

    policy: Policy
    changes: tuple[str, ...] = ()
    """What is another, a line each, for people."""


# --- from this machine


@dataclass(frozen=True, slots=True, kw_only=True)
class NodesRead:
    """The inventory as it is now, sent only when it changed."""

    nodes: tuple[Node, ...]
    runtime: RuntimeCapabilities


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSignalsChanged:
    """A look at a GPU found something new: a reading by itself is no event."""

    gpu: GpuUuid
    raised: tuple[ActiveSignal, ...] = ()
    cleared: tuple[GpuSignal, ...] = ()
    ecc_uncorrected: int | None = None
    """The driver's count from which the next look starts, where it is another."""
    ecc_corrected: ErrorCount | None = None
    energy_joules: float | None = None
    """The same of these."""
    is_reset: bool = False
    """The card was reset since the last look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFaultSeen:
    """The driver reported an error of a GPU."""

    fault: GpuFault
    lease: LeaseId | None = None
    """Whose process it was, where that is known."""
    count: int = 1
    """How many of the same came together."""
    is_old: bool = False
    """It happened before the daemon started, which may have been told of it in a former life."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadsListed:
    """All that the engine runs for us: the truth after a crash. Never sent when the engine is away."""

    workloads: tuple[Workload, ...]
    as_of: Instant
    """When the engine was asked: what happened later is not judged by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeReached:
    """The earliest instant for which the core had asked (``agent.next_due``) has come."""


# --- results of effects


@dataclass(frozen=True, slots=True, kw_only=True)
class Performed:
    """The effect is done, for good."""

    effect: Effect
    workload: Workload | None = None
    """For StartWorkload and RestartService: what now runs."""
    price: Rate | None = None
    """For AskPrice: what was asked for, in the order's currency."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The effect was tried and did not succeed.

    ``is_final``: it will never succeed as it is (a ``Permanent`` failure); otherwise the engine or
    the peer may recover, ``retry_after`` being its hint.
    """

    effect: Effect
    what: str
    is_final: bool
    reason: CloseReason | None = None
    """For StartWorkload: the reason it gives the lease, should that end it."""
    retry_after: Span | None = None


Event = (
    OrderOpened
    | OrderClosed
    | LeaseAwarded
    | LeaseUpdated
    | LeaseEnded
    | CoordinatorConnected
    | CoordinatorLost
    | ManifestArrived
    | RestartRequested
    | MigrationRequested
    | OperatorCloses
    | DrainSet
    | PolicyChanged
    | GpuCordoned
    | GpuUncordoned
    | NodesRead
    | GpuSignalsChanged
    | GpuFaultSeen
    | WorkloadsListed
    | TimeReached
    | Performed
    | Failed
)
