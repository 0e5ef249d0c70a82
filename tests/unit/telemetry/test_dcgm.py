"""The cards under dcgm-exporter's names: bare counters, its units, its labels."""

from __future__ import annotations

from dataclasses import replace

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from provider.adapters.telemetry.dcgm import FIGURES, FREE, LABELS, XID, DcgmMetrics
from provider.adapters.telemetry.view import Snapshot, TelemetryView
from provider.adapters.telemetry.xids import GpuXids
from provider.core.xids import xid_class
from provider.domain.gpu import MigSlice
from provider.domain.ids import GpuUuid
from provider.domain.moment import Instant
from provider.sim import vtime
from provider.sim.clock import LoopClock
from provider.sim.gpu import SimulatedGpus, SimulatedProbe
from provider.sim.gpu_cards import MIB
from tests.unit.telemetry.test_metrics_table import FIRST, READING, SECOND, card, node

Values = dict[str, tuple[dict[str, str], float]]
DASHBOARD_12239 = {
    "DCGM_FI_DEV_GPU_TEMP",
    "DCGM_FI_DEV_POWER_USAGE",
    "DCGM_FI_DEV_SM_CLOCK",
    "DCGM_FI_DEV_GPU_UTIL",
    "DCGM_FI_DEV_FB_USED",
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
}
"""All that NVIDIA's own dashboard asks for."""


def exposition(snapshot: Snapshot) -> str:
    metrics = DcgmMetrics()
    metrics.show(snapshot)
    return generate_latest(metrics.registry).decode()


def values(text: str) -> Values:
    return {
        sample.name: (sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def simulated() -> str:
    """Of one H100."""

    async def body() -> str:
        probe = SimulatedProbe([SimulatedGpus(model="h100")], LoopClock(), seed="s")
        inventory = await probe.discover()
        view = TelemetryView(nodes=(replace(node(), inventory=inventory),))
        return exposition(Snapshot(view=view, readings=probe.readings()))

    return vtime.run(body())


def test_a_server_card_tells_all_of_it() -> None:
    found = values(simulated())
    assert set(found) == {name for name, _, _, _ in FIGURES} | {FREE, XID}
    assert set(found) >= DASHBOARD_12239
    assert all(set(labels) <= set(LABELS) for labels, _ in found.values())


def test_units_and_labels_are_dcgms() -> None:
    reading = replace(READING, memory_used_bytes=300 * MIB, memory_reserved_bytes=100 * MIB)
    gpu = replace(card(FIRST, 3), memory_bytes=1000 * MIB)
    found = values(exposition(Snapshot(view=TelemetryView(nodes=(node(gpu),)), readings=(reading,))))
    labels, utilization = found["DCGM_FI_DEV_GPU_UTIL"]
    assert utilization == 50
    assert labels == {
        "gpu": "3",
        "UUID": FIRST,
        "pci_bus_id": "00000000:18:00.0",
        "device": "nvidia3",
        "modelName": "NVIDIA L4",
        "Hostname": "node-1",
        "GPU_I_PROFILE": "",
        "GPU_I_ID": "",
    }
    assert found["DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"][1] == 9000
    assert found["DCGM_FI_DEV_FB_USED"][1] == 300
    assert found[FREE][1] == 600
    assert found["DCGM_FI_DEV_SM_CLOCK"][1] == 1000


def test_names_are_bare_and_what_is_not_told_is_absent() -> None:
    text = exposition(Snapshot(view=TelemetryView(nodes=(node(card(FIRST, 0)),)), readings=(READING,)))
    assert "_total" not in text
    assert "# TYPE DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION untyped" in text
    assert "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE{" not in text
    assert "DCGM_FI_DEV_MEMORY_TEMP{" not in text


def test_the_last_error_is_told_by_its_number() -> None:
    counts = GpuXids()
    for xid in (31, 79):
        counts.note(FIRST, xid, xid_class(xid), 1, Instant(5))
    metrics = DcgmMetrics(counts.now)
    gpus = node(card(FIRST, 0), card(SECOND, 1))
    readings = (READING, replace(READING, uuid=SECOND))
    metrics.show(Snapshot(view=TelemetryView(nodes=(gpus,)), readings=readings))
    text = generate_latest(metrics.registry).decode()
    told = [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(f"{XID}{{")]
    assert told == ["79.0", "0.0"]


def test_an_instance_says_which_and_a_card_without_a_sample_says_nothing() -> None:
    part = MigSlice(parent=SECOND, profile="1g.10gb", gpu_instance=7, compute_instance=0)
    gpus = (replace(card(FIRST, 0), mig=part), card(GpuUuid("GPU-3"), 1))
    found = exposition(Snapshot(view=TelemetryView(nodes=(node(*gpus),)), readings=(READING,)))
    assert 'GPU_I_ID="7",GPU_I_PROFILE="1g.10gb"' in found
    assert "GPU-3" not in found
