"""The container engine: images, containers and its answers."""

from __future__ import annotations

from provider.adapters.telemetry.table.metric import counter, gauge, histogram

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
CONTAINER_RESTARTS = counter(
    "provider_container_restarts_total",
    "Containers that ended though they should run, by cause; each is started again, or its lease given up.",
    "reason",
)
IMAGE_PULL = histogram(
    "provider_image_pull_seconds",
    "Pulling one image.",
    "result",
    buckets=(1, 5, 15, 30, 60, 120, 300, 600, 1800),
)
IMAGE_PULL_BYTES = counter(
    "provider_image_pull_bytes_total", "Bytes of images that were transferred, compressed."
)
IMAGE_CACHE = gauge(
    "provider_image_cache_bytes", "Size of the images that are kept for leases, layers they share twice."
)
REQUEST = histogram(
    "provider_docker_request_seconds",
    "One request to the container engine, until its answer begins.",
    "op",
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30),
)
REQUEST_ERRORS = counter(
    "provider_docker_errors_total", "Requests to the engine that failed there, or had no answer.", "op"
)
