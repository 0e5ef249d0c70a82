"""Cards: what they are, and whether they may be sold."""

from __future__ import annotations

from collections.abc import Callable

from provider.adapters.telemetry import table
from provider.adapters.telemetry.rows.sample import Cards, Rows, Sample, truth
from provider.adapters.telemetry.table.metric import Metric
from provider.adapters.telemetry.view import Snapshot
from provider.domain.gpu import Gpu, GpuHealth
from provider.domain.node import Node


def cards(cards: Cards, snapshot: Snapshot) -> Rows:
    """What does not come from samples, so that it stays when these are stale."""
    gpus = [gpu for _, gpu in cards]
    leased = {uuid for lease in snapshot.view.leases for uuid in lease.gpus}
    yield table.gpu.INFO, [(_info(node, gpu), 1) for node, gpu in cards]
    yield table.gpu.MIG_INFO, [(_mig(gpu), 1) for gpu in gpus if gpu.mig is not None]
    yield (
        table.gpu.HEALTH_STATE,
        [((gpu.uuid, state), float(gpu.health is state)) for gpu in gpus for state in GpuHealth],
    )
    present = {gpu.uuid for gpu in gpus}
    yield (
        table.gpu.HEALTH_REASON,
        [((uuid, signal), 1) for uuid, signal in snapshot.view.signals if uuid in present],
    )
    yield from _xids(snapshot)
    yield table.gpu.SCHEDULABLE, [((gpu.uuid,), float(gpu.health is GpuHealth.HEALTHY)) for gpu in gpus]
    yield table.gpu.LEASED, [((gpu.uuid,), float(gpu.uuid in leased)) for gpu in gpus]
    for metric, fact in _PLAIN:
        yield metric, [((gpu.uuid,), fact(gpu)) for gpu in gpus]
    yield table.gpu.CLOCK_MAX, _clocks(gpus)
    states: dict[str, Callable[[Gpu], bool]] = {
        "detected": lambda _gpu: True,
        "schedulable": lambda gpu: gpu.health is GpuHealth.HEALTHY,
        "leased": lambda gpu: gpu.uuid in leased,
    }
    counts: list[Sample] = []
    for simulated in (False, True):
        counts.append((("expected", truth(simulated)), snapshot.gpus_expected.get(simulated, 0)))
        counts += [
            ((state, truth(simulated)), sum(is_in(gpu) for gpu in gpus if gpu.simulated is simulated))
            for state, is_in in states.items()
        ]
    yield table.nvml.GPUS, counts


def _xids(snapshot: Snapshot) -> Rows:
    """Of the cards that are here: ``metrics`` forgets the others."""
    yield (
        table.gpu.XIDS,
        [
            ((uuid, str(xid), kind), count)
            for uuid, card in snapshot.xids.items()
            for (xid, kind), count in card.counts.items()
        ],
    )
    yield table.gpu.XID_LAST, [((uuid,), card.last / 1000) for uuid, card in snapshot.xids.items()]


_PLAIN: tuple[tuple[Metric, Callable[[Gpu], float | None]], ...] = (
    (table.gpu.MEMORY_TOTAL, lambda gpu: gpu.memory_bytes),
    (table.gpu.POWER_LIMIT, lambda gpu: gpu.power_limit_watts),
    (table.gpu.PCIE_WIDTH_MAX, lambda gpu: gpu.pcie_width_most),
    (table.gpu.PCIE_GENERATION_MAX, lambda gpu: gpu.pcie_generation_most),
    (table.gpu.NVLINKS, lambda gpu: gpu.nvlinks),
)


def _clocks(gpus: list[Gpu]) -> list[Sample]:
    clocks: list[Sample] = []
    for gpu in gpus:
        clocks += [
            ((gpu.uuid, "graphics"), gpu.clock_graphics_most_hertz),
            ((gpu.uuid, "sm"), gpu.clock_sm_most_hertz),
            ((gpu.uuid, "memory"), gpu.clock_memory_most_hertz),
            ((gpu.uuid, "video"), gpu.clock_video_most_hertz),
        ]
    return clocks


def _info(node: Node, gpu: Gpu) -> tuple[str, ...]:
    """Prometheus takes an empty label for an absent one."""
    return (
        gpu.uuid,
        str(gpu.index),
        "" if gpu.minor is None else str(gpu.minor),
        gpu.name,
        gpu.model,
        gpu.architecture or "",
        gpu.compute_capability or "",
        gpu.pci_bus_id or "",
        node.inventory.driver_version or "",
        node.inventory.cuda_version or "",
        gpu.vbios or "",
        _mode(gpu.is_mig_on),
        _mode(gpu.is_ecc_on),
        _mode(gpu.is_confidential),
        node.name,
        truth(gpu.simulated),
    )


def _mode(is_on: bool | None) -> str:
    if is_on is None:
        return ""
    return "on" if is_on else "off"


def _mig(gpu: Gpu) -> tuple[str, ...]:
    assert gpu.mig is not None, "asked of instances only"
    part = gpu.mig
    return (gpu.uuid, part.parent, str(part.gpu_instance), str(part.compute_instance), part.profile)
