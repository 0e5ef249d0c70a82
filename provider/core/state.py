"""What an agent remembers: open bids, leases, what there is, how far it has read each market.

All of it is values; ``agent.transition`` makes a new state from an old one. ``bids``, ``leases``, ``orders``,
``gpu_records``, ``idle``, ``is_draining`` and of each market its name and version are committed with every
step; ``nodes``, ``runtime`` and how the markets' links are is looked up again after a start, and the policy
comes from the configuration. ``holdings`` and ``due_at`` follow from bids and leases.

There is one inventory whatever the number of markets: whose a bid or lease is, its id tells (``domain.ids``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from provider.core import holdings as held_things
from provider.core.holdings import Holdings
from provider.core.learning import Lesson, WinCurve
from provider.core.lease import Phase
from provider.core.policy import Policy
from provider.domain.gpu_health import GpuRecord
from provider.domain.idle import IdleRun
from provider.domain.ids import HOME, EffectId, GpuUuid, LeaseId, MarketId, OrderId
from provider.domain.manifest import Manifest
from provider.domain.market import Bid, CloseReason, GroupSpec, Order, Placement, Refused
from provider.domain.moment import Instant
from provider.domain.money import Rate
from provider.domain.node import Node
from provider.domain.workload import Dependency, PortBinding, RuntimeCapabilities

NEVER = Instant(1 << 62)
"""Later than any clock tells."""
ORDERS_MOST = 1_000
"""Refused orders that are remembered of each market: one that never closes its orders costs no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBid:
    """A bid whose outcome is open, and the reservation behind it."""

    bid: Bid
    order: Order
    placement: Placement
    expires_at: Instant
    """When it is taken back if nothing was heard."""
    version: int
    """The market's change counter when it was made: part of its effects' ids, so that a second bid on
    an order that opened again is not taken for the first."""
    effects_issued: int = 0
    lesson: Lesson | None = None
    """What its outcome will teach; None where its price was made outside."""
    is_asking: bool = False
    """Its price is being asked for: the market has not heard of it, and ``bid.rate`` is the least it can
    be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingOrder:
    """An open order that was refused for now: looked at again when what there is changes."""

    order: Order
    refused: Refused
    version: int
    """The market's change counter when it opened."""
    effects_issued: int = 0
    """By bids on it so far: its price was asked for, and there was none."""
    again_at: Instant | None = None
    """When it is looked at again though nothing has changed: whoever makes its price had failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """Time that is billed. ``ran_ms`` counts what is over; ``since`` opens what is still running."""

    ran_ms: int = 0
    since: Instant | None = None
    reports: int = 0
    """Usage reports wanted so far."""
    report_at: Instant | None = None
    """When the next is due; None while nothing runs."""
    seen_at: Instant | None = None
    """When it was last seen running, or known to have ended: no report bills beyond it while it runs."""
    in_flight: EffectId | None = None
    """The report that the market has not taken yet: no other is sent before it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A manifest that was taken, and what it was given."""

    manifest: Manifest
    manifest_hash: str
    dependencies: tuple[Dependency, ...] = ()
    ports: tuple[PortBinding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """One lease of this provider, from award to the last container's removal."""

    id: LeaseId
    group: GroupSpec
    rate: Rate
    manifest_hash: str
    """Of the manifest that is ordered."""
    placement: Placement
    version: int
    """The market's change counter of the award: part of its effects' ids."""
    phase: Phase
    due: Instant | None
    """When this phase asks for attention: a manifest overdue, a retry; None for never."""
    generation: int = 0
    """Changes of what runs so far: manifests taken, and taken back."""
    current: Revision | None = None
    """What runs, or is to run."""
    former: Revision | None = None
    """What ran before an update that has not proved itself yet: run again should the update fail."""
    former_revisions: Mapping[str, int] = field(default_factory=dict)
    """Of ``former``: containers that the update did not come to are those still."""
    revisions: Mapping[str, int] = field(default_factory=dict)
    """For each service the generation in which its containers last changed."""
    failures: int = 0
    """Deaths and failed starts in a row, for the wait before the next start; a long run sets it back."""
    deaths: int = 0
    """Of these, the ones that were its own doing; too many end the lease."""
    started_at: Instant | None = None
    """Of the last start."""
    restarts: int = 0
    is_degraded: bool = False
    """While it is being repaired: some of its containers run on."""
    is_held_up: bool = False
    """Its start waits until the idle job has left a GPU of its own."""
    restarting: str = ""
    """The service that is being restarted because its tenant asked for it."""
    update_problem: str = ""
    """Why the last update was taken back; empty once another is taken."""
    ends_at: Instant | None = None
    """When the operator takes it back, of which the tenant was told."""
    ends_because: str = ""
    hostnames: tuple[str, ...] = ()
    """Names of its tenant that it was given, sorted."""
    meter: Meter = Meter()
    reason: CloseReason | None = None
    """Once its end is decided."""
    detail: str = ""
    """One line: why it is where it is."""
    effects_issued: int = 0

    @property
    def manifest(self) -> Manifest | None:
        """Of what runs, or is to run."""
        return self.current.manifest if self.current else None

    @property
    def ports(self) -> tuple[PortBinding, ...]:
        return self.current.ports if self.current else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """One market, how far it was read, and how the link to it is."""

    name: str = ""
    """As its coordinator says; empty before the first contact."""
    version: int = 0
    """Its change counter up to which all was taken in."""
    connected: bool = False
    problem: str = ""
    """Why the link is down, where that is known."""
    since: Instant | None = None
    """When the link came up or went down last."""
    bid_deposit: int = 0
    """Micro-denom that it holds for each bid, as it said when the link came up last."""

    @property
    def position(self) -> tuple[str, int]:
        """Name and version: from where the market goes on to tell."""
        return self.name, self.version

    @property
    def kept(self) -> Market:
        """What a restart takes up: all but how the link is."""
        return Market(name=self.name, version=self.version, bid_deposit=self.bid_deposit)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentState:
    """All that the next decision depends on."""

    policy: Policy
    bids: Mapping[LeaseId, OpenBid] = field(default_factory=dict)
    leases: Mapping[LeaseId, Lease] = field(default_factory=dict)
    orders: Mapping[OrderId, WaitingOrder] = field(default_factory=dict)
    """The newest ``ORDERS_MOST`` of each market, in the order in which they opened."""
    markets: Mapping[MarketId, Market] = field(default_factory=dict)
    """Those that were ever heard of."""
    gpu_records: Mapping[GpuUuid, GpuRecord] = field(default_factory=dict)
    """What is remembered of GPUs: what holds against them, their faults, their history."""
    idle: Mapping[GpuUuid, IdleRun] = field(default_factory=dict)
    """The operator's idle job, on each GPU that had it since it was configured."""
    nodes_as_read: tuple[Node, ...] = ()
    """As this machine told them last."""
    nodes: tuple[Node, ...] = ()
    """The same, each GPU as well as its record says: what decisions look at."""
    runtime: RuntimeCapabilities | None = None
    curves: Mapping[str, WinCurve] = field(default_factory=dict)
    """What prices win, by kind of card (``learning``)."""
    is_draining: bool = False
    """Its operator wants no new leases."""
    orphans: frozenset[LeaseId] = frozenset()
    """Being removed: found at the engine without a lease."""
    bid_times: tuple[Instant, ...] = ()
    """Of the last minute, oldest first, where the operator limits them; a restart forgets them."""
    look_again_at: Instant | None = None
    """When time has cured what an order was refused for: the orders are looked at again then."""
    holdings: Holdings | None = field(default=None, compare=False)
    """What ``bids`` and ``leases`` hold, kept as they come and go; None right after a load."""
    due_at: Instant | None = field(default=None, compare=False)
    """When the first of ``bids`` and ``leases`` asks for attention; kept like ``holdings``."""

    def market(self, market: MarketId = HOME) -> Market:
        """As it is known; one that was not heard of yet is at its beginning."""
        return self.markets.get(market) or Market()

    @property
    def connected(self) -> bool:
        """Whether any market is there to be told something."""
        return any(market.connected for market in self.markets.values())

    @property
    def link_problem(self) -> str:
        """Of every market that is away, each with its name where there are several."""
        problems = [(each.name, each.problem) for each in self.markets.values() if each.problem]
        if len(self.markets) == 1:
            return "".join(problem for _, problem in problems)
        return "; ".join(f"{name}: {problem}" if name else problem for name, problem in problems)


