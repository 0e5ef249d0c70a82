"""What each lease is and uses: by its short key, of which no tenant can be told; gone with the lease."""

from __future__ import annotations

from provider.adapters.telemetry.table.metric import counter, gauge

INFO = gauge(
    "provider_lease_info",
    "Always 1: what was leased; sku is the card's model, or cpu.",
    "lease",
    "sku",
    "simulated",
    "market",
)
GPU_INFO = gauge("provider_lease_gpu_info", "Always 1: which cards the lease holds.", "lease", "uuid")
STATE = gauge("provider_lease_state", "1 for the phase the lease is in, 0 for the others.", "lease", "state")
RATE = gauge("provider_lease_rate", "Price in micro-units of denom per block of 6 s.", "lease", "denom")
EARNED = counter("provider_lease_earned_total", "Earned so far in micro-units of denom.", "lease", "denom")
GPU_SECONDS = counter(
    "provider_lease_gpu_seconds_total", "Time for which the lease ran with the card.", "lease", "uuid"
)
GPU_UTILIZATION = gauge(
    "provider_lease_gpu_utilization_ratio", "Utilization of the lease's card.", "lease", "uuid"
)
GPU_MEMORY = gauge(
    "provider_lease_gpu_memory_bytes",
    "Memory in use on the lease's card beyond what was in use before the lease.",
    "lease",
    "uuid",
)
GPU_POWER = gauge("provider_lease_gpu_power_watts", "Power drawn by the lease's card.", "lease", "uuid")
