"""State to series: one snapshot in, the families of ``table`` out.

Owns the mapping of GPUs, leases and the market's state. Keeps nothing between scrapes but the snapshot it is
given, so that what is gone from the snapshot is gone from the exposition. Runs in the render thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family

from provider.adapters.telemetry import table
from provider.adapters.telemetry.table import Kind, Metric
from provider.adapters.telemetry.view import LeaseView, Snapshot, TelemetryView
from provider.core.lease import Phase
from provider.domain.gpu import Gpu, GpuHealth, GpuReading
from provider.domain.ids import GpuUuid
from provider.domain.node import Node

LIVE_PHASES = tuple(phase for phase in Phase if phase is not Phase.CLOSED)
LEASES_MOST = 256
"""Leases with series of their own; more than a machine can run."""

Sample = tuple[tuple[str, ...], float | None]
"""Label values in the order of the declaration, and the figure; None for no series."""


class StateCollector:
    """A prometheus-client collector. Registered once; ``snapshot`` is replaced before each render."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None

    def collect(self) -> Iterable[Family]:
        """Every family, those without a sample too."""
        if self.snapshot is None:
            return
        for metric, samples in _all(self.snapshot):
            yield _family(metric, samples)


def _family(metric: Metric, samples: Iterable[Sample]) -> Family:
    make = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = make(metric.name, metric.help, labels=metric.labels)
    for labels, value in samples:
        if value is not None:
            family.add_metric(labels, value)
    return family


def _all(snapshot: Snapshot) -> Iterator[tuple[Metric, Iterable[Sample]]]:
    view = snapshot.view
    leases = view.leases[:LEASES_MOST]
    cards = [(node, gpu) for node in view.nodes for gpu in node.gpus]
    leased = {uuid for lease in view.leases for uuid in lease.gpus}
    readings = {reading.uuid: reading for reading in snapshot.readings}
    yield from _cards(cards, leased)
    yield from _readings([gpu for _, gpu in cards], readings)
    yield from _probe(snapshot)
    yield from _leases(leases, {gpu.uuid: gpu for _, gpu in cards})
    yield from _lease_gpus(leases, readings)
    yield from _market(view)


def _cards(cards: list[tuple[Node, Gpu]], leased: set[GpuUuid]) -> Iterator[tuple[Metric, Iterable[Sample]]]:
    gpus = [gpu for _, gpu in cards]
    yield table.GPU_INFO, [(_info(node, gpu), 1) for node, gpu in cards]
    yield (
        table.GPU_HEALTH_STATE,
        [((gpu.uuid, state), float(gpu.health is state)) for gpu in gpus for state in GpuHealth],
    )
    yield table.GPU_SCHEDULABLE, [((gpu.uuid,), float(gpu.health is GpuHealth.HEALTHY)) for gpu in gpus]
    yield table.GPU_LEASED, [((gpu.uuid,), float(gpu.uuid in leased)) for gpu in gpus]
    yield table.GPU_MEMORY_TOTAL, [((gpu.uuid,), gpu.memory_bytes) for gpu in gpus]
    yield table.GPU_POWER_LIMIT, [((gpu.uuid,), gpu.power_limit_watts) for gpu in gpus]
    states: dict[str, Callable[[Gpu], bool]] = {
        "detected": lambda _gpu: True,
        "schedulable": lambda gpu: gpu.health is GpuHealth.HEALTHY,
        "leased": lambda gpu: gpu.uuid in leased,
    }
    yield (
        table.GPUS,
        [
            ((state, _truth(simulated)), sum(is_in(gpu) for gpu in gpus if gpu.simulated is simulated))
            for simulated in (False, True)
            for state, is_in in states.items()
        ],
    )


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
        node.name,
        _truth(gpu.simulated),
    )


def _truth(is_so: bool) -> str:
    return "true" if is_so else "false"


_PLAIN: tuple[tuple[Metric, tuple[str, ...], Callable[[GpuReading], float | None]], ...] = (
    (table.GPU_UTILIZATION, ("sm",), lambda reading: reading.utilization_ratio),
    (table.GPU_MEMORY_USED, (), lambda reading: reading.memory_used_bytes),
    (table.GPU_MEMORY_RESERVED, (), lambda reading: reading.memory_reserved_bytes),
    (table.GPU_POWER, (), lambda reading: reading.power_watts),
    (table.GPU_ENERGY, (), lambda reading: reading.energy_joules),
    (table.GPU_TEMPERATURE, ("core",), lambda reading: reading.temperature_celsius),
    (table.GPU_FAN, (), lambda reading: reading.fan_ratio),
)
"""What a reading says directly: metric, labels after the uuid, figure."""


