"""Every metric that is exported: name, kind, labels, help. Nothing is exported that is not here.

Owns the declaration; ``docs/metrics.md`` is held to it by a test. Rules: base units; ``_total`` on counters
and only there; labels from bounded sets; constants in ``_info`` series joined by ``uuid`` or ``lease``; what
is not known has no series, never a zero; a lease's series go when the lease goes. Billing is the ledger's
business: nothing here is good enough to bill from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """``buckets`` only for histograms, in seconds."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


def _gauge(name: str, help_text: str, *labels: str) -> Metric:
    return Metric(name=name, kind=Kind.GAUGE, help=help_text, labels=labels)


def _counter(name: str, help_text: str, *labels: str) -> Metric:
    return Metric(name=name, kind=Kind.COUNTER, help=help_text, labels=labels)


def _histogram(name: str, help_text: str, *labels: str, buckets: tuple[float, ...]) -> Metric:
    return Metric(name=name, kind=Kind.HISTOGRAM, help=help_text, labels=labels, buckets=buckets)


BUILD_INFO = _gauge(
    "provider_build_info", "Always 1: which program this is.", "version", "revision", "python"
)

# --- GPUs, by uuid

GPU_INFO = _gauge(
    "provider_gpu_info",
    "Always 1: what the card is; simulated is true for a card that does not exist.",
    *("uuid", "index", "minor", "name", "model", "arch", "compute_capability", "pci_bus_id"),
    *("driver_version", "cuda_version", "node", "simulated"),
)
GPU_HEALTH_STATE = _gauge(
    "provider_gpu_health_state", "1 for the state the card is in, 0 for the others.", "uuid", "state"
)
GPU_SCHEDULABLE = _gauge("provider_gpu_schedulable", "1 while the card is healthy and may be sold.", "uuid")
GPU_LEASED = _gauge("provider_gpu_leased", "1 while a lease holds the card.", "uuid")
GPU_UTILIZATION = _gauge(
    "provider_gpu_utilization_ratio",
    "Share of the last sample window in which the engine was busy.",
    "uuid",
    "engine",
)
GPU_MEMORY_TOTAL = _gauge("provider_gpu_memory_total_bytes", "Memory of the card.", "uuid")
GPU_MEMORY_USED = _gauge("provider_gpu_memory_used_bytes", "Memory in use, without what is reserved.", "uuid")
GPU_MEMORY_RESERVED = _gauge(
    "provider_gpu_memory_reserved_bytes", "Memory held by driver and firmware.", "uuid"
)
GPU_MEMORY_FREE = _gauge("provider_gpu_memory_free_bytes", "Memory neither used nor reserved.", "uuid")
GPU_POWER = _gauge("provider_gpu_power_watts", "Power drawn now.", "uuid")
GPU_POWER_LIMIT = _gauge("provider_gpu_power_limit_watts", "Power limit in force.", "uuid")
GPU_ENERGY = _counter("provider_gpu_energy_joules_total", "Energy drawn since the driver was loaded.", "uuid")
GPU_TEMPERATURE = _gauge("provider_gpu_temperature_celsius", "Temperature.", "uuid", "sensor")
GPU_FAN = _gauge("provider_gpu_fan_ratio", "Fan speed as a share of its highest.", "uuid")
GPU_CLOCK = _gauge("provider_gpu_clock_hertz", "Clock now.", "uuid", "domain")

# --- how the telemetry itself does

GPUS = _gauge("provider_gpus", "Cards by state; a card may be in several.", "state", "simulated")
NVML_UP = _gauge("provider_nvml_up", "1 while samples are fresh, 0 when they are stale.")
NVML_SWEEP = _histogram(
    "provider_nvml_sweep_duration_seconds",
    "One sample of all cards.",
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2, 5),
)
NVML_LAST_SUCCESS = _gauge("provider_nvml_last_success_timestamp_seconds", "When the last sample came.")
NVML_ERRORS = _counter(
    "provider_nvml_errors_total", "Calls that failed although the card has the capability.", "call", "code"
)
NVML_WORKER_RESTARTS = _counter(
    "provider_nvml_worker_restarts_total", "Worker processes replaced: timeout, crash or lifecycle.", "reason"
)

# --- leases, by their short key; gone with the lease

