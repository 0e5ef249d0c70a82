"""Bids, leases and the link: totals."""

from __future__ import annotations

from provider.adapters.telemetry import table
from provider.adapters.telemetry.rows.lease import LIVE_PHASES
from provider.adapters.telemetry.rows.sample import Rows
from provider.adapters.telemetry.view import TelemetryView


def market(view: TelemetryView) -> Rows:
    yield table.market.BIDS_OPEN, [((), view.bids_open)]
    yield (
        table.market.LEASES,
        [((phase,), sum(lease.phase is phase for lease in view.leases)) for phase in LIVE_PHASES],
    )
    yield table.daemon.COORDINATOR_CONNECTED, [((), float(view.is_connected))]
    yield table.daemon.NODE_BIDDING, [((), float(view.is_bidding))]
