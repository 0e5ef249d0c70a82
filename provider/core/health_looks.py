"""What a look at one GPU sees, and what is remembered from look to look to judge it by.

Owns counters over windows and how long something has been so. Forgetting all of it costs patience and
nothing else: what must not be forgotten is in ``GpuRecord``, which is committed.

Invariant: no span is measured over a gap. A look that comes too late, or before the last one, begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from provider.domain.gpu import ClockReason, Gpu, GpuReading
from provider.domain.gpu_health import GpuRecord, GpuSignal
from provider.domain.ids import GpuUuid
from provider.domain.moment import HOUR, MINUTE, Instant, Span

GAP = MINUTE
"""Looks are some seconds apart. After a longer silence, or a clock that was set, spans begin anew."""
SAMPLES_MOST = 30
"""Of one window: the spacing of those that are kept is a thirtieth of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One GPU at one instant."""

    uuid: GpuUuid
    at: Instant
    record: GpuRecord
    gpu: Gpu | None
    """As the probe tells it; None where it is not in the inventory any more."""
    reading: GpuReading | None = None
    """A fresh one."""
    is_held: bool = False
    """A lease has it, or an instance of it."""
    strangers: tuple[str, ...] | None = None
    """Processes on it of no lease that has it, nor the idle job's, in words; None where nobody can tell."""
    has_idle_job: bool = False
    """Nobody rents it, and the operator's own job runs on it: what that uses is no trace of anybody else."""
    is_unlisted: bool | None = None
    """Of a place on the PCI bus: a card is there that the driver does not list. None: this is a card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A counter's samples over some span, the oldest first."""

    samples: tuple[tuple[Instant, int], ...] = ()

    @property
    def growth(self) -> int:
        return self.samples[-1][1] - self.samples[0][1] if self.samples else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CardWatch:
    """What is remembered of one GPU between looks."""

    at: Instant | None = None
    """Of the last look."""
    bad_since: Mapping[str, Instant] = field(default_factory=dict)
    good_since: Mapping[str, Instant] = field(default_factory=dict)
    windows: Mapping[str, Window] = field(default_factory=dict)
    is_throttled: bool = False
    """By heat, at the last look."""
    onsets: int = 0
    """How often that began."""
    idle_bytes: int | None = None
    """Least that it used while nobody had it."""
    links_most: int | None = None
    """Most NVLinks that were up."""


def is_thermal(reasons: frozenset[ClockReason]) -> bool:
    """Whether the hardware slows down because of heat. ``HW_SLOWDOWN`` alone is said for the power brake, too
    (NVML's nvmlClocksEventReasonHwSlowdown)."""
    if ClockReason.HW_THERMAL in reasons:
        return True
    return ClockReason.HW_SLOWDOWN in reasons and ClockReason.HW_POWER_BRAKE not in reasons


def _sum(*counts: int | None) -> int | None:
    told = [count for count in counts if count is not None]
    return sum(told) if told else None


COUNTERS: Mapping[str, tuple[Span, Callable[[GpuReading], int | None]]] = {
    "pcie_replays": (MINUTE, lambda reading: reading.pcie_replays),
    "nvlink_retries": (HOUR, lambda reading: _sum(reading.nvlink_replays, reading.nvlink_recoveries)),
    "nvlink_crc": (MINUTE, lambda reading: reading.nvlink_crc_errors),
}
"""By name: over what span, and what counts."""
ONSETS_SPAN = Span(10 * MINUTE)


def looked(watch: CardWatch, look: Look) -> CardWatch:
    """``watch`` with ``look`` in it: counters, and nothing of spans if there was a gap."""
    if watch.at is not None and not 0 <= look.at - watch.at <= GAP:
        watch = replace(watch, bad_since={}, good_since={}, windows={})
    watch = replace(watch, at=look.at)
    reading = look.reading
    if reading is None:
        return watch
    windows = dict(watch.windows)
    for name, (span, count) in COUNTERS.items():
        value = count(reading)
        if value is not None:
            windows[name] = _counted(windows.get(name, Window()), look.at, value, span)
    is_throttled = reading.clock_reasons is not None and is_thermal(reading.clock_reasons)
    onsets = watch.onsets + (is_throttled and not watch.is_throttled)
    begun = Window(samples=((look.at, watch.onsets),))
    windows["thermal_onsets"] = _counted(windows.get("thermal_onsets", begun), look.at, onsets, ONSETS_SPAN)
    return replace(
        watch,
        windows=windows,
        is_throttled=is_throttled,
        onsets=onsets,
        idle_bytes=_idle_bytes(watch, look, reading),
        links_most=max(
            (each for each in (watch.links_most, reading.nvlink_up) if each is not None), default=None
        ),
    )


def _counted(window: Window, at: Instant, value: int, span: Span) -> Window:
    """A counter that fell began again, and so does its window. The last sample is always the newest."""
    samples = [sample for sample in window.samples if sample[0] >= at - span]
    if samples and value < samples[-1][1]:
        samples = []
    if len(samples) > 1 and samples[-1][0] - samples[-2][0] < span / SAMPLES_MOST:
        samples.pop()
    return Window(samples=(*samples, (at, value)))


def _idle_bytes(watch: CardWatch, look: Look, reading: GpuReading) -> int | None:
    """Only a GPU that nobody has and nothing holds against can show what it uses idle."""
    is_idle = not look.is_held and not look.has_idle_job and look.strangers == ()
    is_doubtful = look.record.has(GpuSignal.AWAITING_CHECK) or look.record.has(GpuSignal.NOT_CLEAN)
    if not is_idle or is_doubtful or reading.memory_used_bytes is None:
        return watch.idle_bytes
    if watch.idle_bytes is None:
        return reading.memory_used_bytes
    return min(reading.memory_used_bytes, watch.idle_bytes)
