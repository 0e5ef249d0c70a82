"""Bids, leases, prices: totals, nobody by name."""

from __future__ import annotations

from provider.adapters.telemetry import table
from provider.adapters.telemetry.rows.lease import LIVE_PHASES
from provider.adapters.telemetry.rows.sample import Rows
from provider.adapters.telemetry.view import TelemetryView


def market(view: TelemetryView) -> Rows:
    """Counters beside these are ``metrics``'s."""
    yield table.market.BIDS_OPEN, [((), view.bids_open)]
    yield (
        table.market.LEASES,
        [((phase,), sum(lease.phase is phase for lease in view.leases)) for phase in LIVE_PHASES],
    )
    yield table.market.PRICE, [((sku, denom), micros) for sku, denom, micros in view.prices]
