"""What leases use: samples that were taken, never a look at a kernel or a card."""

from __future__ import annotations

from provider.adapters.telemetry.rows.sample import Group, Rows
from provider.adapters.telemetry.table import lease
from provider.adapters.telemetry.table import usage as table
from provider.adapters.telemetry.table.metric import Metric
from provider.adapters.telemetry.view import LeaseView
from provider.domain.usage import GpuUsage, ServiceUsage, UsageCounter

MICRO = 1e-6
_COUNTERS: tuple[tuple[Metric, tuple[tuple[UsageCounter, tuple[str, ...]], ...], float], ...] = (
    (table.CPU, ((UsageCounter.CPU_US, ()),), MICRO),
    (table.CPU_THROTTLED, ((UsageCounter.THROTTLED_US, ()),), MICRO),
    (table.OOM_KILLS, ((UsageCounter.OOM_KILLS, ()),), 1),
    (
        table.NETWORK,
        ((UsageCounter.RECEIVED_BYTES, ("rx",)), (UsageCounter.SENT_BYTES, ("tx",))),
        1,
    ),
    (
        table.BLOCK_IO,
        ((UsageCounter.READ_BYTES, ("read",)), (UsageCounter.WRITTEN_BYTES, ("write",))),
        1,
    ),
)
"""Metric, what it counts with labels after lease and service, its unit in the counter's."""


def cards_of(leases: tuple[LeaseView, ...]) -> Group:
    """What leases use of their cards."""
    return Group(
        metrics=(
            *(lease.GPU_UTILIZATION, lease.GPU_MEMORY, lease.GPU_POWER),
            *(table.GPU_BUSY, table.GPU_ENERGY, table.GPU_ENERGY_ESTIMATED),
        ),
        tell=_cards,
        parts=[
            (each.key, (each.key, each.usage.gpus))
            for each in leases
            if each.usage is not None and each.usage.gpus
        ],
    )


def _cards(key: str, gpus: tuple[GpuUsage, ...]) -> Rows:
    yield lease.GPU_UTILIZATION, [((key, each.uuid), each.utilization_ratio) for each in gpus]
    yield lease.GPU_MEMORY, [((key, each.uuid), each.memory_bytes) for each in gpus]
    yield lease.GPU_POWER, [((key, each.uuid), each.power_watts) for each in gpus]
    yield table.GPU_BUSY, [((key, each.uuid), each.busy_s) for each in gpus]
    yield table.GPU_ENERGY, [((key, each.uuid), each.energy_joules) for each in gpus]
    yield (
        table.GPU_ENERGY_ESTIMATED,
        [((each.uuid,), float(each.is_energy_estimated)) for each in gpus if each.energy_joules is not None],
    )


def services_of(leases: tuple[LeaseView, ...]) -> Group:
    """What leases use besides. Told anew where a sample found something else than the last."""
    return Group(
        metrics=(
            *(metric for metric, _, _ in _COUNTERS),
            *(table.MEMORY, table.MEMORY_LIMIT, table.RESTARTS, table.DISK),
        ),
        tell=_services,
        parts=[
            (each.key, (each.key, each.usage.services, each.usage.disk_bytes))
            for each in leases
            if each.usage is not None
        ],
    )


def _services(key: str, services: tuple[ServiceUsage, ...], disk_bytes: int | None) -> Rows:
    for metric, counters, unit in _COUNTERS:
        yield (
            metric,
            [
                ((key, each.service, *direction), each.counters[counter] * unit)
                for each in services
                for counter, direction in counters
                if counter in each.counters
            ],
        )
    yield table.MEMORY, [((key, each.service), each.memory_bytes) for each in services]
    yield table.MEMORY_LIMIT, [((key, each.service), each.memory_limit_bytes) for each in services]
    yield table.RESTARTS, [((key, each.service), each.restarts) for each in services]
    yield table.DISK, [((key,), disk_bytes)]
