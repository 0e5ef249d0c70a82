"""The container engine: images, containers and its answers."""

from __future__ import annotations

from provider.adapters.telemetry.table.metric import histogram

CONTAINER_START = histogram(
    "provider_container_start_seconds",
    "From wanting a workload to all its containers running, pull included.",
    "result",
    buckets=(0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800),
)
CONTAINER_STOP = histogram(
    "provider_container_stop_seconds",
    "Removing a workload.",
    "result",
    buckets=(0.1, 0.5, 1, 2, 5, 10, 30, 60),
)
