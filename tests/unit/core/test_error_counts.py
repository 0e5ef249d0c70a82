"""Errors within a day: counted over everything that begins a counter anew."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from provider.core.error_counts import KEPT_EVERY, acknowledged, growth, kept
from provider.domain.gpu_health import ErrorCount
from provider.domain.moment import HOUR, MINUTE, Instant
from tests.agents import START

DAY = 24 * HOUR


def counted(*told: tuple[int, int]) -> ErrorCount | None:
    """What is kept after the driver told these, each at so long after the start."""
    known: ErrorCount | None = None
    for at, count in told:
        known = kept(known, count, Instant(START + at)) or known
    return known


def grown(known: ErrorCount | None, at: int, count: int) -> int:
    return growth(known, count, Instant(START + at))


def test_what_was_there_at_first_is_nobodys() -> None:
    assert growth(None, 9000, START) == 0
    assert grown(counted((0, 9000)), MINUTE, 9005) == 5


def test_a_day_ends_after_a_day_and_not_with_the_daemon() -> None:
    known = counted((0, 0), (HOUR, 900))
    assert grown(known, DAY + MINUTE, 950) == 950
    assert grown(known, DAY + HOUR, 950) == 50


def test_a_quiet_counter_shows_all_that_comes_after() -> None:
    assert grown(counted((0, 0)), 30 * HOUR, 900) == 900


def test_a_counter_that_begins_again_is_added_to_what_was() -> None:
    known = counted((0, 100), (2 * HOUR, 700), (3 * HOUR, 30))
    assert grown(known, 4 * HOUR, 50) == 650


def test_keeping_costs_a_commit_an_hour() -> None:
    first = counted((0, 0))
    assert kept(first, 0, Instant(START + DAY)) is None, "nothing came"
    assert kept(first, 1, Instant(START + KEPT_EVERY - 1)) is None
    assert kept(first, 1, Instant(START + KEPT_EVERY)) is not None
    assert kept(first, 1, Instant(START + 1), is_told=True) is not None


def test_what_the_operator_acknowledges_counts_no_more() -> None:
    known = acknowledged(counted((0, 0), (HOUR, 1200)), Instant(START + 2 * HOUR))
    assert grown(known, 2 * HOUR, 1210) == 10
    assert acknowledged(None, START) is None


def test_a_clock_that_is_set_makes_no_errors() -> None:
    known = counted((0, 0), (5 * HOUR, 400), (400 * DAY, 400), (400 * DAY + HOUR, 410), (6 * HOUR, 420))
    assert known is not None
    assert 0 <= grown(known, 6 * HOUR, 420) <= 420
    assert all(at <= START + 6 * HOUR for at, _ in known.samples)


@given(st.lists(st.tuples(st.integers(1, 3 * HOUR), st.integers(0, 50)), min_size=1, max_size=200))
def test_a_day_is_a_day_long_and_an_hour_more_at_most(steps: list[tuple[int, int]]) -> None:
    known, at, count = counted((0, 0)), 0, 0
    history = [(0, 0)]
    for span, more in steps:
        at, count = at + span, count + more
        history.append((at, count))
        shown = grown(known, at, count)
        known = kept(known, count, Instant(START + at)) or known

        def since(begin: int, now: int = at, so_far: int = count) -> int:
            before = [seen for when, seen in history if when <= now - begin]
            return so_far - (before[-1] if before else 0)

        assert shown >= since(DAY)
        assert known is not None
        assert len(known.samples) <= 27
        assert all(first[0] <= second[0] for first, second in pairwise(known.samples))
