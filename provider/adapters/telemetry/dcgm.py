"""The same cards under the names that NVIDIA's dcgm-exporter gives them, for dashboards made for it.

Owns the mapping: names, units and labels of dcgm-exporter 4.5 (its ``default-counters.csv``); dashboard 12239
reads ``gpu`` and ``instance``, others ``UUID``, ``modelName`` and ``Hostname``. On a path of its own, because
a real dcgm-exporter on the same host has every series too. What a card does not tell is absent here as well,
and NVIDIA's blank values are never said.

Counters keep their bare names, which the library gives only to untyped families.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric as Family

from provider.adapters.telemetry.renderer import Encode
from provider.adapters.telemetry.rows.sample import Cards
from provider.adapters.telemetry.view import Snapshot
from provider.adapters.telemetry.xids import CardXids
from provider.domain.gpu import Gpu, GpuReading
from provider.domain.ids import GpuUuid

MIB = 1024**2
LABELS = ("gpu", "UUID", "pci_bus_id", "device", "modelName", "Hostname", "GPU_I_PROFILE", "GPU_I_ID")
_Figure = Callable[[GpuReading], float | None]


def _over(value: float | None, unit: float) -> float | None:
    return None if value is None else value / unit


FIGURES: tuple[tuple[str, str, str, _Figure], ...] = (
    ("DCGM_FI_DEV_SM_CLOCK", "gauge", "SM clock (MHz).", lambda r: _over(r.clock_sm_hertz, 1e6)),
    ("DCGM_FI_DEV_MEM_CLOCK", "gauge", "Memory clock (MHz).", lambda r: _over(r.clock_memory_hertz, 1e6)),
    ("DCGM_FI_DEV_GPU_TEMP", "gauge", "GPU temperature (C).", lambda r: r.temperature_celsius),
    ("DCGM_FI_DEV_MEMORY_TEMP", "gauge", "Memory temperature (C).", lambda r: r.temperature_memory_celsius),
    ("DCGM_FI_DEV_POWER_USAGE", "gauge", "Power draw (W).", lambda r: r.power_watts),
    (
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
        "unknown",
        "Energy since the driver was loaded (mJ).",
        lambda r: _over(r.energy_joules, 1e-3),
    ),
    ("DCGM_FI_DEV_GPU_UTIL", "gauge", "GPU utilization (%).", lambda r: _over(r.utilization_ratio, 0.01)),
    (
        "DCGM_FI_DEV_MEM_COPY_UTIL",
        "gauge",
        "Memory utilization (%).",
        lambda r: _over(r.memory_utilization_ratio, 0.01),
    ),
    ("DCGM_FI_DEV_ENC_UTIL", "gauge", "Encoder utilization (%).", lambda r: _over(r.encoder_ratio, 0.01)),
    ("DCGM_FI_DEV_DEC_UTIL", "gauge", "Decoder utilization (%).", lambda r: _over(r.decoder_ratio, 0.01)),
    ("DCGM_FI_DEV_FB_USED", "gauge", "Memory used (MiB).", lambda r: _over(r.memory_used_bytes, MIB)),
    (
        "DCGM_FI_DEV_FB_RESERVED",
        "gauge",
        "Memory reserved (MiB).",
        lambda r: _over(r.memory_reserved_bytes, MIB),
    ),
    ("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", "unknown", "PCIe replays.", lambda r: r.pcie_replays),
    (
        "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS",
        "unknown",
        "Rows remapped for correctable errors.",
        lambda r: r.remapped_correctable,
    ),
    (
        "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS",
        "unknown",
        "Rows remapped for uncorrectable errors.",
        lambda r: r.remapped_uncorrectable,
    ),
    ("DCGM_FI_DEV_ROW_REMAP_FAILURE", "gauge", "1 once remapping failed.", lambda r: r.is_remap_failed),
    (
        "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
        "gauge",
        "Share of cycles in which tensor cores were active.",
        lambda r: r.tensor_active_ratio,
    ),
)
"""Name, type, help, and the figure in dcgm-exporter's unit."""
FREE = "DCGM_FI_DEV_FB_FREE"
XID = "DCGM_FI_DEV_XID_ERRORS"


class DcgmMetrics:
    """``exposition.Shown``, over a registry of its own."""

    def __init__(self, xids: Callable[[], Mapping[GpuUuid, CardXids]] = dict) -> None:
        """``xids`` is asked on the event loop."""
        self.registry = CollectorRegistry()
        self._xids = xids
        self._snapshot: Snapshot | None = None
        self.registry.register(self)

    def show(self, snapshot: Snapshot) -> None:
        """What the next rendering shows."""
        self._snapshot = replace(snapshot, xids=self._xids())

    def rendered(self, seconds: float) -> None:
        """Not counted: ``/metrics`` is what is measured."""

    def render(self, encode: Encode, _content_type: str) -> list[bytes]:
        """By the library alone: there are a few lines a card."""
        return [encode(self.registry)]

    def collect(self) -> Iterable[Family]:
        """The library asks."""
        if self._snapshot is None:
            return
        cards = [(node, gpu) for node in self._snapshot.view.nodes for gpu in node.gpus]
        yield from _families(cards, self._snapshot)


def _families(cards: Cards, snapshot: Snapshot) -> Iterable[Family]:
    readings = {reading.uuid: reading for reading in snapshot.readings}
    present = [
        (_labels(node.name, gpu), gpu, readings[gpu.uuid]) for node, gpu in cards if gpu.uuid in readings
    ]
    for name, kind, text, figure in FIGURES:
        family = Family(name, text, kind)
        for labels, _, reading in present:
            if (value := figure(reading)) is not None:
                family.add_sample(name, labels, float(value))
        yield family
    free = Family(FREE, "Memory free (MiB).", "gauge")
    for labels, gpu, reading in present:
        if gpu.memory_bytes is not None and reading.memory_used_bytes is not None:
            used = reading.memory_used_bytes + (reading.memory_reserved_bytes or 0)
            free.add_sample(FREE, labels, (gpu.memory_bytes - used) / MIB)
    yield free
    last = Family(XID, "Number of the driver's last error; 0 for none yet.", "gauge")
    for labels, gpu, _ in present:
        card = snapshot.xids.get(gpu.uuid)
        last.add_sample(XID, labels, float(card.last_xid if card else 0))
    yield last


def _labels(host: str, gpu: Gpu) -> dict[str, str]:
    part = gpu.mig
    values = (
        str(gpu.index),
        gpu.uuid,
        _bus(gpu.pci_bus_id),
        "" if gpu.minor is None else f"nvidia{gpu.minor}",
        gpu.name,
        host,
        part.profile if part else "",
        str(part.gpu_instance) if part else "",
    )
    return dict(zip(LABELS, values, strict=True))


def _bus(pci_bus_id: str | None) -> str:
    """NVML writes the domain with eight digits, sysfs with four."""
    return "" if pci_bus_id is None else pci_bus_id.upper().rjust(len("00000000:18:00.0"), "0")
