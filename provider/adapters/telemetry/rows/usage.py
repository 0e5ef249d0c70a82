"""What leases use: samples that were taken, never a look at a kernel or a card."""

from __future__ import annotations

from provider.adapters.telemetry.rows.sample import Rows, Sample
from provider.adapters.telemetry.table import usage as table
from provider.adapters.telemetry.table.metric import Metric
from provider.adapters.telemetry.view import LeaseView
from provider.domain.usage import LeaseUsage, ServiceUsage, UsageCounter

MICRO = 1e-6
_COUNTERS: tuple[tuple[Metric, UsageCounter, tuple[str, ...], float], ...] = (
    (table.CPU, UsageCounter.CPU_US, (), MICRO),
    (table.CPU_THROTTLED, UsageCounter.THROTTLED_US, (), MICRO),
    (table.OOM_KILLS, UsageCounter.OOM_KILLS, (), 1),
    (table.NETWORK, UsageCounter.RECEIVED_BYTES, ("rx",), 1),
    (table.NETWORK, UsageCounter.SENT_BYTES, ("tx",), 1),
    (table.BLOCK_IO, UsageCounter.READ_BYTES, ("read",), 1),
    (table.BLOCK_IO, UsageCounter.WRITTEN_BYTES, ("write",), 1),
)
"""Metric, what it counts, labels after lease and service, its unit in the counter's."""


def used_by(leases: tuple[LeaseView, ...]) -> Rows:
    known = [(lease.key, lease.usage) for lease in leases if lease.usage is not None]
    yield from _gpus(known)
    services = [(key, each) for key, usage in known for each in usage.services]
    yield from _counters(services)
    yield table.MEMORY, [((key, each.service), each.memory_bytes) for key, each in services]
    yield table.MEMORY_LIMIT, [((key, each.service), each.memory_limit_bytes) for key, each in services]
    yield table.RESTARTS, [((key, each.service), each.restarts) for key, each in services]
    yield table.DISK, [((key,), usage.disk_bytes) for key, usage in known]


def _gpus(known: list[tuple[str, LeaseUsage]]) -> Rows:
    held = [((key, each.uuid), each) for key, usage in known for each in usage.gpus]
    yield table.GPU_BUSY, [(labels, each.busy_s) for labels, each in held]
    yield table.GPU_ENERGY, [(labels, each.energy_joules) for labels, each in held]
    yield (
        table.GPU_ENERGY_ESTIMATED,
        [
            ((each.uuid,), float(each.is_energy_estimated))
            for _, each in held
            if each.energy_joules is not None
        ],
    )


def _counters(services: list[tuple[str, ServiceUsage]]) -> Rows:
    samples: dict[Metric, list[Sample]] = {}
    for metric, counter, direction, unit in _COUNTERS:
        samples.setdefault(metric, []).extend(
            ((key, each.service, *direction), each.counters[counter] * unit)
            for key, each in services
            if counter in each.counters
        )
    yield from samples.items()
