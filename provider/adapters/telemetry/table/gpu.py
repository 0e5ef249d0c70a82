"""What each card is and does: by ``uuid``, a MIG instance by its own; gone with the card."""

from __future__ import annotations

from provider.adapters.telemetry.table.metric import counter, gauge

INFO = gauge(
    "provider_gpu_info",
    "Always 1: what the card is; simulated is true for a card that does not exist.",
    *("uuid", "index", "minor", "name", "model", "arch", "compute_capability", "pci_bus_id"),
    *("driver_version", "cuda_version", "node", "simulated"),
)
HEALTH_STATE = gauge(
    "provider_gpu_health_state", "1 for the state the card is in, 0 for the others.", "uuid", "state"
)
SCHEDULABLE = gauge("provider_gpu_schedulable", "1 while the card is healthy and may be sold.", "uuid")
LEASED = gauge("provider_gpu_leased", "1 while a lease holds the card.", "uuid")
UTILIZATION = gauge(
    "provider_gpu_utilization_ratio",
    "Share of the last sample window in which the engine was busy.",
    "uuid",
    "engine",
)
MEMORY_TOTAL = gauge("provider_gpu_memory_total_bytes", "Memory of the card.", "uuid")
MEMORY_USED = gauge("provider_gpu_memory_used_bytes", "Memory in use, without what is reserved.", "uuid")
MEMORY_RESERVED = gauge("provider_gpu_memory_reserved_bytes", "Memory held by driver and firmware.", "uuid")
MEMORY_FREE = gauge("provider_gpu_memory_free_bytes", "Memory neither used nor reserved.", "uuid")
POWER = gauge("provider_gpu_power_watts", "Power drawn now.", "uuid")
POWER_LIMIT = gauge("provider_gpu_power_limit_watts", "Power limit in force.", "uuid")
ENERGY = counter("provider_gpu_energy_joules_total", "Energy drawn since the driver was loaded.", "uuid")
TEMPERATURE = gauge("provider_gpu_temperature_celsius", "Temperature.", "uuid", "sensor")
FAN = gauge("provider_gpu_fan_ratio", "Fan speed as a share of its highest.", "uuid")
CLOCK = gauge("provider_gpu_clock_hertz", "Clock now.", "uuid", "domain")