def due_of(what: OpenBid | Lease) -> Instant:
    """When a bid or a lease asks for attention next; ``NEVER`` where it does not."""
    if isinstance(what, OpenBid):
        return what.expires_at
    instants = (what.due, what.meter.report_at, what.ends_at)
    return min((each for each in instants if each is not None), default=NEVER)


def earliest_due(state: AgentState) -> Instant:
    """Of all bids and leases: what ``state.due_at`` must be."""
    bids, leases = map(due_of, state.bids.values()), map(due_of, state.leases.values())
    return min(min(bids, default=NEVER), min(leases, default=NEVER))


def holdings(state: AgentState) -> Holdings:
    """What bids and leases hold, as it is kept, or summed up where it is not yet."""
    return sum_of_holdings(state) if state.holdings is None else state.holdings


def sum_of_holdings(state: AgentState) -> Holdings:
    """The sum over all bids and leases: what ``state.holdings`` must be."""
    total: Holdings = {}
    for bid in state.bids.values():
        taken = held_things.held(bid.order.group, bid.placement)
        total = held_things.with_bid(total, bid.placement.node, taken)
    for lease in state.leases.values():
        taken = held_things.held(lease.group, lease.placement)
        total = held_things.with_lease(total, lease.placement.node, taken)
    return total
