"""Whether a card was reset while the machine ran on: NVML has no count of resets, so it is concluded.

A reset, like the driver being loaded again, makes the driver's counters begin anew. So does the last client's
leaving where persistence mode is off: without it nothing is concluded, and the operator says it. Pure.

Invariant: a card that a lease has was not reset.
"""

from __future__ import annotations

from collections.abc import Iterable

from provider.core.health_looks import Look
from provider.core.health_row import Clears, Row
from provider.domain.gpu import GpuHealth
from provider.domain.gpu_health import GpuSignal

HOW = "it was reset: its counters began again"


def ends(rows: Iterable[Row]) -> frozenset[GpuSignal]:
    """The signals that a reset ends."""
    return frozenset(row.signal for row in rows if row.clears is Clears.RESET)


def is_new(look: Look) -> bool:
    """Whether it was reset since what is remembered of it."""
    reading, record, gpu = look.reading, look.record, look.gpu
    if reading is None or gpu is None or gpu.health is GpuHealth.UNHEALTHY:
        return False
    if look.is_held or not reading.is_persistent:
        return False
    counters = (
        (record.energy_joules, reading.energy_joules),
        (record.ecc_uncorrected, reading.ecc_uncorrected),
    )
    return any(known is not None and told is not None and told < known for known, told in counters)


def energy_kept(look: Look) -> float | None:
    """The driver's count of energy where it is to be kept; None to leave what is.

    Each time that it has doubled, which costs a commit a day at first and fewer soon: a reset is noticed as
    long as the new count is below the kept one.
    """
    told, known = look.reading.energy_joules if look.reading else None, look.record.energy_joules
    if told is None or (known is not None and known <= told < max(2 * known, 1.0)):
        return None
    return told
