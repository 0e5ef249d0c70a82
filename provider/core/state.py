"""What an agent remembers: open bids, leases, what there is, how far it has read the market.

All of it is values; ``agent.transition`` makes a new state from an old one. ``bids``, ``leases``,
``market`` and ``version`` are committed with every step; ``nodes``, ``runtime`` and ``connected`` are
looked up again after a start, and the policy comes from the configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from provider.core.lease import Phase
from provider.core.policy import Policy
from provider.domain.ids import LeaseId
from provider.domain.manifest import Manifest
from provider.domain.market import Bid, CloseReason, GroupSpec, Order, Placement
from provider.domain.moment import Instant
from provider.domain.money import Rate
from provider.domain.node import Node
from provider.domain.workload import PortBinding, RuntimeCapabilities


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBid:
    """A bid whose outcome is open, and the reservation behind it."""

    bid: Bid
    order: Order
    placement: Placement
    expires_at: Instant
    """When it is taken back if nothing was heard."""
    effects_issued: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """Time that is billed. ``ran_ms`` counts what is over; ``since`` opens what is still running."""

    ran_ms: int = 0
    since: Instant | None = None
    reports: int = 0
    """Usage reports wanted so far."""
    report_at: Instant | None = None
    """When the next is due; None while nothing runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """One lease of this provider, from award to the last container's removal."""

    id: LeaseId
    group: GroupSpec
    rate: Rate
    manifest_hash: str
    placement: Placement
    phase: Phase
    due: Instant | None
    """When this phase asks for attention: a manifest overdue, a retry; None for never."""
    generation: int = 0
    """Manifests taken so far."""
    manifest: Manifest | None = None
    ports: tuple[PortBinding, ...] = ()
    failures: int = 0
    """Deaths and failed starts in a row; a long enough run sets it back."""
    started_at: Instant | None = None
    """Of the last start."""
    restarts: int = 0
    meter: Meter = Meter()
    reason: CloseReason | None = None
    """Once its end is decided."""
    detail: str = ""
    """One line: why it is where it is."""
    effects_issued: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentState:
    """All that the next decision depends on."""

    policy: Policy
    bids: Mapping[LeaseId, OpenBid] = field(default_factory=dict)
    leases: Mapping[LeaseId, Lease] = field(default_factory=dict)
    market: str = ""
    """The one market this state belongs to; empty before the first contact."""
    version: int = 0
    """The market's change counter up to which all was taken in."""
    nodes: tuple[Node, ...] = ()
    runtime: RuntimeCapabilities | None = None
    connected: bool = False
    link_problem: str = ""
