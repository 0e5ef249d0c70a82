"""What cards have counted, as counters that only grow.

A driver's counters begin again when it is loaded again, and some wrap; here they go on. Owns the sums since
the daemon first saw each card, and the time for which clocks were held down, which no driver counts reliably:
it is the sum of the spans between samples whose newer one names the reason.

Invariant: no sum ever falls, however often and in whatever order samples are noted; and a span without
samples adds nothing that nobody saw.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from provider.domain.gpu import ClockReason, GpuReading
from provider.domain.ids import GpuUuid
from provider.domain.moment import MINUTE, Instant

COUNTED = (
    "energy_joules",
    "ecc_corrected",
    "ecc_uncorrected",
    "pcie_received_bytes",
    "pcie_sent_bytes",
    "pcie_replays",
    "nvlink_received_bytes",
    "nvlink_sent_bytes",
    "nvlink_replays",
    "nvlink_recoveries",
    "nvlink_crc_errors",
)
"""Fields of a reading that are counters of the driver's."""
THROTTLES = {
    ClockReason.SW_POWER_CAP: "power_cap",
    ClockReason.HW_THERMAL: "hw_thermal",
    ClockReason.SW_THERMAL: "sw_thermal",
    ClockReason.HW_POWER_BRAKE: "power_brake",
}
"""Reasons that cost a tenant speed, as the label has them."""
GAP_MOST_MS = MINUTE
"""Between two samples; what happened in a longer gap nobody saw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardTotals:
    """One card's sums. What the card does not tell is not in them."""

    counted: Mapping[str, float] = field(default_factory=dict)
    """By the reading's field."""
    throttled_s: Mapping[str, float] = field(default_factory=dict)
    """By label of ``THROTTLES``."""


@dataclass(slots=True)
class _Card:
    at: Instant | None = None
    driver: dict[str, float] = field(default_factory=dict)
    """As the driver last counted."""
    sums: dict[str, float] = field(default_factory=dict)
    throttled_s: dict[str, float] = field(default_factory=dict)
    told: CardTotals | None = None
    """The sums of the last sample, once somebody wanted them."""

    def now(self) -> CardTotals:
        if self.told is None:
            self.told = CardTotals(counted=dict(self.sums), throttled_s=dict(self.throttled_s))
        return self.told


class GpuTotals:
    """The sums of every card of this host. Noting a sample twice is noting it once."""

    def __init__(self) -> None:
        self._cards: dict[GpuUuid, _Card] = {}

    def note(self, readings: Iterable[GpuReading]) -> None:
        """Take the newest samples in."""
        for reading in readings:
            card = self._cards.setdefault(reading.uuid, _Card())
            if card.at != reading.at:
                _count(card, reading)
                _throttle(card, reading)
                card.at, card.told = reading.at, None

    def keep_only(self, uuids: Collection[GpuUuid]) -> None:
        """Forget cards that are gone: should one come back, it begins at zero."""
        for uuid in self._cards.keys() - set(uuids):
            del self._cards[uuid]

    def now(self) -> Mapping[GpuUuid, CardTotals]:
        """A copy, which stays as it is; until the next sample it is the same."""
        return {uuid: card.now() for uuid, card in self._cards.items()}


def _count(card: _Card, reading: GpuReading) -> None:
    for name in COUNTED:
        told: float | None = getattr(reading, name)
        if told is None:
            continue
        before = card.driver.get(name, told)
        grown = told - before if told >= before else told
        card.driver[name] = told
        card.sums[name] = card.sums.get(name, 0) + grown


def _throttle(card: _Card, reading: GpuReading) -> None:
    if reading.clock_reasons is None:
        return
    span_ms = 0 if card.at is None else reading.at - card.at
    seen_s = span_ms / 1000 if 0 < span_ms <= GAP_MOST_MS else 0.0
    for reason, label in THROTTLES.items():
        held_s = seen_s if reason in reading.clock_reasons else 0.0
        card.throttled_s[label] = card.throttled_s.get(label, 0.0) + held_s