LEASE_INFO = _gauge(
    "provider_lease_info",
    "Always 1: what was leased; sku is the card's model, or cpu.",
    "lease",
    "sku",
    "simulated",
)
LEASE_GPU_INFO = _gauge("provider_lease_gpu_info", "Always 1: which cards the lease holds.", "lease", "uuid")
LEASE_STATE = _gauge(
    "provider_lease_state", "1 for the phase the lease is in, 0 for the others.", "lease", "state"
)
LEASE_RATE = _gauge(
    "provider_lease_rate", "Price in micro-units of denom per block of 6 s.", "lease", "denom"
)
LEASE_EARNED = _counter(
    "provider_lease_earned_total", "Earned so far in micro-units of denom.", "lease", "denom"
)
LEASE_GPU_SECONDS = _counter(
    "provider_lease_gpu_seconds_total", "Time for which the lease ran with the card.", "lease", "uuid"
)
LEASE_GPU_UTILIZATION = _gauge(
    "provider_lease_gpu_utilization_ratio", "Utilization of the lease's card.", "lease", "uuid"
)
LEASE_GPU_MEMORY = _gauge(
    "provider_lease_gpu_memory_bytes", "Memory in use on the lease's card.", "lease", "uuid"
)
LEASE_GPU_POWER = _gauge(
    "provider_lease_gpu_power_watts", "Power drawn by the lease's card.", "lease", "uuid"
)

# --- the market

ORDERS_SEEN = _counter("provider_orders_seen_total", "Orders looked at, by what came of it.", "result")
ORDER_REFUSALS = _counter("provider_order_refusals_total", "Orders not bid on, by reason.", "reason")
BIDS = _counter(
    "provider_bids_total", "Bids by what became of them; each is submitted, then something else.", "outcome"
)
BID_LATENCY = _histogram(
    "provider_bid_latency_seconds",
    "From an order's arrival to the decision, to the market's receipt; from an award to its confirmation.",
    "stage",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
BIDS_OPEN = _gauge("provider_bids_open", "Bids whose outcome is open.")
LEASES = _gauge("provider_leases", "Leases by phase.", "state")
LEASES_CLOSED = _counter(
    "provider_leases_closed_total", "Leases that ended, why, and whose fault it was.", "reason", "fault"
)
LEASE_DURATION = _histogram(
    "provider_lease_duration_seconds",
    "How long a lease's workload ran, once it has ended.",
    buckets=(60, 300, 1800, 3600, 21600, 86400, 604800),
)
REVENUE = _counter(
    "provider_revenue_total", "Earned since the daemon started, in micro-units of denom.", "denom"
)

# --- the engine and the daemon

CONTAINER_START = _histogram(
    "provider_container_start_seconds",
    "From wanting a workload to all its containers running, pull included.",
    "result",
    buckets=(0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800),
)
CONTAINER_STOP = _histogram(
    "provider_container_stop_seconds",
    "Removing a workload.",
    "result",
    buckets=(0.1, 0.5, 1, 2, 5, 10, 30, 60),
)
EFFECTS = _counter(
    "provider_effects_total", "Effects tried, by kind and whether they succeeded.", "kind", "result"
)
COORDINATOR_CONNECTED = _gauge("provider_coordinator_connected", "1 while the session with the market is up.")
COORDINATOR_RECONNECTS = _counter(
    "provider_coordinator_reconnects_total", "Sessions with the market that were lost."
)
NODE_BIDDING = _gauge("provider_node_bidding", "1 while this provider bids on new orders.")
STORE = _histogram(
    "provider_store_seconds",
    "One transaction of the store.",
    "op",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1),
)
LOOP_LAG = _histogram(
    "provider_event_loop_lag_seconds",
    "How late the event loop wakes a sleeper.",
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5),
)
SCRAPE = _histogram(
    "provider_scrape_render_seconds",
    "Rendering one exposition, not counting those served from the last one.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5),
)


def metrics() -> Iterator[Metric]:
    """All of them, in the order of this file."""
    return (value for value in globals().values() if isinstance(value, Metric))


def markdown() -> str:
    """The table as ``docs/metrics.md`` has it."""
    rows = ["| name | type | labels | meaning |", "|---|---|---|---|"]
    for metric in metrics():
        labels = ", ".join(f"`{label}`" for label in metric.labels) or "-"
        rows.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(markdown())
