"""GPUs as messages: nothing is left out, and what is absent stays so."""

from __future__ import annotations

import dataclasses

from provider.domain.gpu import ClockReason, Gpu, GpuLink, GpuLinkKind, GpuProcess, GpuReading, MigSlice
from provider.domain.ids import GpuUuid
from provider.domain.moment import Instant
from provider.rpc.codec_gpu import facts_to_pb, link_to_pb, mig_to_pb, sample_to_pb
from provider.rpc.v1 import gpu_pb2, operator_pb2

ELSEWHERE = {
    "health",
    "simulated",
    "mig",
    "uuid",
    "index",
    "name",
    "model",
    "memory_bytes",
    "interface",
    "problem",
}
"""Of ``GpuStatus`` itself, which every table shows."""


def names(kind: type) -> set[str]:
    return {each.name for each in dataclasses.fields(kind)}


def test_every_fact_and_figure_has_its_field() -> None:
    assert set(gpu_pb2.GpuFacts.DESCRIPTOR.fields_by_name) == names(Gpu) - ELSEWHERE
    assert names(Gpu) & ELSEWHERE <= set(operator_pb2.GpuStatus.DESCRIPTOR.fields_by_name)
    assert set(gpu_pb2.GpuSample.DESCRIPTOR.fields_by_name) == names(GpuReading) - {"uuid"}
    assert set(gpu_pb2.MigSlice.DESCRIPTOR.fields_by_name) == names(MigSlice)
    assert set(gpu_pb2.GpuLink.DESCRIPTOR.fields_by_name) == names(GpuLink)


def test_what_is_absent_is_not_in_the_message() -> None:
    gpu = Gpu(uuid=GpuUuid("GPU-1"), index=0, name="x", model="x")
    assert facts_to_pb(gpu).ListFields() == []
    told = sample_to_pb(GpuReading(uuid=GpuUuid("GPU-1"), at=Instant(7)))
    assert [(field.name, value) for field, value in told.ListFields()] == [("at", 7)]


def test_what_is_zero_or_off_is_in_the_message() -> None:
    gpu = Gpu(uuid=GpuUuid("GPU-1"), index=0, name="x", model="x", is_ecc_on=False, nvlinks=0)
    assert {field.name for field, _ in facts_to_pb(gpu).ListFields()} == {"is_ecc_on", "nvlinks"}


def test_a_full_sample() -> None:
    reading = GpuReading(
        uuid=GpuUuid("GPU-1"),
        at=Instant(7),
        clock_reasons=frozenset({ClockReason.SW_THERMAL, ClockReason.IDLE}),
        processes=(GpuProcess(pid=4, memory_bytes=None), GpuProcess(pid=5, memory_bytes=2**40)),
        pcie_sent_bytes=2**63 + 1,
    )
    told = sample_to_pb(reading)
    assert list(told.clock_reasons) == ["idle", "sw_thermal"]
    assert [(each.pid, each.HasField("memory_bytes")) for each in told.processes] == [(4, False), (5, True)]
    assert told.pcie_sent_bytes == 2**63 + 1, "the driver's counters are unsigned"


def test_an_instance_and_a_link() -> None:
    mig = MigSlice(parent=GpuUuid("GPU-1"), profile="1g.10gb", gpu_instance=7, compute_instance=0, slices=1)
    assert mig_to_pb(mig).profile == "1g.10gb"
    link = GpuLink(first=GpuUuid("GPU-1"), second=GpuUuid("GPU-2"), kind=GpuLinkKind.SYSTEM)
    told = link_to_pb(link)
    assert (told.kind, told.HasField("lanes")) == ("system", False)
