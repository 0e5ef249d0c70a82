"""What a card draws while it works, as measured: a mean that forgets, and what of it is told. Pure.

Owns when a sample counts, how long it is remembered, and how far a figure must move to be news. Does not own
what is made of it (``floor``). Samples are no events: only what is told enters the inventory, and with it the
ledger, so that a price made of it can be made again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from provider.domain.gpu import GpuInventory, GpuReading
from provider.domain.ids import GpuUuid
from provider.domain.moment import SECOND, Instant

BUSY_RATIO = 0.5
"""A sample counts where the card worked at least so much of it: what an idle hour saves is not given away."""
LONGEST_S = 10.0
"""A sample stands for no longer: what was drawn while nobody looked is not known."""
SURE_S = 600.0
"""Of load, before the mean is told: a model that loads draws less than one that trains."""
REMEMBERED_S = 24 * 3600.0
"""Of load: what was drawn before that counts less and less."""
NEWS_RATIO = 0.05
"""A figure that moves less is not told: everything that waits is decided again when it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerMean:
    """Of one whole card."""

    watts: float = 0.0
    load_s: float = 0.0
    """For how long it was measured under load, at most ``REMEMBERED_S``."""
    at: Instant | None = None
    """Of the last sample, of whatever load."""
    told: int | None = None
    """Watts; None before it is sure."""


def counted(mean: PowerMean, reading: GpuReading) -> PowerMean:
    """One sample later. One that was counted already changes nothing."""
    stands_s = 0.0 if mean.at is None else (reading.at - mean.at) / SECOND
    if mean.at is not None and stands_s <= 0:
        return mean if stands_s == 0 else replace(mean, at=reading.at)  # a clock that was set back
    mean, stands_s = replace(mean, at=reading.at), min(stands_s, LONGEST_S)
    watts, busy = reading.power_watts, reading.utilization_ratio
    if watts is None or not math.isfinite(watts) or watts <= 0 or busy is None or busy < BUSY_RATIO:
        return mean
    load_s = mean.load_s + stands_s
    if not load_s:
        return mean
    now = replace(
        mean, watts=mean.watts + (watts - mean.watts) * stands_s / load_s, load_s=min(load_s, REMEMBERED_S)
    )
    return replace(now, told=round(now.watts)) if _is_news(now) else now


def _is_news(mean: PowerMean) -> bool:
    if mean.load_s < SURE_S:
        return False
    return mean.told is None or abs(mean.watts - mean.told) >= max(mean.told * NEWS_RATIO, 1)


def with_watts(inventory: GpuInventory, watts: Mapping[GpuUuid, int]) -> GpuInventory:
    """``inventory`` with what each card draws; an instance is told its whole card's, as with its limit."""
    gpus = tuple(
        replace(gpu, load_watts=told) if gpu.load_watts != told else gpu
        for gpu in inventory.gpus
        for told in (watts.get(gpu.mig.parent if gpu.mig else gpu.uuid),)
    )
    return inventory if gpus == inventory.gpus else replace(inventory, gpus=gpus)
