"""The ``bidding`` block of the operator's configuration: what to bid on, how boldly, and how patiently.

Values only; ``bid_settings`` makes a policy of them, and says what is wrong with one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class BiddingConfig:
    """What to bid on and how patiently."""

    denoms: tuple[str, ...] = ("uact",)
    attributes: Mapping[str, str] = field(default_factory=dict)
    """What this provider claims of itself: region, tier ..."""
    bid_lifetime_s: float = 300
    manifest_patience_s: float = 300
    usage_interval_s: float = 10
    retry_first_s: float = 10
    deaths_most: int = 8
    update_probation_s: float = 60
    stop_grace_s: int = 10
    owners_allow: tuple[str, ...] = ()
    """Patterns of the tenants that are served; empty: all."""
    owners_deny: tuple[str, ...] = ()
    filter: tuple[str, ...] = ()
    """Conditions that an order must meet, such as gpus >= 1."""
    auditors: Mapping[str, Path] = field(default_factory=dict)
    """Public keys (PEM) of auditors that may vouch for this provider, by name."""
    audited: Path | None = None
    """The folder of the statements that they signed."""
    volumes_most: int = 4
    """Of one replica."""
    notice_s: float = 0
    """What a tenant is told ahead before its lease is taken back."""
    bids_per_minute: int = 0
    open_bids_most: int = 0
    deposit_budget: Decimal | None = None
    """Whole units of the currency that prices are written in."""
    maintenance: tuple[str, ...] = ()
    """Windows such as sun 02:00 4h or 2026-12-01T02:00Z 6h, UTC."""
    maintenance_ahead_s: float = 3600
    """No lease begins so shortly before a window."""
    overcommit_cpu: Decimal = Decimal(1)
    overcommit_memory: Decimal = Decimal(1)
    overcommit_storage: Decimal = Decimal(1)
    overbid: int = 1
    """In how many open bids the same things may be."""
    numa: str = "cpus"
    """off, cpus or strict: what leases are held to whose GPUs are at one NUMA node."""
