"""Leases: what they hold, earn and use."""

from __future__ import annotations

from provider.adapters.telemetry import table
from provider.adapters.telemetry.rows.sample import Rows, Sample, truth
from provider.adapters.telemetry.view import LeaseView
from provider.core.lease import Phase
from provider.domain.gpu import Gpu
from provider.domain.ids import GpuUuid

LIVE_PHASES = tuple(phase for phase in Phase if phase is not Phase.CLOSED)


def held_by(leases: tuple[LeaseView, ...], cards: dict[GpuUuid, Gpu]) -> Rows:
    infos: list[Sample] = []
    for lease in leases:
        held = [cards[uuid] for uuid in lease.gpus if uuid in cards]
        sku = held[0].model if held else "cpu"
        infos.append(((lease.key, sku, truth(any(gpu.simulated for gpu in held)), lease.market), 1))
    yield table.lease.INFO, infos
    yield (
        table.lease.STATE,
        [((lease.key, phase), float(lease.phase is phase)) for lease in leases for phase in LIVE_PHASES],
    )
    yield table.lease.RATE, [((lease.key, lease.rate.denom), float(lease.rate.amount)) for lease in leases]
    yield table.lease.EARNED, [((lease.key, lease.earned.denom), lease.earned.amount) for lease in leases]


def gpus_of(leases: tuple[LeaseView, ...]) -> Rows:
    pairs = [(lease, uuid) for lease in leases for uuid in lease.gpus]
    yield table.lease.GPU_INFO, [((lease.key, uuid), 1) for lease, uuid in pairs]
    yield table.lease.GPU_SECONDS, [((lease.key, uuid), lease.ran_ms / 1000) for lease, uuid in pairs]
    used = [((each.key, gpu.uuid), gpu) for each in leases if each.usage for gpu in each.usage.gpus]
    yield table.lease.GPU_UTILIZATION, [(labels, gpu.utilization_ratio) for labels, gpu in used]
    yield table.lease.GPU_MEMORY, [(labels, gpu.memory_bytes) for labels, gpu in used]
    yield table.lease.GPU_POWER, [(labels, gpu.power_watts) for labels, gpu in used]
