"""The daemon itself: its link to the market, its store, its loops."""

from __future__ import annotations

from provider.adapters.telemetry.table.metric import counter, gauge, histogram

BUILD_INFO = gauge("provider_build_info", "Always 1: which program this is.", "version", "revision", "python")
EFFECTS = counter(
    "provider_effects_total", "Effects tried, by kind and whether they succeeded.", "kind", "result"
)
COORDINATOR_CONNECTED = gauge(
    "provider_coordinator_connected", "1 while the session with the market is up.", "market"
)
COORDINATOR_RECONNECTS = counter(
    "provider_coordinator_reconnects_total", "Sessions with the market that were lost.", "market"
)
LEDGER_LOST = counter(
    "provider_ledger_lost_total",
    "Records of decisions that could not be written: a full disk, say.",
)
NODE_BIDDING = gauge("provider_node_bidding", "1 while this provider bids on new orders.")
STORE = histogram(
    "provider_store_seconds",
    "One transaction of the store.",
    "op",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1),
)
LOOP_LAG = histogram(
    "provider_event_loop_lag_seconds",
    "How late the event loop wakes a sleeper.",
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5),
)
SCRAPE = histogram(
    "provider_scrape_render_seconds",
    "Rendering one exposition, not counting those served from the last one.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5),
)
BIDDING_BLOCKED = gauge(
    "provider_node_bidding_blocked", "1 while this keeps the provider from bidding, else 0.", "reason"
)
CONNECTION_STATE = gauge(
    "provider_coordinator_connection_state",
    "1 for the state that the link to the market is in, 0 for the others.",
    "market",
    "state",
)
LAST_MESSAGE = gauge(
    "provider_coordinator_last_message_timestamp_seconds", "When the market last said something.", "market"
)
STORE_ERRORS = counter("provider_store_errors_total", "Transactions that the store could not take.", "op")
STORE_SIZE = gauge("provider_store_size_bytes", "Size of the store's files.")
RECONCILE = histogram(
    "provider_reconcile_seconds",
    "One look at what there is, until its consequences are committed, by what was looked at.",
    "loop",
    buckets=(0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10),
)
RECONCILE_ERRORS = counter(
    "provider_reconcile_errors_total", "Looks that failed, by what was to be looked at.", "loop"
)
TASKS = gauge("provider_tasks", "Tasks of the daemon's event loop.")
