"""How reading the cards itself does."""

from __future__ import annotations

from provider.adapters.telemetry.table.metric import counter, gauge, histogram

GPUS = gauge(
    "provider_gpus",
    "Cards by state; a card may be in several. Expected: the most there were since the daemon started.",
    *("state", "simulated"),
)
UP = gauge("provider_nvml_up", "1 while samples are fresh, 0 when they are stale.")
SWEEP = histogram(
    "provider_nvml_sweep_duration_seconds",
    "One sample of all cards.",
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2, 5),
)
LAST_SUCCESS = gauge("provider_nvml_last_success_timestamp_seconds", "When the last sample came.")
ERRORS = counter(
    "provider_nvml_errors_total", "Calls that failed although the card has the capability.", "call", "code"
)
WORKER_RESTARTS = counter(
    "provider_nvml_worker_restarts_total", "Worker processes replaced: timeout, crash or lifecycle.", "reason"
)
WORKERS_STUCK = gauge(
    "provider_nvml_workers_stuck", "Worker processes that the kernel does not let go of, even killed."
)
