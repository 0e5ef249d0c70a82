"""Counters that only grow, over drivers that begin again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.adapters.telemetry.totals import COUNTED, GAP_MOST_MS, THROTTLES, GpuTotals
from provider.domain.gpu import ClockReason, GpuReading
from provider.domain.ids import GpuUuid
from provider.domain.moment import Instant

CARD = GpuUuid("GPU-1")


def sample(at_ms: int, joules: float | None = None, *reasons: ClockReason) -> GpuReading:
    return GpuReading(uuid=CARD, at=Instant(at_ms), energy_joules=joules, clock_reasons=frozenset(reasons))


def energy(totals: GpuTotals) -> float | None:
    return totals.now()[CARD].counted.get("energy_joules")


def test_it_begins_at_zero_and_grows_as_the_driver_counts() -> None:
    totals = GpuTotals()
    totals.note([sample(0, 500.0)])
    assert energy(totals) == 0
    totals.note([sample(2000, 700.0)])
    assert energy(totals) == 200


def test_a_driver_that_is_loaded_again_takes_nothing_back() -> None:
    totals = GpuTotals()
    for at, joules in enumerate((500.0, 700.0, 40.0, 50.0)):
        totals.note([sample(at * 2000, joules)])
    assert energy(totals) == 250


def test_a_sample_that_is_noted_again_counts_once() -> None:
    totals = GpuTotals()
    totals.note([sample(0, 1.0, ClockReason.HW_THERMAL)])
    for _ in range(3):
        totals.note([sample(2000, 3.0, ClockReason.HW_THERMAL)])
    assert energy(totals) == 2
    assert totals.now()[CARD].throttled_s["hw_thermal"] == 2


def test_what_is_not_told_is_absent_and_a_pause_loses_nothing() -> None:
    totals = GpuTotals()
    totals.note([sample(0)])
    assert energy(totals) is None
    for at, joules in ((2000, 10.0), (4000, None), (6000, 30.0)):
        totals.note([sample(at, joules)])
    assert energy(totals) == 20


@pytest.mark.parametrize(("reason", "label"), THROTTLES.items())
def test_time_held_down_is_the_spans_whose_end_says_so(reason: ClockReason, label: str) -> None:
    totals = GpuTotals()
    totals.note(
        [sample(0, None, reason), sample(2000, None, reason), sample(5000), sample(6000, None, reason)]
    )
    assert totals.now()[CARD].throttled_s == {**dict.fromkeys(THROTTLES.values(), 0.0), label: 3.0}


def test_nobody_saw_what_happened_in_a_gap_or_while_the_clock_was_set_back() -> None:
    totals = GpuTotals()
    for at in (0, GAP_MOST_MS + 1, 1000):
        totals.note([sample(at, None, ClockReason.HW_THERMAL)])
    assert totals.now()[CARD].throttled_s["hw_thermal"] == 0
    totals.note([sample(1500, None, ClockReason.HW_THERMAL)])
    assert totals.now()[CARD].throttled_s["hw_thermal"] == 0.5


def test_reasons_that_a_card_does_not_tell_have_no_time() -> None:
    totals = GpuTotals()
    totals.note([replace(sample(0), clock_reasons=None)])
    assert totals.now()[CARD].throttled_s == {}


def test_a_card_that_is_gone_is_forgotten() -> None:
    totals = GpuTotals()
    totals.note([sample(0, 5.0), replace(sample(0, 5.0), uuid=GpuUuid("GPU-2"))])
    totals.keep_only({CARD})
    assert set(totals.now()) == {CARD}


@given(st.lists(st.tuples(st.integers(0, 10**7), st.none() | st.integers(0, 2**48)), max_size=30))
def test_no_sum_ever_falls(samples: list[tuple[int, int | None]]) -> None:
    totals = GpuTotals()
    before: dict[str, float] = {}
    for at, told in samples:
        reading = replace(sample(at, None, *ClockReason), **dict.fromkeys(COUNTED, told))
        totals.note([reading])
        now = totals.now()[CARD]
        after = {**now.counted, **now.throttled_s}
        assert all(after[name] >= value for name, value in before.items())
        before = after
