"""GPUs as messages: every fact and every figure, name for name.

Owns the step from ``domain.gpu`` to ``gpu.proto``. Invariant: what is absent in the value is absent in the
message; a test holds the fields of both to each other.
"""

from __future__ import annotations

from typing import Any

from provider.domain.gpu import Gpu, GpuLink, GpuReading, MigSlice
from provider.rpc.v1 import gpu_pb2 as pb

_FACTS = tuple(pb.GpuFacts.DESCRIPTOR.fields_by_name)
_FIGURES = tuple(
    name for name in pb.GpuSample.DESCRIPTOR.fields_by_name if name not in {"clock_reasons", "processes"}
)


def facts_to_pb(gpu: Gpu) -> pb.GpuFacts:
    """What it is."""
    told: dict[str, Any] = {name: getattr(gpu, name) for name in _FACTS}
    return pb.GpuFacts(**told)


def sample_to_pb(reading: GpuReading) -> pb.GpuSample:
    """How it does."""
    told: dict[str, Any] = {name: getattr(reading, name) for name in _FIGURES}
    return pb.GpuSample(
        clock_reasons=sorted(reading.clock_reasons or ()),
        processes=[
            pb.GpuProcess(pid=each.pid, memory_bytes=each.memory_bytes) for each in reading.processes or ()
        ],
        **told,
    )


def mig_to_pb(mig: MigSlice) -> pb.MigSlice:
    """Which part of which card."""
    return pb.MigSlice(
        parent=mig.parent,
        profile=mig.profile,
        gpu_instance=mig.gpu_instance,
        compute_instance=mig.compute_instance,
        slices=mig.slices,
    )


def link_to_pb(link: GpuLink) -> pb.GpuLink:
    """How two cards reach each other."""
    return pb.GpuLink(first=link.first, second=link.second, kind=link.kind, lanes=link.lanes)
