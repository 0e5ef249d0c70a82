"""What cards draw while they work: what counts, when it is sure and news, what a bid makes of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.core.floor import WEEK_HOURS, card_watts
from provider.core.ledger import Decided
from provider.core.policy import PriceFloor, Watts
from provider.core.wattage import LONGEST_S, REMEMBERED_S, SURE_S, PowerMean, counted, with_watts
from provider.domain.gpu import Gpu, GpuInventory, GpuReading, MigSlice
from provider.domain.ids import GpuUuid
from provider.domain.market import Refusal
from provider.domain.moment import Instant
from tests.agents import POLICY, START, Agent, gpu, node, nodes_read
from tests.unit.core.test_replay import decisions, replayed

CARD = replace(gpu(0), power_limit_watts=700.0)
FLOOR = PriceFloor(kwh_dearest=(Decimal(300_000),) * WEEK_HOURS, watts=Watts.MEASURED)


def reading(second: float, watts: float | None, busy: float | None = 1.0) -> GpuReading:
    at = Instant(START + round(second * 1000))
    return GpuReading(uuid=CARD.uuid, at=at, power_watts=watts, utilization_ratio=busy)


def after_all(readings: Iterable[GpuReading], mean: PowerMean | None = None) -> PowerMean:
    mean = mean or PowerMean()
    for each in readings:
        mean = counted(mean, each)
    return mean


def steady(seconds: float, watts: float, *, begins: float = 0, busy: float = 1.0) -> Iterable[GpuReading]:
    return (reading(begins + second, watts, busy) for second in range(0, round(seconds) + 1, 2))


def test_it_is_told_once_it_was_drawn_for_long_enough() -> None:
    assert after_all(steady(SURE_S - 2, 430)).told is None
    assert after_all(steady(SURE_S, 430)).told == 430


def test_what_a_card_draws_idle_is_no_part_of_it() -> None:
    worked = after_all(steady(SURE_S, 430))
    idle = after_all(steady(3600, 70, begins=700, busy=0.2), worked)
    assert (idle.told, idle.load_s) == (430, worked.load_s)


@pytest.mark.parametrize("wrong", [None, 0.0, -1.0, float("nan"), float("inf")])
def test_a_reading_that_tells_nothing_counts_nothing(wrong: float | None) -> None:
    mean = after_all(steady(SURE_S, 430))
    assert counted(mean, reading(SURE_S + 2, wrong)).watts == mean.watts
    assert counted(mean, reading(SURE_S + 2, 100, busy=None)).watts == mean.watts


def test_a_reading_that_comes_again_and_a_clock_that_is_set_back_count_nothing() -> None:
    mean = after_all(steady(SURE_S, 430))
    assert counted(mean, reading(SURE_S, 100)) == mean
    assert counted(mean, reading(5, 100)).watts == mean.watts


def test_time_in_which_nobody_looked_is_not_made_up() -> None:
    assert after_all([reading(0, 500), reading(3600, 500)]).load_s == LONGEST_S


def test_a_small_move_is_no_news_and_a_large_one_is() -> None:
    mean = after_all(steady(SURE_S, 400))
    assert after_all(steady(SURE_S, 410, begins=SURE_S + 2), mean).told == 400
    moved = after_all(steady(SURE_S, 500, begins=SURE_S + 2), mean)
    assert moved.told is not None
    assert 420 <= moved.told <= 450


@given(st.lists(st.tuples(st.integers(1, 900), st.floats(0, 1)), min_size=2, max_size=200))
def test_it_is_never_more_or_less_than_what_was_drawn_under_load(drawn: list[tuple[int, float]]) -> None:
    mean = after_all(reading(2 * place, watts, busy) for place, (watts, busy) in enumerate(drawn))
    loads = [watts for watts, busy in drawn[1:] if busy >= 0.5]
    assert mean.load_s == 2 * len(loads)
    if loads:
        assert min(loads) - 1e-6 <= mean.watts <= max(loads) + 1e-6


def test_what_was_long_ago_is_forgotten() -> None:
    old = PowerMean(watts=700, load_s=REMEMBERED_S, at=START)
    now = after_all((reading(10 * step, 300) for step in range(1, 4 * 8640)), old)
    assert 300 < now.watts < 310


# --- what is made of it


def test_an_instance_draws_its_share_of_what_its_card_does() -> None:
    mig = MigSlice(parent=CARD.uuid, profile="1g.10gb", gpu_instance=1, compute_instance=0, slices=1)
    part = replace(CARD, uuid=GpuUuid("MIG-1"), mig=mig)
    told = with_watts(GpuInventory(gpus=(CARD, part, gpu(2))), {CARD.uuid: 350})
    whole, part, other = told.gpus
    assert (card_watts(whole, FLOOR), card_watts(part, FLOOR)) == (Decimal(350), Decimal(50))
    assert other.load_watts is None
    assert with_watts(told, {CARD.uuid: 350}) is told


@pytest.mark.parametrize(("wanted", "watts"), [(Watts.MEASURED, 350), (Watts.NAMEPLATE, 600)])
def test_the_setting_says_which_counts(wanted: Watts, watts: int) -> None:
    floor = replace(FLOOR, watts=wanted, gpu_watts={"h100": Decimal(600)})
    assert card_watts(replace(CARD, load_watts=350), floor) == watts
    assert card_watts(CARD, floor) == 600, "the nameplate where nothing was measured"


def measured(watts: int | None) -> Gpu:
    return replace(CARD, load_watts=watts)


def test_what_was_too_dear_is_bid_on_once_the_card_is_known_to_draw_less_and_so_in_a_replay() -> None:
    policy = replace(POLICY, floor=FLOOR)
    agent = Agent(CARD, policy=policy)
    agent.opens(1)
    agent.take(nodes_read(node(measured(150))))
    agent.take(nodes_read(node(measured(690))))
    agent.opens(2)
    found = [each.decision for each in agent.records if isinstance(each, Decided)]
    assert [each.refused.why if each.refused else None for each in found] == [
        Refusal.BELOW_COST,
        None,
        Refusal.GPU_BUSY,
    ]
    verdict = found[1].verdict
    assert [part.what for part in getattr(verdict, "costs", ())] == ["electricity of h100 as measured, kWh"]
    assert decisions(replayed(agent.records, policy)) == decisions(agent.records)
