"""Cards: what they are and what their newest sample says."""

from __future__ import annotations

from collections.abc import Callable

from provider.adapters.telemetry import table
from provider.adapters.telemetry.rows.sample import Rows, Sample, truth
from provider.adapters.telemetry.table.metric import Metric
from provider.domain.gpu import Gpu, GpuHealth, GpuReading
from provider.domain.ids import GpuUuid
from provider.domain.node import Node


def cards(cards: list[tuple[Node, Gpu]], leased: set[GpuUuid]) -> Rows:
    gpus = [gpu for _, gpu in cards]
    yield table.gpu.INFO, [(_info(node, gpu), 1) for node, gpu in cards]
    yield (
        table.gpu.HEALTH_STATE,
        [((gpu.uuid, state), float(gpu.health is state)) for gpu in gpus for state in GpuHealth],
    )
    yield table.gpu.SCHEDULABLE, [((gpu.uuid,), float(gpu.health is GpuHealth.HEALTHY)) for gpu in gpus]
    yield table.gpu.LEASED, [((gpu.uuid,), float(gpu.uuid in leased)) for gpu in gpus]
    yield table.gpu.MEMORY_TOTAL, [((gpu.uuid,), gpu.memory_bytes) for gpu in gpus]
    yield table.gpu.POWER_LIMIT, [((gpu.uuid,), gpu.power_limit_watts) for gpu in gpus]
    states: dict[str, Callable[[Gpu], bool]] = {
        "detected": lambda _gpu: True,
        "schedulable": lambda gpu: gpu.health is GpuHealth.HEALTHY,
        "leased": lambda gpu: gpu.uuid in leased,
    }
    yield (
        table.nvml.GPUS,
        [
            ((state, truth(simulated)), sum(is_in(gpu) for gpu in gpus if gpu.simulated is simulated))
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
        truth(gpu.simulated),
    )


_PLAIN: tuple[tuple[Metric, tuple[str, ...], Callable[[GpuReading], float | None]], ...] = (
    (table.gpu.UTILIZATION, ("sm",), lambda reading: reading.utilization_ratio),
    (table.gpu.MEMORY_USED, (), lambda reading: reading.memory_used_bytes),
    (table.gpu.MEMORY_RESERVED, (), lambda reading: reading.memory_reserved_bytes),
    (table.gpu.POWER, (), lambda reading: reading.power_watts),
    (table.gpu.ENERGY, (), lambda reading: reading.energy_joules),
    (table.gpu.TEMPERATURE, ("core",), lambda reading: reading.temperature_celsius),
    (table.gpu.FAN, (), lambda reading: reading.fan_ratio),
)
"""What a reading says directly: metric, labels after the uuid, figure."""


def readings(gpus: list[Gpu], readings: dict[GpuUuid, GpuReading]) -> Rows:
    present = [(gpu, readings[gpu.uuid]) for gpu in gpus if gpu.uuid in readings]
    for metric, labels, figure in _PLAIN:
        yield metric, [((gpu.uuid, *labels), figure(reading)) for gpu, reading in present]
    yield table.gpu.MEMORY_FREE, [((gpu.uuid,), _free(gpu, reading)) for gpu, reading in present]
    clocks: list[Sample] = []
    for gpu, reading in present:
        clocks += [
            ((gpu.uuid, "sm"), reading.clock_sm_hertz),
            ((gpu.uuid, "memory"), reading.clock_memory_hertz),
        ]
    yield table.gpu.CLOCK, clocks


def _free(gpu: Gpu, reading: GpuReading) -> float | None:
    if gpu.memory_bytes is None or reading.memory_used_bytes is None:
        return None
    return gpu.memory_bytes - reading.memory_used_bytes - (reading.memory_reserved_bytes or 0)
