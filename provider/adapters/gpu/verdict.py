"""What the worker's messages say about the cards: values, and whether each card may be trusted.

Owns the step from messages to ``GpuInventory`` and ``GpuReading``; pure, no clock and no process. The
rules here are the ones that need no history beyond a few sweeps: lost, failing, hung, MIG on, driver
away. Thresholds over hours, ECC, Xids and their hold times are a table of their own.

Invariant: nothing that only blinds us is worse than ``DEGRADED``, so it never ends a lease.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from provider.adapters.gpu.policy import Treatment, meaning, treatment
from provider.core.gpu_models import gpu_kind
from provider.domain.gpu import ClockReason, Gpu, GpuHealth, GpuProcess, GpuReading
from provider.domain.ids import GpuUuid
from provider.domain.moment import Instant

SUSPECT_SWEEPS = 3
"""So many failing sweeps in a row make a card suspect, so many clean ones clear it."""
MIG_IS_ON = "MIG is on: its instances are not offered, and the card is not sold whole"

Row = dict[str, Any]

_CONFIDENTIAL = {"hopper", "blackwell", "rubin"}
"""Architectures with confidential computing: NVML tells its state of the host, not of a card."""
_CLOCK_REASONS = {1 << place: reason for place, reason in enumerate(ClockReason)}
"""``nvmlClocksEventReason*``: our names are in the order of its bits."""
_DERIVED = {"uuid", "at", "clock_reasons", "processes"}
_READING_FACTS = tuple(each.name for each in fields(GpuReading) if each.name not in _DERIVED)
_CARD_FACTS = (
    *("memory_bytes", "pci_bus_id", "minor", "architecture", "compute_capability", "vbios", "nvlinks"),
    *("power_limit_watts", "power_limit_default_watts"),
    *("is_ecc_on", "is_ecc_to_change", "is_mig_on", "is_mig_to_change"),
    *(f"clock_{domain}_most_hertz" for domain in ("graphics", "sm", "memory", "video")),
    *("pcie_width_most", "pcie_generation_most"),
    *("slowdown_celsius", "shutdown_celsius", "memory_most_celsius"),
)
"""Fields that the worker's rows and ours share, name for name: a test holds both to the tables of calls."""


@dataclass(slots=True)
class CardRecord:
    """What is remembered of one card between messages."""

    lost: str | None = None
    """Why it is gone, until an inventory opens it again."""
    failing_sweeps: int = 0
    clean_sweeps: int = 0
    suspect: str | None = None
    hung: str | None = None
    """The call that did not return, until the card is tried again and answers."""

    def judge(self, gpu: Gpu) -> Gpu:
        """``gpu`` with the worst that holds against it."""
        if self.lost:
            return replace(gpu, health=GpuHealth.UNHEALTHY, problem=self.lost)
        problem = self.hung or self.suspect or gpu.problem
        return replace(gpu, health=GpuHealth.DEGRADED if problem else GpuHealth.HEALTHY, problem=problem)

    def note(self, trouble: list[tuple[str, int]]) -> None:
        """One sweep's failures on this card."""
        failing = None
        for symbol, code in trouble:
            if treatment(code) is Treatment.LOST:
                self.lost = f"{meaning(code)} ({symbol})"
            if treatment(code) is Treatment.SUSPECT:
                failing = f"{symbol} keeps failing: {meaning(code)}"
        self.failing_sweeps = self.failing_sweeps + 1 if failing else 0
        self.clean_sweeps = 0 if failing else self.clean_sweeps + 1
        if self.failing_sweeps >= SUSPECT_SWEEPS:
            self.suspect = failing
        if self.clean_sweeps >= SUSPECT_SWEEPS:
            self.suspect = None


def card(row: Row, numa_node: int | None, confidential: tuple[bool | None, bool | None]) -> Gpu:
    """An opened card of an inventory message, as yet unjudged but for what the row itself says.

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
        problem=(MIG_IS_ON if row.get("is_mig_on") else None) if name else "its name cannot be read",
        **{fact: row[fact] for fact in _CARD_FACTS if row.get(fact) is not None},
    )


def reading(row: Row, at: Instant) -> GpuReading:
    """One card's row of a readings message. What the row lacks is absent."""
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


def cuda_version(number: int | None) -> str | None:
    """NVML counts ``12080`` for CUDA 12.8."""
    return None if number is None else f"{number // 1000}.{number % 1000 // 10}"


def nameless(rows: list[Row], known: set[int]) -> str | None:
    """One line on the cards that cannot be opened and were never seen, so that nothing can name them."""
    if not rows:
        return "the NVIDIA driver is loaded but sees no GPU"
    dead = [row for row in rows if "uuid" not in row and row["index"] not in known]
    if not dead:
        return None
    reasons = ", ".join(f"index {row['index']}: {_why_dead(row)}" for row in dead)
    return f"{len(dead)} of {len(rows)} GPUs cannot be read ({reasons})"


def _why_dead(row: Row) -> str:
    return meaning(row["trouble"][0][1]) if row["trouble"] else "left alone after a call on it hung"
