"""What each card is and does: by ``uuid``, a MIG instance by its own; gone with the card.

Counters begin at zero when the daemon first sees the card and only grow, whatever the driver's own do
(``totals``).
"""

from __future__ import annotations

from provider.adapters.telemetry.table.metric import counter, gauge

# --- what it is, and whether it may be sold

INFO = gauge(
    "provider_gpu_info",
    "Always 1: what the card is; simulated is true for a card that does not exist.",
    *("uuid", "index", "minor", "name", "model", "arch", "compute_capability", "pci_bus_id"),
    *("driver_version", "cuda_version", "vbios", "mig_mode", "ecc_mode", "cc_mode", "node", "simulated"),
)
MIG_INFO = gauge(
    "provider_gpu_mig_info",
    "Always 1: which part of which card a MIG instance is.",
    *("uuid", "parent_uuid", "gi", "ci", "profile"),
)
HEALTH_STATE = gauge(
    "provider_gpu_health_state", "1 for the state the card is in, 0 for the others.", "uuid", "state"
)
HEALTH_REASON = gauge(
    "provider_gpu_health_reason",
    "1 while this holds against the card; gone when it does no more.",
    *("uuid", "reason"),
)
SCHEDULABLE = gauge("provider_gpu_schedulable", "1 while the card is healthy and may be sold.", "uuid")
LEASED = gauge("provider_gpu_leased", "1 while a lease holds the card.", "uuid")
IDLE_JOB = gauge(
    "provider_gpu_idle_job_running",
    "1 while the operator's idle job runs on the card; absent where it is not for it.",
    "uuid",
)
IDLE_SECONDS = counter(
    "provider_gpu_idle_job_seconds_total", "For how long the operator's idle job ran on the card.", "uuid"
)

# --- load and memory

UTILIZATION = gauge(
    "provider_gpu_utilization_ratio",
    "Share of the last sample window in which the engine (sm, memory, encoder, decoder) was busy.",
    *("uuid", "engine"),
)
SM_ACTIVE = gauge(
    "provider_gpu_sm_active_ratio", "Share of multiprocessors that worked (Hopper and newer).", "uuid"
)
TENSOR_ACTIVE = gauge(
    "provider_gpu_tensor_active_ratio", "Share of time the tensor cores worked (Hopper and newer).", "uuid"
)
MEMORY_TOTAL = gauge("provider_gpu_memory_total_bytes", "Memory of the card.", "uuid")
MEMORY_USED = gauge("provider_gpu_memory_used_bytes", "Memory in use, without what is reserved.", "uuid")
MEMORY_RESERVED = gauge("provider_gpu_memory_reserved_bytes", "Memory held by driver and firmware.", "uuid")
MEMORY_FREE = gauge("provider_gpu_memory_free_bytes", "Memory neither used nor reserved.", "uuid")
BAR1_USED = gauge("provider_gpu_bar1_used_bytes", "Memory mapped for the host (BAR1).", "uuid")
PROCESSES = gauge(
    "provider_gpu_processes",
    "Compute processes on the card: a lease's (lease), or somebody else's (foreign).",
    *("uuid", "owner"),
)

# --- power, heat and clocks

POWER = gauge("provider_gpu_power_watts", "Power drawn now.", "uuid")
POWER_LIMIT = gauge("provider_gpu_power_limit_watts", "Power limit in force.", "uuid")
ENERGY = counter(
    "provider_gpu_energy_joules_total", "Energy drawn since the daemon first saw the card.", "uuid"
)
TEMPERATURE = gauge("provider_gpu_temperature_celsius", "Temperature of core or memory.", "uuid", "sensor")
TEMPERATURE_MARGIN = gauge(
    "provider_gpu_temperature_margin_celsius", "Degrees left until the card slows down.", "uuid"
)
FAN = gauge("provider_gpu_fan_ratio", "Fan speed as a share of its highest.", "uuid")
CLOCK = gauge(
    "provider_gpu_clock_hertz", "Clock of the domain (graphics, sm, memory, video) now.", "uuid", "domain"
)
CLOCK_MAX = gauge("provider_gpu_clock_max_hertz", "Highest clock of the domain.", "uuid", "domain")
PERFORMANCE_STATE = gauge(
    "provider_gpu_performance_state", "Performance state: 0 is the fastest, 15 the slowest.", "uuid"
)
CLOCKS_EVENT = gauge(
    "provider_gpu_clocks_event_active",
    "1 while the reason keeps clocks from their highest, 0 while it does not.",
    *("uuid", "reason"),
)
THROTTLE = counter(
    "provider_gpu_throttle_seconds_total",
    "Time for which the card was slowed down for the reason, as far as samples tell.",
    *("uuid", "reason"),
)

# --- links

PCIE_BYTES = counter("provider_gpu_pcie_bytes_total", "Moved over PCIe.", "uuid", "direction")
PCIE_REPLAYS = counter("provider_gpu_pcie_replays_total", "Packets that PCIe had to send again.", "uuid")
PCIE_WIDTH = gauge("provider_gpu_pcie_link_width", "Lanes of the PCIe link in use.", "uuid")
PCIE_WIDTH_MAX = gauge("provider_gpu_pcie_link_width_max", "Lanes that the PCIe link could have.", "uuid")
PCIE_GENERATION = gauge(
    "provider_gpu_pcie_link_generation", "Generation of the PCIe link now; it falls while idle.", "uuid"
)
PCIE_GENERATION_MAX = gauge(
    "provider_gpu_pcie_link_generation_max", "Newest generation that the PCIe link could have.", "uuid"
)
NVLINKS_UP = gauge("provider_gpu_nvlink_up_links", "NVLinks that are up.", "uuid")
NVLINKS = gauge("provider_gpu_nvlink_links", "NVLinks that the card has.", "uuid")
NVLINK_BYTES = counter("provider_gpu_nvlink_bytes_total", "Moved over NVLink.", "uuid", "direction")
NVLINK_ERRORS = counter(
    "provider_gpu_nvlink_errors_total", "Errors of NVLinks (replay, recovery, crc).", "uuid", "kind"
)

# --- errors

ECC_ERRORS = counter(
    "provider_gpu_ecc_errors_total", "Memory errors, corrected or uncorrected.", "uuid", "severity"
)
REMAPPED_ROWS = gauge(
    "provider_gpu_remapped_rows", "Rows of memory replaced for good, by what was wrong.", "uuid", "cause"
)
REMAP_PENDING = gauge(
    "provider_gpu_remap_pending", "1 while a row is to be replaced at the next reset.", "uuid"
)
REMAP_FAILED = gauge("provider_gpu_remap_failed", "1 once a row could not be replaced.", "uuid")
RECOVERY_ACTION = gauge(
    "provider_gpu_recovery_action",
    "What the driver wants done: 0 nothing, 1 reset, 2 reboot, 3 drain peers, 4 drain and reset.",
    "uuid",
)
XIDS = counter(
    "provider_gpu_xid_total",
    "Errors that the driver reported, by number and what kind of error that is; from the first one on.",
    *("uuid", "xid", "class"),
)
XID_LAST = gauge(
    "provider_gpu_xid_last_timestamp_seconds", "When the driver last reported an error of the card.", "uuid"
)
