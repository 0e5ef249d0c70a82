"""The health table: which signal makes a GPU what, from when on, what follows, and how that goes away.

The table is data (``health_rows``), a row a signal; ``judge`` is the function over it: what is remembered of
a GPU and one look at it in, the signals that come and go out. Operators are shown the same table: a test
holds docs/operating.md to it.

Rules: a GPU is as well as the worst of its signals. Up at the threshold; down only after the opposite was so
for the hold time, or at a reset or a reboot, or when the operator says so. Blindness is ``DEGRADED`` at
worst: it ends no lease. What this product does not do (it resets no GPU and runs no program of its own on
one) is left to the operator: the row says so, ``remedies`` how, and a reset is noticed (``resets``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from provider.core import error_counts, faults, resets
from provider.core.events import GpuSignalsChanged
from provider.core.health_looks import CardWatch, Look, looked
from provider.core.health_row import BY_QUIET, BY_REBOOT, Row, Stops
from provider.core.health_rows import ROWS
from provider.domain.gpu import GpuHealth
from provider.domain.gpu_health import ActiveSignal, ErrorCount, GpuRecord, GpuSignal
from provider.domain.ids import GpuUuid
from provider.domain.moment import MINUTE, Instant, Span
from provider.domain.node import Node

ROW: Mapping[GpuSignal, Row] = {row.signal: row for row in ROWS}
HEAT = frozenset({GpuSignal.HW_THERMAL, GpuSignal.SW_THERMAL, GpuSignal.TOO_HOT, GpuSignal.NEAR_SHUTDOWN})
RESETTABLE = resets.ends(ROWS)
_ORDER = (GpuHealth.HEALTHY, GpuHealth.UNKNOWN, GpuHealth.DEGRADED, GpuHealth.UNHEALTHY)


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthSettings:
    """What the operator chooses of the table."""

    hold: Span = Span(5 * MINUTE)
    """So long a signal's opposite must be so before it goes, where the row does not say otherwise."""
    check_within: Span = MINUTE
    """From a lease's end to the GPU being clean."""
    judges_heat: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a look came to."""

    watch: CardWatch
    raised: tuple[ActiveSignal, ...] = ()
    cleared: tuple[GpuSignal, ...] = ()
    ecc_uncorrected: int | None = None
    """The count to start from next time, where it is another."""
    ecc_corrected: ErrorCount | None = None
    energy_joules: float | None = None
    is_reset: bool = False
    """It was, since the last look."""

    def news(self, gpu: GpuUuid) -> GpuSignalsChanged | None:
        """For the loop; None where there is none."""
        kept = (self.ecc_uncorrected, self.ecc_corrected, self.energy_joules)
        if not (self.raised or self.cleared or self.is_reset) and kept == (None, None, None):
            return None
        return GpuSignalsChanged(
            gpu=gpu,
            raised=self.raised,
            cleared=self.cleared,
            ecc_uncorrected=self.ecc_uncorrected,
            ecc_corrected=self.ecc_corrected,
            energy_joules=self.energy_joules,
            is_reset=self.is_reset,
        )


def table(settings: HealthSettings) -> tuple[Row, ...]:
    """The rows that looks are judged by."""
    rows = (row for row in ROWS if settings.judges_heat or row.signal not in HEAT)
    return tuple(_chosen(row, settings) for row in rows)


def _chosen(row: Row, settings: HealthSettings) -> Row:
    triggers = row.triggers
    if row.signal is GpuSignal.NOT_CLEAN:
        triggers = tuple(replace(each, after=settings.check_within) for each in triggers)
    clears_after = settings.hold if row.clears_after is None else row.clears_after
    return replace(row, triggers=triggers, clears_after=clears_after)


def judge(watch: CardWatch, look: Look, rows: Sequence[Row]) -> Judgement:
    """One look. What comes is not among the record's signals yet, what goes is."""
    watch = looked(watch, look)
    spans = _Spans(bad=dict(watch.bad_since), good=dict(watch.good_since))
    raised, cleared = [], []
    for row in rows:
        answers = [trigger.condition(look, watch) for trigger in row.triggers]
        is_active = look.record.has(row.signal)
        if all(answer is None for answer in answers):
            if look.reading is None:  # what a moment does not show is another matter
                spans.forget(row)
            continue
        detail = spans.long_enough(row, answers, look.at)
        if detail and not is_active:
            raised.append(ActiveSignal(signal=row.signal, since=look.at, detail=detail))
        is_well = not any(answers)
        if spans.well_for(row, look.at, is_well=is_well and is_active) and row.clears in BY_QUIET:
            cleared.append(row.signal)
            spans.forget(row)
    held = [each.signal for each in (*look.record.active, *raised) if each.signal in RESETTABLE]
    is_reset = bool(held) and resets.is_new(look)
    if is_reset:
        raised = [each for each in raised if each.signal not in RESETTABLE]
        cleared += [each.signal for each in look.record.active if each.signal in RESETTABLE]
    return Judgement(
        watch=replace(watch, bad_since=spans.bad, good_since=spans.good),
        raised=tuple(raised),
        cleared=tuple(cleared),
        ecc_uncorrected=_ecc(look, raised),
        ecc_corrected=_corrected(look, raised),
        energy_joules=resets.energy_kept(look),
        is_reset=is_reset,
    )


