"""Bids, leases, prices: totals, nobody by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from provider.adapters.telemetry.rows.lease import LIVE_PHASES
from provider.adapters.telemetry.rows.sample import Group, Rows
from provider.adapters.telemetry.table import market as table
from provider.adapters.telemetry.view import TelemetryView


def market(view: TelemetryView) -> Group:
    """Counters beside these are ``metrics``'s."""
    phases = Counter(lease.phase for lease in view.leases)
    return Group(
        metrics=(table.BIDS_OPEN, table.LEASES, table.PRICE),
        tell=_market,
        parts=[("", (view.bids_open, tuple(phases[phase] for phase in LIVE_PHASES), view.prices))],
    )


def _market(bids_open: int, leases: tuple[int, ...], prices: Iterable[tuple[str, str, float]]) -> Rows:
    yield table.BIDS_OPEN, [((), bids_open)]
    yield table.LEASES, [((phase,), count) for phase, count in zip(LIVE_PHASES, leases, strict=True)]
    yield table.PRICE, [((sku, denom), micros) for sku, denom, micros in prices]
