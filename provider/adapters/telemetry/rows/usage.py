"""What leases use: samples that were taken, never a look at a kernel or a card."""

from __future__ import annotations

from provider.adapters.telemetry.rows.sample import Group, Rows
from provider.adapters.telemetry.table import lease
from provider.adapters.telemetry.table import usage as table
from provider.adapters.telemetry.table.metric import Metric
from provider.adapters.telemetry.view import LeaseView
from provider.domain.usage import GpuUsage, ServiceUsage, UsageCounter

MICRO = 1e-6
_SECONDS = ((table.CPU, UsageCounter.CPU_US), (table.CPU_THROTTLED, UsageCounter.THROTTLED_US))
_BYTES: tuple[tuple[Metric, tuple[tuple[str, UsageCounter], ...]], ...] = (
    (table.NETWORK, (("rx", UsageCounter.RECEIVED_BYTES), ("tx", UsageCounter.SENT_BYTES))),
    (table.BLOCK_IO, (("read", UsageCounter.READ_BYTES), ("write", UsageCounter.WRITTEN_BYTES))),
)
"""Metric, then by direction what it counts."""


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
            *(metric for metric, _ in (*_SECONDS, *_BYTES)),
            *(table.OOM_KILLS, table.MEMORY, table.MEMORY_LIMIT, table.RESTARTS, table.DISK),
        ),
        tell=_services,
        parts=[
            (each.key, (each.key, each.usage.services, each.usage.disk_bytes))
            for each in leases
            if each.usage is not None
        ],
    )


def _services(key: str, services: tuple[ServiceUsage, ...], disk_bytes: int | None) -> Rows:
    named = [((key, each.service), each) for each in services]
    for metric, counter in _SECONDS:
        yield metric, [(labels, _seconds(each.counters.get(counter))) for labels, each in named]
    for metric, directions in _BYTES:
        yield (
            metric,
            [
                ((*labels, direction), each.counters.get(counter))
                for labels, each in named
                for direction, counter in directions
            ],
        )
    yield table.OOM_KILLS, [(labels, each.counters.get(UsageCounter.OOM_KILLS)) for labels, each in named]
    yield table.MEMORY, [(labels, each.memory_bytes) for labels, each in named]
    yield table.MEMORY_LIMIT, [(labels, each.memory_limit_bytes) for labels, each in named]
    yield table.RESTARTS, [(labels, each.restarts) for labels, each in named]
    yield table.DISK, [((key,), disk_bytes)]


def _seconds(micros: int | None) -> float | None:
    return None if micros is None else micros * MICRO
