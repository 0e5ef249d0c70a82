"""Cards: what the newest samples say, and what samples have summed up to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby

from provider.adapters.telemetry import table
from provider.adapters.telemetry.rows.sample import Cards, Group, Rows, Sample
from provider.adapters.telemetry.table.metric import Metric
from provider.adapters.telemetry.totals import CardTotals
from provider.adapters.telemetry.view import GpuProcesses, Snapshot
from provider.domain.gpu import ClockReason, Gpu, GpuReading

Told = tuple[Metric, tuple[str, ...], Callable[[GpuReading], float | None]]
Summed = tuple[Metric, tuple[str, ...], str]

TOLD: tuple[Told, ...] = (
    (table.gpu.UTILIZATION, ("sm",), lambda reading: reading.utilization_ratio),
    (table.gpu.UTILIZATION, ("memory",), lambda reading: reading.memory_utilization_ratio),
    (table.gpu.UTILIZATION, ("encoder",), lambda reading: reading.encoder_ratio),
    (table.gpu.UTILIZATION, ("decoder",), lambda reading: reading.decoder_ratio),
    (table.gpu.SM_ACTIVE, (), lambda reading: reading.sm_active_ratio),
    (table.gpu.TENSOR_ACTIVE, (), lambda reading: reading.tensor_active_ratio),
    (table.gpu.MEMORY_USED, (), lambda reading: reading.memory_used_bytes),
    (table.gpu.MEMORY_RESERVED, (), lambda reading: reading.memory_reserved_bytes),
    (table.gpu.BAR1_USED, (), lambda reading: reading.bar1_used_bytes),
    (table.gpu.POWER, (), lambda reading: reading.power_watts),
    (table.gpu.TEMPERATURE, ("core",), lambda reading: reading.temperature_celsius),
    (table.gpu.TEMPERATURE, ("memory",), lambda reading: reading.temperature_memory_celsius),
    (table.gpu.TEMPERATURE_MARGIN, (), lambda reading: reading.temperature_margin_celsius),
    (table.gpu.FAN, (), lambda reading: reading.fan_ratio),
    (table.gpu.CLOCK, ("graphics",), lambda reading: reading.clock_graphics_hertz),
    (table.gpu.CLOCK, ("sm",), lambda reading: reading.clock_sm_hertz),
    (table.gpu.CLOCK, ("memory",), lambda reading: reading.clock_memory_hertz),
    (table.gpu.CLOCK, ("video",), lambda reading: reading.clock_video_hertz),
    (table.gpu.PERFORMANCE_STATE, (), lambda reading: reading.performance_state),
    (table.gpu.PCIE_WIDTH, (), lambda reading: reading.pcie_width),
    (table.gpu.PCIE_GENERATION, (), lambda reading: reading.pcie_generation),
    (table.gpu.NVLINKS_UP, (), lambda reading: reading.nvlink_up),
    (table.gpu.REMAPPED_ROWS, ("correctable",), lambda reading: reading.remapped_correctable),
    (table.gpu.REMAPPED_ROWS, ("uncorrectable",), lambda reading: reading.remapped_uncorrectable),
    (table.gpu.REMAP_PENDING, (), lambda reading: reading.is_remap_pending),
    (table.gpu.REMAP_FAILED, (), lambda reading: reading.is_remap_failed),
    (table.gpu.RECOVERY_ACTION, (), lambda reading: reading.recovery_action),
)
"""What a reading says directly: metric, labels after the uuid, figure. Rows of one metric are together."""

SUMMED: tuple[Summed, ...] = (
    (table.gpu.ENERGY, (), "energy_joules"),
    (table.gpu.PCIE_BYTES, ("rx",), "pcie_received_bytes"),
    (table.gpu.PCIE_BYTES, ("tx",), "pcie_sent_bytes"),
    (table.gpu.PCIE_REPLAYS, (), "pcie_replays"),
    (table.gpu.NVLINK_BYTES, ("rx",), "nvlink_received_bytes"),
    (table.gpu.NVLINK_BYTES, ("tx",), "nvlink_sent_bytes"),
    (table.gpu.NVLINK_ERRORS, ("replay",), "nvlink_replays"),
    (table.gpu.NVLINK_ERRORS, ("recovery",), "nvlink_recoveries"),
    (table.gpu.NVLINK_ERRORS, ("crc",), "nvlink_crc_errors"),
    (table.gpu.ECC_ERRORS, ("corrected",), "ecc_corrected"),
    (table.gpu.ECC_ERRORS, ("uncorrected",), "ecc_uncorrected"),
)
"""What ``totals`` has summed up: metric, labels after the uuid, the reading's field."""


_TOLD = tuple((metric, tuple(rows)) for metric, rows in groupby(TOLD, key=lambda row: row[0]))
_SUMMED = tuple((metric, tuple(rows)) for metric, rows in groupby(SUMMED, key=lambda row: row[0]))
METRICS = (
    *(metric for metric, _ in _TOLD),
    *(table.gpu.MEMORY_FREE, table.gpu.PROCESSES, table.gpu.CLOCKS_EVENT),
    *(metric for metric, _ in _SUMMED),
    table.gpu.THROTTLE,
)


def readings(cards: Cards, snapshot: Snapshot) -> Group:
    """Of the cards that were sampled lately; a counter is shown as long as its card is sampled."""
    samples = {reading.uuid: reading for reading in snapshot.readings}
    return Group(
        metrics=METRICS,
        tell=_reading,
        parts=[
            (
                gpu.uuid,
                (
                    *(gpu, samples[gpu.uuid], snapshot.processes.get(gpu.uuid)),
                    snapshot.totals.get(gpu.uuid, NONE_YET),
                ),
            )
            for _, gpu in cards
            if gpu.uuid in samples
        ],
    )


NONE_YET = CardTotals()


def _reading(gpu: Gpu, reading: GpuReading, processes: GpuProcesses | None, totals: CardTotals) -> Rows:
    uuid = gpu.uuid
    for metric, told in _TOLD:
        yield metric, [((uuid, *labels), figure(reading)) for _, labels, figure in told]
    yield table.gpu.MEMORY_FREE, [((uuid,), _free(gpu, reading))]
    yield table.gpu.PROCESSES, [] if processes is None else _processes(gpu, processes)
    yield table.gpu.CLOCKS_EVENT, list(_reasons(reading))
    for metric, summed in _SUMMED:
        yield metric, [((uuid, *labels), totals.counted.get(name)) for _, labels, name in summed]
    yield table.gpu.THROTTLE, [((uuid, reason), held_s) for reason, held_s in totals.throttled_s.items()]


def _free(gpu: Gpu, reading: GpuReading) -> float | None:
    if gpu.memory_bytes is None or reading.memory_used_bytes is None:
        return None
    return gpu.memory_bytes - reading.memory_used_bytes - (reading.memory_reserved_bytes or 0)


def _processes(gpu: Gpu, there: GpuProcesses) -> list[Sample]:
    return [((gpu.uuid, "lease"), there.of_leases), ((gpu.uuid, "foreign"), there.foreign)]


def _reasons(reading: GpuReading) -> Iterator[Sample]:
    if reading.clock_reasons is not None:
        for reason in ClockReason:
            yield (reading.uuid, reason), float(reason in reading.clock_reasons)
