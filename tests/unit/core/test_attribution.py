"""What is added up: totals that never fall, and that count each thing once, whatever comes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.core import attribution
from provider.core.attribution import CardSample, CardTally, ReplicaTally, Tally
from provider.domain.gpu import GpuReading, MigSlice
from provider.domain.ids import GpuUuid
from provider.domain.moment import Instant
from provider.domain.usage import ContainerReading, UsageCounter
from provider.domain.workload import Container, ContainerState, ExitCause
from tests.agents import START, gpu, lease_of

CARD = CardTally(uuid=GpuUuid("GPU-1"), baseline_bytes=500)
CPU = UsageCounter.CPU_US


def sample(**figures: float | None) -> CardSample:
    return CardSample(**figures)  # type: ignore[arg-type]


def container(number: int, *, state: ContainerState = ContainerState.RUNNING, started: int = 0) -> Container:
    return Container(
        service="web", replica=0, state=state, id=f"c{number}", started_at=Instant(START + started)
    )


def reading(**counters: int) -> ContainerReading:
    return ContainerReading(counters={UsageCounter(name): value for name, value in counters.items()})


def replica() -> ReplicaTally:
    return ReplicaTally(service="web", replica=0)


def counted(tally: CardTally, *samples: tuple[CardSample, float | None]) -> CardTally:
    for each, elapsed_s in samples:
        tally = attribution.card_counted(tally, each, elapsed_s)
    return tally


# --- cards


def test_busy_time_is_utilization_over_time() -> None:
    half, full = sample(utilization_ratio=0.5), sample(utilization_ratio=1.0)
    assert counted(CARD, (half, None), (half, 2), (full, 2), (half, 4)).busy_s == 1 + 2 + 2


def test_time_in_which_nobody_looked_is_nobodys() -> None:
    full = sample(utilization_ratio=1.0)
    tally = counted(CARD, (full, None), (full, 2), (full, 3600), (full, -5), (full, 2))
    assert tally.busy_s == 4, "neither a long gap nor a clock that went back counts"


def test_a_card_that_does_not_tell_has_no_total() -> None:
    tally = counted(CARD, (sample(), None), (sample(), 2))
    assert (tally.busy_s, tally.energy_joules) == (None, None)


def test_energy_is_the_difference_of_the_drivers_counter_over_gaps_too() -> None:
    tally = counted(
        CARD,
        (sample(energy_joules=1000, power_watts=100), None),
        (sample(energy_joules=1200, power_watts=100), 2),
        (sample(), 2),
        (sample(energy_joules=5000, power_watts=100), 7200),
    )
    assert tally.energy_joules == 4000


def test_a_counter_that_begins_again_goes_on_in_the_total() -> None:
    tally = counted(CARD, *((sample(energy_joules=told), 2) for told in (1000, 1300, 40, 90)))
    assert tally.energy_joules == 300 + 40 + 50


def test_power_over_time_stands_in_only_where_no_counter_ever_told() -> None:
    watts = sample(power_watts=300)
    tally = counted(CARD, (watts, None), (watts, 2), (watts, 2))
    assert tally.energy_joules == 1200
    tally = counted(tally, (sample(power_watts=300, energy_joules=70), 2), (watts, 2))
    assert tally.energy_joules == 1200, "the counter is only a mark yet, and power is not counted beside it"
    assert counted(tally, (sample(energy_joules=100), 2)).energy_joules == 1230


def test_memory_is_what_is_in_use_beyond_the_time_before() -> None:
    shown = [
        attribution.gpu_usage(CARD, sample(memory_used_bytes=used), 0).memory_bytes
        for used in (2000, 400, None)
    ]
    assert shown == [1500, 0, None]


def test_a_mig_instance_gets_its_share_of_its_cards_energy() -> None:
    whole, part = GpuUuid("GPU-1"), GpuUuid("MIG-1")
    slice_ = MigSlice(parent=whole, profile="3g.40gb", gpu_instance=1, compute_instance=0, slices=3)
    instance = replace(gpu(1), uuid=part, mig=slice_)
    readings = {
        whole: GpuReading(uuid=whole, at=START, power_watts=350, energy_joules=700, memory_used_bytes=9),
        part: GpuReading(uuid=part, at=START, sm_active_ratio=0.25, memory_used_bytes=4),
    }
    told = attribution.card_sample(instance, readings, part)
    assert told == CardSample(
        utilization_ratio=0.25, power_watts=150, energy_joules=300, memory_used_bytes=4, is_estimated=True
    )
    assert counted(CARD, (told, None)).is_estimated
    unknown = replace(instance, mig=replace(slice_, slices=None))
    assert attribution.card_sample(unknown, readings, part).energy_joules is None
    assert attribution.card_sample(gpu(1), readings, whole).energy_joules == 700


# --- containers


def test_a_container_is_counted_from_its_first_moment() -> None:
    tally = attribution.replica_counted(replica(), container(1), reading(cpu_us=700))
    assert tally.totals == {CPU: 700}
    again = attribution.replica_counted(tally, container(1), reading(cpu_us=700))
    assert again.totals == {CPU: 700}
    assert again.restarts == 0


def test_another_run_is_added_whole_even_where_it_has_used_more() -> None:
    tally = attribution.replica_counted(replica(), container(1), reading(cpu_us=700))
    same_container = attribution.replica_counted(tally, container(1, started=9), reading(cpu_us=900))
    assert (same_container.totals[CPU], same_container.restarts) == (1600, 1)
    another = attribution.replica_counted(same_container, container(2, started=20), reading(cpu_us=10))
    assert (another.totals[CPU], another.restarts) == (1610, 2)


def test_a_figure_that_falls_within_a_run_adds_nothing() -> None:
    tally = replica()
    for told in (700, 300, 350):
        tally = attribution.replica_counted(tally, container(1), reading(cpu_us=told))
    assert tally.totals == {CPU: 750}


def test_the_run_before_is_not_counted_again_when_it_is_reported_late() -> None:
    tally = attribution.replica_counted(replica(), container(1), reading(cpu_us=700))
    tally = attribution.replica_counted(tally, container(2, started=5), reading(cpu_us=100))
    late = attribution.replica_counted(tally, container(1), reading(cpu_us=750))
    assert late == tally


def test_a_container_that_ended_for_want_of_memory_counts_one_at_least_and_once() -> None:
    gone = replace(container(1, state=ContainerState.EXITED), cause=ExitCause.OOM)
    tally = attribution.replica_counted(replica(), container(1), reading(oom_kills=0))
    for _ in range(3):
        tally = attribution.replica_counted(tally, gone, None)
    assert tally.totals[UsageCounter.OOM_KILLS] == 1
    seen = attribution.replica_counted(replica(), container(1), reading(oom_kills=4))
    assert attribution.replica_counted(seen, gone, None).totals[UsageCounter.OOM_KILLS] == 4


def test_one_that_has_not_started_is_nothing_yet() -> None:
    made = Container(service="web", replica=0, state=ContainerState.CREATED, id="c1")
    assert attribution.replica_counted(replica(), made, None) == replica()


def test_replicas_of_a_service_are_shown_together_and_in_order() -> None:
    tally = Tally(
        lease=lease_of(),
        at=START,
        replicas=(
            ReplicaTally(service="web", replica=0, totals={CPU: 5}, restarts=1),
            ReplicaTally(service="db", replica=0, totals={CPU: 1}),
            ReplicaTally(service="web", replica=1, totals={CPU: 7}, restarts=2),
        ),
    )
    now = {("web", 1): ContainerReading(memory_bytes=10, memory_limit_bytes=64)}
    db, web = attribution.service_usages(tally, now)
    assert (db.service, db.memory_bytes, db.counters) == ("db", None, {CPU: 1})
    assert (web.counters, web.restarts) == ({CPU: 12}, 3)
    assert (web.memory_bytes, web.memory_limit_bytes) == (10, 64)


# --- whatever comes

_FIGURE = st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 1e9)
_SAMPLE = st.builds(
    CardSample,
    utilization_ratio=st.none() | st.floats(-1, 2),
    power_watts=_FIGURE,
    energy_joules=_FIGURE,
)
_ELAPSED = st.none() | st.floats(-1e6, 1e6)


@given(st.lists(st.tuples(_SAMPLE, _ELAPSED), max_size=30))
def test_no_total_of_a_card_ever_falls(samples: list[tuple[CardSample, float | None]]) -> None:
    tally = CARD
    for each, elapsed_s in samples:
        later = attribution.card_counted(tally, each, elapsed_s)
        assert (later.busy_s or 0) >= (tally.busy_s or 0)
        assert (later.energy_joules or 0) >= (tally.energy_joules or 0)
        assert (later.busy_s is None) <= (tally.busy_s is None), "what was known stays known"
        assert (later.busy_s or 0) - (tally.busy_s or 0) <= attribution.LONGEST_S
        tally = later


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20), st.floats(0, 1e3))
def test_energy_of_a_counter_that_only_grows_is_its_difference(steps: list[float], first: float) -> None:
    told = [first]
    for step in steps:
        told.append(told[-1] + step)
    tally = counted(CARD, *((sample(energy_joules=each), None) for each in told))
    assert tally.energy_joules == pytest.approx(told[-1] - first)


_LOOK = st.tuples(
    st.integers(1, 3),
    st.sampled_from(list(ContainerState)),
    st.none() | st.dictionaries(st.sampled_from(list(UsageCounter)), st.integers(-5, 10**12)),
    st.booleans(),
)


@given(st.lists(_LOOK, max_size=30))
def test_no_total_of_a_container_ever_falls(
    looks: list[tuple[int, ContainerState, dict[UsageCounter, int] | None, bool]],
) -> None:
    tally = replica()
    for number, state, counters, oom in looks:
        seen = replace(container(number, state=state), cause=ExitCause.OOM if oom else None)
        told = None if counters is None else ContainerReading(counters=counters)
        later = attribution.replica_counted(tally, seen, told)
        assert later.restarts >= tally.restarts
        assert all(later.totals[name] >= total for name, total in tally.totals.items())
        assert all(total >= 0 for total in later.totals.values())
        tally = later


@given(st.lists(st.lists(st.integers(0, 1000), min_size=1, max_size=5), min_size=1, max_size=6))
def test_a_total_is_the_sum_of_what_each_run_counted_last(runs: list[list[int]]) -> None:
    """However many starts there were, and however often each was looked at, in growing figures."""
    tally = replica()
    for number, steps in enumerate(runs):
        for until in range(1, len(steps) + 1):
            tally = attribution.replica_counted(
                tally, container(number, started=number), reading(cpu_us=sum(steps[:until]))
            )
    assert tally.totals[CPU] == sum(map(sum, runs))
    assert tally.restarts == len(runs) - 1
