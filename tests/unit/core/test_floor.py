"""What a lease costs: no lease of any length, begun whenever, pays less for its power than it draws."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provider.core.floor import WEEK_HOURS, card_watts, dearest_means, kwh_price, parts
from provider.core.policy import PriceFloor
from provider.core.pricing import total
from provider.domain.gpu import MigSlice
from provider.domain.market import Refusal, Refused
from provider.domain.moment import HOUR, MINUTE, Instant, Span
from provider.domain.resources import GpuAsk
from tests.agents import ask, gpu, group, node, resources, unit

FLAT = (Decimal(300_000),) * WEEK_HOURS
MONDAY = Instant(1_699_833_600_000)
"""2023-11-13T00:00:00Z."""
HUNGRY = replace(gpu(0), power_limit_watts=700.0)


def floor(week: tuple[Decimal, ...] = FLAT, **others: object) -> PriceFloor:
    return replace(PriceFloor(kwh_dearest=dearest_means(week)), **others)  # type: ignore[arg-type]


def test_a_flat_tariff_is_itself() -> None:
    assert dearest_means(FLAT) == FLAT


def test_the_night_is_cheap_only_for_those_who_leave_before_the_day() -> None:
    """An hour before the day begins its price counts: a lease may run on into it."""
    week = tuple(Decimal(10 if hour % 24 < 6 else 40) for hour in range(WEEK_HOURS))
    means = dearest_means(week)
    assert means[12] == 40
    assert means[5] == 40
    assert 30 < means[0] < 40, "from midnight on the dearest mean is that until the evening"


@given(
    prices=st.lists(st.integers(0, 100), min_size=WEEK_HOURS, max_size=WEEK_HOURS),
    begins_min=st.integers(0, WEEK_HOURS * 60 - 1),
    lasts_min=st.integers(1, 3 * WEEK_HOURS * 60),
    waits_min=st.integers(0, 180),
)
@settings(max_examples=60)
def test_no_lease_pays_less_for_its_power_than_it_costs(
    prices: list[int], begins_min: int, lasts_min: int, waits_min: int
) -> None:
    week = tuple(Decimal(price) for price in prices)
    bid_at = Instant(MONDAY + begins_min * MINUTE)
    paid = Fraction(kwh_price(floor(week), bid_at, Span(180 * MINUTE))) * lasts_min
    first = begins_min + waits_min
    spent, minute = 0, first
    while minute < first + lasts_min:
        until = min((minute // 60 + 1) * 60, first + lasts_min)
        spent += prices[minute // 60 % WEEK_HOURS] * (until - minute)
        minute = until
    assert spent <= paid


def test_hours_are_those_of_the_operators_clock() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    summer = datetime(2026, 7, 6, 23, 30, tzinfo=berlin)
    week = (*(Decimal(1),) * (WEEK_HOURS - 1), Decimal(1))
    dear = floor(week, zone=berlin, kwh_dearest=tuple(Decimal(hour) for hour in range(WEEK_HOURS)))
    at = Instant(int(summer.timestamp()) * 1000)
    assert kwh_price(dear, at, Span(0)) == 23, "a Monday's last hour"
    winter = summer + timedelta(weeks=24)
    assert kwh_price(dear, Instant(int(winter.timestamp()) * 1000), Span(0)) == 23


def test_the_hours_in_which_the_bid_may_win_count() -> None:
    rising = floor(kwh_dearest=tuple(Decimal(hour) for hour in range(WEEK_HOURS)))
    at = Instant(MONDAY + 59 * MINUTE)
    assert [kwh_price(rising, at, Span(lasts)) for lasts in (0, 5 * MINUTE, HOUR, 2 * HOUR)] == [0, 1, 1, 2]


def test_every_cost_has_its_line() -> None:
    machine = node(HUNGRY, replace(HUNGRY, index=1), gpu(2, "t4"), gpu(3))
    costly = floor(
        host_watts=Decimal(200), wear_gpu_hour={"h100": Decimal(40_000)}, gpu_watts={"t4": Decimal(70)}
    )
    wanted = group(unit(resources(gpus=ask(2), cpu_millis=500)))
    found = parts(wanted, machine.gpus[:3], machine, costly, Decimal(300_000))
    assert not isinstance(found, Refused)
    assert [(each.what, each.amount, each.cost) for each in found] == [
        ("electricity of h100, kWh", Decimal("1.4"), Decimal(420_000)),
        ("electricity of t4, kWh", Decimal("0.07"), Decimal(21_000)),
        ("electricity of the machine, kWh", Decimal("0.15"), Decimal(45_000)),
        ("wear of h100", Decimal(2), Decimal(80_000)),
    ]
    assert total(found) == 566_000


def test_a_group_without_cards_pays_for_its_cores() -> None:
    machine = node(HUNGRY)
    wanted = group(unit(resources(gpus=GpuAsk(), cpu_millis=8_000)))
    found = parts(wanted, (), machine, floor(host_watts=Decimal(200)), Decimal(300_000))
    assert not isinstance(found, Refused)
    assert total(found) == 30_000, "half of the machine's cores"


@pytest.mark.parametrize(
    ("told", "slices", "watts"),
    [({}, None, "700"), ({"h100": 500}, None, "500"), ({}, 1, "100"), ({"h100/mig-1g.10gb": 90}, 1, "90")],
)
def test_watts_are_the_operators_word_or_the_cards_limit(
    told: dict[str, int], slices: int | None, watts: str
) -> None:
    card = HUNGRY
    if slices:
        mig = MigSlice(parent=card.uuid, profile="1g.10gb", gpu_instance=1, compute_instance=0, slices=slices)
        card = replace(card, mig=mig)
    told_watts = {key: Decimal(value) for key, value in told.items()}
    assert card_watts(card, floor(gpu_watts=told_watts)) == Decimal(watts)


def test_a_card_whose_watts_nobody_knows_is_not_sold_below_a_floor() -> None:
    machine = node(gpu(0))
    found = parts(group(), machine.gpus, machine, floor(), Decimal(1))
    assert found == Refused(why=Refusal.GPU_UNKNOWN, required="the watts of h100", available="none are set")