@dataclass(slots=True)
class _Spans:
    """For how long what has been so, while one look is judged."""

    bad: dict[str, Instant]
    good: dict[str, Instant]

    def long_enough(self, row: Row, answers: Sequence[str | None], at: Instant) -> str:
        """What the first trigger says whose condition held for its time; empty for none."""
        found = ""
        for number, (trigger, answer) in enumerate(zip(row.triggers, answers, strict=True)):
            key = f"{row.signal}/{number}"
            if not answer:
                self.bad.pop(key, None)
            elif at - self.bad.setdefault(key, at) >= trigger.after:
                found = found or answer
        return found

    def well_for(self, row: Row, at: Instant, *, is_well: bool) -> bool:
        """Whether the hold time is over."""
        assert row.clears_after is not None, "table() fills it in"
        if not is_well:
            self.good.pop(row.signal, None)
            return False
        return at - self.good.setdefault(row.signal, at) >= row.clears_after

    def forget(self, row: Row) -> None:
        self.good.pop(row.signal, None)
        for number in range(len(row.triggers)):
            self.bad.pop(f"{row.signal}/{number}", None)


def _ecc(look: Look, raised: Sequence[ActiveSignal]) -> int | None:
    """The driver's count from now on, once nothing is to be concluded from it any more; None to wait."""
    count = look.reading.ecc_uncorrected if look.reading else None
    known = look.record.ecc_uncorrected
    if count is None or count == known:
        return None
    is_told = look.record.has(GpuSignal.UNCORRECTED_ECC) or any(
        each.signal is GpuSignal.UNCORRECTED_ECC for each in raised
    )
    if known is None or count < known or is_told or faults.is_accounted(look.record, look.at):
        return count
    return None


def _corrected(look: Look, raised: Sequence[ActiveSignal]) -> ErrorCount | None:
    count = look.reading.ecc_corrected if look.reading else None
    if count is None:
        return None
    is_told = any(each.signal is GpuSignal.CORRECTABLE_ECC for each in raised)
    return error_counts.kept(look.record.ecc_corrected, count, look.at, is_told=is_told)


def worst(*states: GpuHealth) -> GpuHealth:
    """``HEALTHY`` for none."""
    return max(states, key=_ORDER.index, default=GpuHealth.HEALTHY)


def health_of(record: GpuRecord) -> GpuHealth:
    """The worst of its signals."""
    return worst(*(ROW[each.signal].state for each in record.active))


def problem_of(record: GpuRecord) -> str | None:
    """One line: the worst of its signals, the oldest of them first. None for a healthy one."""
    state = health_of(record)
    if state is GpuHealth.HEALTHY:
        return None
    held = [each for each in record.active if ROW[each.signal].state is state]
    return "; ".join(
        f"{words(each.signal)}: {each.detail}" if each.detail else words(each.signal) for each in held
    )


def goes_at_boot(signal: GpuSignal) -> bool:
    """Whether a reboot ends it; what is still so after that comes again."""
    return ROW[signal].clears in BY_REBOOT


def host_problem(node: Node, records: Mapping[GpuUuid, GpuRecord]) -> str | None:
    """Why nothing of ``node`` is to be sold, GPUs or not; None where nothing forbids it."""
    ill = [gpu.uuid for gpu in node.gpus if gpu.uuid in records and records[gpu.uuid].active]
    for row in ROWS if ill else ():
        fewest = {Stops.ONE: 1, Stops.TWO: 2, Stops.EVERY: max(len(node.gpus), 1)}.get(row.stops)
        having = [uuid for uuid in ill if records[uuid].has(row.signal)]
        if fewest is not None and len(having) >= fewest:
            return f"{words(row.signal)} on {', '.join(having)}"
    return None


_SPELT = {
    "ecc": "ECC",
    "gpu": "GPU",
    "hw": "hardware",
    "inforom": "InfoROM",
    "nvlink": "NVLink",
    "pcie": "PCIe",
    "sw": "driver",
    "xid": "Xid",
}


def words(signal: str) -> str:
    """For people: ``uncorrected ECC``."""
    return " ".join(_SPELT.get(word, word) for word in signal.split("_"))


def clears_words(signal: GpuSignal) -> str:
    """How it goes away, one line."""
    return ROW[signal].clears_words