def _readings(
    gpus: list[Gpu], readings: dict[GpuUuid, GpuReading]
) -> Iterator[tuple[Metric, Iterable[Sample]]]:
    present = [(gpu, readings[gpu.uuid]) for gpu in gpus if gpu.uuid in readings]
    for metric, labels, figure in _PLAIN:
        yield metric, [((gpu.uuid, *labels), figure(reading)) for gpu, reading in present]
    yield table.GPU_MEMORY_FREE, [((gpu.uuid,), _free(gpu, reading)) for gpu, reading in present]
    clocks: list[Sample] = []
    for gpu, reading in present:
        clocks += [
            ((gpu.uuid, "sm"), reading.clock_sm_hertz),
            ((gpu.uuid, "memory"), reading.clock_memory_hertz),
        ]
    yield table.GPU_CLOCK, clocks


def _free(gpu: Gpu, reading: GpuReading) -> float | None:
    if gpu.memory_bytes is None or reading.memory_used_bytes is None:
        return None
    return gpu.memory_bytes - reading.memory_used_bytes - (reading.memory_reserved_bytes or 0)


def _probe(snapshot: Snapshot) -> Iterator[tuple[Metric, Iterable[Sample]]]:
    facts = snapshot.probe
    if facts is None:
        return
    yield table.NVML_UP, [((), float(facts.is_up))]
    last = None if facts.last_success is None else facts.last_success / 1000
    yield table.NVML_LAST_SUCCESS, [((), last)]
    yield table.NVML_ERRORS, [((symbol, str(code)), count) for symbol, code, count in facts.failures]
    yield table.NVML_WORKER_RESTARTS, [((reason,), count) for reason, count in facts.restarts]


def _leases(
    leases: tuple[LeaseView, ...], cards: dict[GpuUuid, Gpu]
) -> Iterator[tuple[Metric, Iterable[Sample]]]:
    infos: list[Sample] = []
    for lease in leases:
        held = [cards[uuid] for uuid in lease.gpus if uuid in cards]
        sku = held[0].model if held else "cpu"
        infos.append(((lease.key, sku, _truth(any(gpu.simulated for gpu in held))), 1))
    yield table.LEASE_INFO, infos
    yield (
        table.LEASE_STATE,
        [((lease.key, phase), float(lease.phase is phase)) for lease in leases for phase in LIVE_PHASES],
    )
    yield table.LEASE_RATE, [((lease.key, lease.rate.denom), float(lease.rate.amount)) for lease in leases]
    yield table.LEASE_EARNED, [((lease.key, lease.earned.denom), lease.earned.amount) for lease in leases]


def _lease_gpus(
    leases: tuple[LeaseView, ...], readings: dict[GpuUuid, GpuReading]
) -> Iterator[tuple[Metric, Iterable[Sample]]]:
    pairs = [(lease, uuid) for lease in leases for uuid in lease.gpus]
    yield table.LEASE_GPU_INFO, [((lease.key, uuid), 1) for lease, uuid in pairs]
    yield table.LEASE_GPU_SECONDS, [((lease.key, uuid), lease.ran_ms / 1000) for lease, uuid in pairs]
    read = [((lease.key, uuid), readings[uuid]) for lease, uuid in pairs if uuid in readings]
    yield table.LEASE_GPU_UTILIZATION, [(labels, reading.utilization_ratio) for labels, reading in read]
    yield table.LEASE_GPU_MEMORY, [(labels, reading.memory_used_bytes) for labels, reading in read]
    yield table.LEASE_GPU_POWER, [(labels, reading.power_watts) for labels, reading in read]


def _market(view: TelemetryView) -> Iterator[tuple[Metric, Iterable[Sample]]]:
    yield table.BIDS_OPEN, [((), view.bids_open)]
    yield (
        table.LEASES,
        [((phase,), sum(lease.phase is phase for lease in view.leases)) for phase in LIVE_PHASES],
    )
    yield table.COORDINATOR_CONNECTED, [((), float(view.is_connected))]
    yield table.NODE_BIDDING, [((), float(view.is_bidding))]
