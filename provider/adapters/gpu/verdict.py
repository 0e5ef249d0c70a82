"""What the worker's messages say about the cards: values, and whether each card may be trusted.

Owns the step from messages to ``GpuInventory`` and ``GpuReading``; pure, no clock and no process. The
rules here are the ones that need no history beyond a few sweeps: lost, failing, hung, MIG on, driver
away. Thresholds over hours, ECC, Xids and their hold times are a table of their own.

Invariant: nothing that only blinds us is worse than ``DEGRADED``, so it never ends a lease.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from provider.adapters.gpu.policy import Treatment, meaning, treatment
from provider.core.gpu_models import gpu_kind
from provider.domain.gpu import Gpu, GpuHealth, GpuProcess, GpuReading
from provider.domain.ids import GpuUuid
from provider.domain.moment import Instant

SUSPECT_SWEEPS = 3
"""So many failing sweeps in a row make a card suspect, so many clean ones clear it."""
MIG_IS_ON = "MIG is on: its instances are not offered, and the card is not sold whole"

Row = dict[str, Any]


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


def card(row: Row, numa_node: int | None) -> Gpu:
    """An opened card of an inventory message, as yet unjudged but for what the row itself says."""
    name: str | None = row.get("name")
    kind = gpu_kind(name or "")
    problem = MIG_IS_ON if row.get("is_mig_on") else None
    return Gpu(
        uuid=GpuUuid(row["uuid"]),
        index=row["index"],
        name=name or "unknown",
        model=kind.model,
        memory_bytes=row.get("memory_bytes"),
        interface=kind.interface,
        pci_bus_id=row.get("pci_bus_id"),
        minor=row.get("minor"),
        numa_node=numa_node,
        architecture=row.get("architecture"),
        compute_capability=row.get("compute_capability"),
        power_limit_watts=row.get("power_limit_watts"),
        problem=problem if name else "its name cannot be read",
    )


def reading(row: Row, at: Instant) -> GpuReading:
    """One card's row of a readings message. What the row lacks is absent."""
    return GpuReading(
        uuid=GpuUuid(row["uuid"]),
        at=at,
        utilization_ratio=row.get("utilization_ratio"),
        memory_used_bytes=row.get("memory_used_bytes"),
        memory_reserved_bytes=row.get("memory_reserved_bytes"),
        power_watts=row.get("power_watts"),
        energy_joules=row.get("energy_joules"),
        temperature_celsius=row.get("temperature_celsius"),
        fan_ratio=row.get("fan_ratio"),
        clock_sm_hertz=row.get("clock_sm_hertz"),
        clock_memory_hertz=row.get("clock_memory_hertz"),
        processes=_processes(row.get("processes")),
    )


def _processes(pairs: list[tuple[int, int | None]] | None) -> tuple[GpuProcess, ...] | None:
    return None if pairs is None else tuple(GpuProcess(pid=pid, memory_bytes=size) for pid, size in pairs)


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
