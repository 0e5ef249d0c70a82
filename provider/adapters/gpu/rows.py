"""The worker's messages as our values: a row becomes a ``Gpu``, a sample a ``GpuReading``.

Owns the step and nothing else; pure, no clock and no process. Whether a card may be trusted is ``verdict``'s.
Invariant: what a row lacks is absent in the value, never zero.
"""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

from provider.core.gpu_models import gpu_kind
from provider.domain.gpu import (
    ClockReason,
    Gpu,
    GpuLink,
    GpuLinkKind,
    GpuProcess,
    GpuReading,
    MigSlice,
)
from provider.domain.ids import GpuUuid
from provider.domain.moment import Instant

Row = dict[str, Any]

_CONFIDENTIAL = {"hopper", "blackwell", "rubin"}
"""Architectures with confidential computing: NVML tells its state of the host, not of a card."""
_CLOCK_REASONS = {1 << place: reason for place, reason in enumerate(ClockReason)}
"""``nvmlClocksEventReason*``: our names are in the order of its bits."""
_DERIVED = {"uuid", "at", "clock_reasons", "processes"}
_READING_FACTS = tuple(each.name for each in fields(GpuReading) if each.name not in _DERIVED)
CARD_FACTS = (
    *("memory_bytes", "pci_bus_id", "minor", "architecture", "compute_capability", "vbios", "nvlinks"),
    *("power_limit_watts", "power_limit_default_watts"),
    *("is_ecc_on", "is_ecc_to_change", "is_mig_on", "is_mig_to_change"),
    *(f"clock_{domain}_most_hertz" for domain in ("graphics", "sm", "memory", "video")),
    *("pcie_width_most", "pcie_generation_most"),
    *("slowdown_celsius", "shutdown_celsius", "memory_most_celsius"),
)
"""Fields that rows of cards and ``Gpu`` share, name for name."""
_OF_ITS_CARD = (
    *("interface", "pci_bus_id", "minor", "numa_node", "architecture", "compute_capability"),
    *("is_ecc_on", "is_confidential", "is_confidential_ready"),
    *(f"clock_{domain}_most_hertz" for domain in ("graphics", "sm", "memory", "video")),
    *("pcie_width_most", "pcie_generation_most"),
)
"""What is as true of a MIG instance as of its card. Power, temperature and NVLink are the card's alone."""
_PROFILE = re.compile(r"\bMIG (\S+)")


def card(row: Row, numa_node: int | None, confidential: tuple[bool | None, bool | None]) -> Gpu:
    """An opened card of an inventory message, as yet unjudged.

    ``confidential`` is the host's: whether confidential computing is on, and ready.
    """
    name: str | None = row.get("name")
    kind = gpu_kind(name or "")
    has_confidential = row.get("architecture") in _CONFIDENTIAL
    return Gpu(
        uuid=GpuUuid(row["uuid"]),
        index=row["index"],
        name=name or "unknown",
        model=kind.model,
        interface=kind.interface,
        numa_node=numa_node,
        is_confidential=confidential[0] if has_confidential else None,
        is_confidential_ready=confidential[1] if has_confidential else None,
        problem=None if name else "its name cannot be read",
        **{fact: row[fact] for fact in CARD_FACTS if row.get(fact) is not None},
    )


def instance(row: Row, parent: Gpu) -> Gpu:
    """A MIG instance of an inventory message: its own identity and memory, the rest of its card."""
    name: str | None = row.get("name")
    slices: int | None = row.get("slices")
    return Gpu(
        uuid=GpuUuid(row["uuid"]),
        index=parent.index,
        name=name or f"{parent.name} MIG",
        model=parent.model,
        memory_bytes=row.get("memory_bytes"),
        mig=MigSlice(
            parent=parent.uuid,
            profile=_profile(name or "", slices, row.get("memory_bytes")),
            gpu_instance=row["gpu_instance"],
            compute_instance=row["compute_instance"],
            slices=slices,
        ),
        **{fact: getattr(parent, fact) for fact in _OF_ITS_CARD},
    )


def is_whole(row: Row) -> bool:
    """Not of a MIG instance."""
    return "parent" not in row


def is_placed(row: Row) -> bool:
    """Of a MIG instance that says which of its card it is: without that it could not be told apart."""
    return row.get("gpu_instance") is not None and row.get("compute_instance") is not None


def _profile(name: str, slices: int | None, memory_bytes: int | None) -> str:
    """As the name says it; made up in the same way where it does not."""
    found = _PROFILE.search(name)
    if found is not None:
        return found[1]
    return f"{slices or '?'}g.{(memory_bytes or 0) / 1024**3:.0f}gb"


def reading(row: Row, at: Instant) -> GpuReading:
    """One card's row of a readings message."""
    reasons, processes = row.get("clock_reasons"), row.get("processes")
    return GpuReading(
        uuid=GpuUuid(row["uuid"]),
        at=at,
        clock_reasons=None if reasons is None else _clock_reasons(reasons),
        processes=None
        if processes is None
        else tuple(GpuProcess(pid=pid, memory_bytes=size) for pid, size in processes),
        **{fact: row.get(fact) for fact in _READING_FACTS},
    )


def _clock_reasons(bits: int) -> frozenset[ClockReason]:
    return frozenset(reason for bit, reason in _CLOCK_REASONS.items() if bits & bit)


def links(told: list[tuple[str, str, str, int | None]]) -> tuple[GpuLink, ...]:
    """The worker's list, whose pairs are in order already."""
    return tuple(
        sorted(
            GpuLink(first=GpuUuid(first), second=GpuUuid(second), kind=GpuLinkKind(kind), lanes=lanes)
            for first, second, kind, lanes in told
        )
    )


def cuda_version(number: int | None) -> str | None:
    """NVML counts ``12080`` for CUDA 12.8."""
    return None if number is None else f"{number // 1000}.{number % 1000 // 10}"
