"""Cards: what they are, and whether they may be sold."""

from __future__ import annotations

from collections.abc import Callable

from provider.adapters.telemetry.rows.sample import Cards, Group, Rows, Sample, truth
from provider.adapters.telemetry.table import gpu as table
from provider.adapters.telemetry.table import nvml
from provider.adapters.telemetry.table.metric import Metric
from provider.adapters.telemetry.view import Snapshot
from provider.adapters.telemetry.xids import CardXids
from provider.domain.gpu import Gpu, GpuHealth
from provider.domain.ids import GpuUuid


def cards(cards: Cards, snapshot: Snapshot) -> Group:
    """What does not come from samples, so that it stays when these are stale."""
    leased = _leased(snapshot)
    signals: dict[GpuUuid, list[str]] = {}
    for uuid, signal in snapshot.view.signals:
        signals.setdefault(uuid, []).append(signal)
    return Group(
        metrics=METRICS,
        tell=_card,
        parts=[
            (
                gpu.uuid,
                (
                    gpu,
                    (node.name, node.inventory.driver_version, node.inventory.cuda_version),
                    gpu.uuid in leased,
                    tuple(signals.get(gpu.uuid, ())),
                    snapshot.xids.get(gpu.uuid),
                ),
            )
            for node, gpu in cards
        ],
    )


_Where = tuple[str, str | None, str | None]
"""Node, driver's and CUDA's version."""


def _card(gpu: Gpu, where: _Where, is_leased: bool, signals: tuple[str, ...], xids: CardXids | None) -> Rows:
    uuid = gpu.uuid
    yield table.INFO, [(_info(gpu, where), 1)]
    yield table.MIG_INFO, [(_mig(gpu), 1)] if gpu.mig is not None else []
    yield table.HEALTH_STATE, [((uuid, state), float(gpu.health is state)) for state in GpuHealth]
    yield table.HEALTH_REASON, [((uuid, signal), 1) for signal in signals]
    counts = {} if xids is None else xids.counts
    yield table.XIDS, [((uuid, str(xid), kind), count) for (xid, kind), count in counts.items()]
    yield table.XID_LAST, [((uuid,), None if xids is None else xids.last / 1000)]
    yield table.SCHEDULABLE, [((uuid,), float(gpu.health is GpuHealth.HEALTHY))]
    yield table.LEASED, [((uuid,), float(is_leased))]
    for metric, fact in _PLAIN:
        yield metric, [((uuid,), fact(gpu))]
    yield table.CLOCK_MAX, _clocks(gpu)


def counts(cards: Cards, snapshot: Snapshot) -> Group:
    """How many there are, by state."""
    leased = _leased(snapshot)
    samples: list[tuple[str, str, int]] = []
    for simulated in (False, True):
        gpus = [gpu for _, gpu in cards if gpu.simulated is simulated]
        samples += [
            ("expected", truth(simulated), snapshot.gpus_expected.get(simulated, 0)),
            ("detected", truth(simulated), len(gpus)),
            ("schedulable", truth(simulated), sum(gpu.health is GpuHealth.HEALTHY for gpu in gpus)),
            ("leased", truth(simulated), sum(gpu.uuid in leased for gpu in gpus)),
        ]
    return Group(metrics=(nvml.GPUS,), tell=_counts, parts=[("", tuple(samples))])


def _counts(*samples: tuple[str, str, int]) -> Rows:
    yield nvml.GPUS, [((state, simulated), count) for state, simulated, count in samples]


def idle_jobs(cards: Cards, snapshot: Snapshot) -> Group:
    """The operator's own job on cards that are here, apart from them: its seconds move at every scrape."""
    present = {gpu.uuid for _, gpu in cards}
    return Group(
        metrics=(table.IDLE_JOB, table.IDLE_SECONDS),
        tell=_idle_job,
        parts=[
            (each.gpu, (each.gpu, each.is_running, each.ran_ms))
            for each in snapshot.view.idle
            if each.gpu in present
        ],
    )


def _idle_job(uuid: GpuUuid, is_running: bool, ran_ms: int) -> Rows:
    yield table.IDLE_JOB, [((uuid,), float(is_running))]
    yield table.IDLE_SECONDS, [((uuid,), ran_ms / 1000)]


def _leased(snapshot: Snapshot) -> set[GpuUuid]:
    return {uuid for lease in snapshot.view.leases for uuid in lease.gpus}


_PLAIN: tuple[tuple[Metric, Callable[[Gpu], float | None]], ...] = (
    (table.MEMORY_TOTAL, lambda gpu: gpu.memory_bytes),
    (table.POWER_LIMIT, lambda gpu: gpu.power_limit_watts),
    (table.PCIE_WIDTH_MAX, lambda gpu: gpu.pcie_width_most),
    (table.PCIE_GENERATION_MAX, lambda gpu: gpu.pcie_generation_most),
    (table.NVLINKS, lambda gpu: gpu.nvlinks),
)
METRICS = (
    *(table.INFO, table.MIG_INFO, table.HEALTH_STATE, table.HEALTH_REASON, table.XIDS, table.XID_LAST),
    *(table.SCHEDULABLE, table.LEASED, *(metric for metric, _ in _PLAIN), table.CLOCK_MAX),
)


def _clocks(gpu: Gpu) -> list[Sample]:
    return [
        ((gpu.uuid, "graphics"), gpu.clock_graphics_most_hertz),
        ((gpu.uuid, "sm"), gpu.clock_sm_most_hertz),
        ((gpu.uuid, "memory"), gpu.clock_memory_most_hertz),
        ((gpu.uuid, "video"), gpu.clock_video_most_hertz),
    ]


def _info(gpu: Gpu, where: _Where) -> tuple[str, ...]:
    """Prometheus takes an empty label for an absent one."""
    node, driver, cuda = where
    return (
        gpu.uuid,
        str(gpu.index),
        "" if gpu.minor is None else str(gpu.minor),
        gpu.name,
        gpu.model,
        gpu.architecture or "",
        gpu.compute_capability or "",
        gpu.pci_bus_id or "",
        driver or "",
        cuda or "",
        gpu.vbios or "",
        _mode(gpu.is_mig_on),
        _mode(gpu.is_ecc_on),
        _mode(gpu.is_confidential),
        node,
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
