"""Orders, bids, leases and money: totals, nobody by name."""

from __future__ import annotations

from provider.adapters.telemetry.table.metric import counter, gauge, histogram

ORDERS_SEEN = counter("provider_orders_seen_total", "Orders looked at, by what came of it.", "result")
ORDER_REFUSALS = counter("provider_order_refusals_total", "Orders not bid on, by reason.", "reason")
BIDS = counter(
    "provider_bids_total", "Bids by what became of them; each is submitted, then something else.", "outcome"
)
BID_LATENCY = histogram(
    "provider_bid_latency_seconds",
    "From an order's arrival to the decision, to the market's receipt; from an award to its confirmation.",
    "stage",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
BIDS_OPEN = gauge("provider_bids_open", "Bids whose outcome is open.")
LEASES = gauge("provider_leases", "Leases by phase.", "state")
LEASES_CLOSED = counter(
    "provider_leases_closed_total", "Leases that ended, why, and whose fault it was.", "reason", "fault"
)
LEASE_DURATION = histogram(
    "provider_lease_duration_seconds",
    "How long a lease's workload ran, once it has ended.",
    buckets=(60, 300, 1800, 3600, 21600, 86400, 604800),
)
REVENUE = counter(
    "provider_revenue_total", "Earned since the daemon started, in micro-units of denom.", "market", "denom"
)
PRICE = gauge(
    "provider_price_per_gpu_hour",
    "Price of one card of the model (sku) for an hour, in micro-units of denom.",
    *("sku", "denom"),
)
