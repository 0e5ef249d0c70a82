"""What the operator wants of bids beside their price: how full, how bold, for whom. Values only.

Made from the ``bidding`` block of the configuration in ``app``; each rule reads its own part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from provider.core.maintenance import Window
from provider.core.order_filter import Condition
from provider.domain.moment import HOUR, Instant, Span
from provider.domain.resources import Attribute


class NumaPinning(StrEnum):
    """What a lease is held to that has all of its GPUs at one NUMA node."""

    OFF = "off"
    CPUS = "cpus"
    """To the node's CPUs: memory comes from there as long as there is any, as Linux does it."""
    STRICT = "strict"
    """To the node's CPUs and memory: it gets no other, not even when that is short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overcommit:
    """How many times over things are promised; at least 1. Never GPUs, nor ports."""

    cpu: Decimal = Decimal(1)
    memory: Decimal = Decimal(1)
    storage: Decimal = Decimal(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """What an auditor has signed of this provider, as verified when it was read."""

    attributes: tuple[Attribute, ...]
    expires_at: Instant | None = None
    """None for never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BidPolicy:
    """All of it."""

    overcommit: Overcommit = field(default_factory=Overcommit)
    overbid: int = 1
    """In how many open bids the same GPU, CPUs and bytes may be; one of them at most becomes a lease."""
    numa: NumaPinning = NumaPinning.CPUS
    owners_allow: tuple[str, ...] = ()
    """Patterns of tenants that are served; empty for all."""
    owners_deny: tuple[str, ...] = ()
    """Of those that are not, whatever ``owners_allow`` says."""
    conditions: tuple[Condition, ...] = ()
    """That an order must meet, all of them."""
    volumes_most: int = 4
    """Of one replica."""
    audited: Mapping[str, Audited] = field(default_factory=dict)
    """By auditor."""
    notice: Span = Span(0)
    """What a tenant is told ahead before its lease is taken back."""
    bids_per_minute: int = 0
    """At most; 0 for no limit."""
    open_bids_most: int = 0
    """At once; 0 for no limit."""
    deposit_budget: Decimal | None = None
    """What all bids, those that became leases too, may have in deposits, micro-units of the operator's
    currency; None for no limit."""
    maintenance: tuple[Window, ...] = ()
    maintenance_ahead: Span = HOUR
    """No lease begins so shortly before a window; nor within ``notice`` of it."""
