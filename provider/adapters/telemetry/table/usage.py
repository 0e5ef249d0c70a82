"""What each lease has used: by its short key, card and service; totals outlive restarts of containers and of
the daemon, and are gone with the lease."""

from __future__ import annotations

from provider.adapters.telemetry.table.metric import counter, gauge

GPU_BUSY = counter(
    "provider_lease_gpu_busy_seconds_total",
    "Utilization over time: its rate is the mean utilization, whatever scrapes were missed.",
    "lease",
    "uuid",
)
GPU_ENERGY = counter(
    "provider_lease_gpu_energy_joules_total",
    "Energy that the card drew for the lease; see provider_gpu_energy_estimated.",
    "lease",
    "uuid",
)
GPU_ENERGY_ESTIMATED = gauge(
    "provider_gpu_energy_estimated",
    "1 where a lease's energy is its share of a divided card's, by slices; 0 where it is the card's own.",
    "uuid",
)
CPU = counter("provider_lease_cpu_seconds_total", "CPU time of the service.", "lease", "service")
CPU_THROTTLED = counter(
    "provider_lease_cpu_throttled_seconds_total",
    "Time for which the service wanted more CPU than it has, summed over its CPUs.",
    "lease",
    "service",
)
MEMORY = gauge(
    "provider_lease_memory_bytes", "Working set: without cache that can be given back.", "lease", "service"
)
MEMORY_LIMIT = gauge("provider_lease_memory_limit_bytes", "Memory that it may use.", "lease", "service")
OOM_KILLS = counter(
    "provider_lease_oom_kills_total", "Processes ended for want of memory.", "lease", "service"
)
NETWORK = counter(
    "provider_lease_network_bytes_total",
    "Bytes over the service's network, rx or tx, loopback left out.",
    "lease",
    "service",
    "direction",
)
BLOCK_IO = counter(
    "provider_lease_block_io_bytes_total",
    "Bytes read from and written to disks; what the cache served is not among them.",
    "lease",
    "service",
    "direction",
)
DISK = gauge(
    "provider_lease_disk_used_bytes", "Disk taken by containers and volumes, as last measured.", "lease"
)
RESTARTS = counter(
    "provider_lease_restarts_total",
    "Containers of the service that took another's place, for whatever reason.",
    "lease",
    "service",
)
