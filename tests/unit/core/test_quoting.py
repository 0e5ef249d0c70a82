"""A price between what it costs and what the order allows, whatever the strategy says."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.core.floor import WEEK_HOURS
from provider.core.policy import Policy, PriceFloor, PriceScale
from provider.core.pricing import total
from provider.core.quoting import Sale, quote
from provider.domain.market import GroupSpec, Refusal, Refused
from provider.domain.money import BLOCKS_PER_HOUR, Denom
from provider.domain.price import Quote
from tests.agents import POLICY, START, gpu, group, node, resources, unit

CARD = replace(gpu(0), power_limit_watts=700.0)
NODE = node(CARD)


def sale(of: GroupSpec | None = None) -> Sale:
    return Sale(group=of or group(), gpus=(CARD,), node=NODE, at=START)


def costing(kwh: Decimal | str | int, **others: object) -> Policy:
    floor = PriceFloor(kwh_dearest=(Decimal(kwh),) * WEEK_HOURS)
    return replace(POLICY, floor=floor, **others)  # type: ignore[arg-type]


def quoted(policy: Policy, of: GroupSpec | None = None) -> Quote:
    found = quote(sale(of), policy)
    assert isinstance(found, Quote), found
    return found


def test_the_list_price_stands_where_it_covers_what_it_costs() -> None:
    found = quoted(costing(6_000))
    assert total(found.costs) == 4_200
    assert total(found.parts) == 6_300
    assert found.rate.amount == Decimal("10.5")


def test_a_price_below_cost_is_raised_to_it() -> None:
    found = quoted(costing(10_000))
    assert [each.what for each in found.parts][-1] == "raised to what it costs"
    assert total(found.parts) == total(found.costs) == 7_000


def test_an_order_that_pays_less_than_it_costs_is_refused_with_both_figures() -> None:
    refused = quote(sale(), costing(100_000))
    assert str(refused) == ("below cost (required 116.666666666666666667uact/block, available 100uact/block)")


def test_an_order_that_pays_exactly_what_it_costs_is_served() -> None:
    found = quoted(costing("85714.28"), group(unit(price="99.99999333333333334")))
    assert found.rate.amount <= Decimal("99.99999333333333334")


def test_the_least_that_is_bid_is_a_line_too() -> None:
    found = quoted(replace(POLICY, price=replace(POLICY.price, minimum_hour=Decimal(30_000))))
    assert found.parts[-1].what == "raised to the least that is bid"
    assert found.rate.amount == 50


def test_a_price_in_another_currency_is_what_that_is_worth() -> None:
    policy = replace(POLICY, worth={Denom.UAKT: Decimal("0.5")})
    unit_in_akt = replace(unit(), price=replace(unit().price, denom=Denom.UAKT))
    found = quoted(policy, group(unit_in_akt))
    assert str(found.rate) == "21uakt/block"


prices = st.decimals(min_value=0, max_value=10**9, places=6)


@given(
    listed=st.tuples(prices, prices, prices),
    kwh=prices,
    most=st.decimals(min_value="0.000001", max_value=10**7, places=6),
    worth=st.decimals(min_value="0.0001", max_value=10**4, places=4),
    cores=st.integers(min_value=1, max_value=64_000),
)
def test_between_cost_and_the_orders_most(
    listed: tuple[Decimal, Decimal, Decimal], kwh: Decimal, most: Decimal, worth: Decimal, cores: int
) -> None:
    cpu, card, minimum = listed
    scale = PriceScale(cpu_core_hour=cpu, gpu_hour={"*": card}, minimum_hour=minimum)
    policy = costing(kwh, price=scale, worth={Denom.UACT: worth})
    of = group(unit(resources(cpu_millis=cores), price=str(most)))
    found = quote(sale(of), policy)
    assert found == quote(sale(of), policy), "same question, same answer"
    if isinstance(found, Refused):
        assert found.why in (Refusal.PRICE_TOO_LOW, Refusal.BELOW_COST)
        required = Fraction(Decimal(found.required.removesuffix("uact/block")))
        assert required > Fraction(most)
        return
    hourly = Fraction(found.rate.amount) * BLOCKS_PER_HOUR * Fraction(worth)
    assert found.floor is not None
    assert found.floor.amount <= found.rate.amount <= most
    assert hourly >= Fraction(total(found.costs)) >= 0
    assert hourly >= Fraction(minimum)
    assert (
        0
        <= Fraction(found.rate.amount) - Fraction(total(found.parts)) / BLOCKS_PER_HOUR / Fraction(worth)
        < Fraction(1, 10**18)
    )
    assert all(isinstance(each.cost, Decimal) for each in (*found.parts, *found.costs))


@pytest.mark.parametrize("kwh", [0, 1])
def test_without_a_floor_nothing_is_said_of_cost(kwh: int) -> None:
    assert (quoted(costing(kwh)).costs == ()) is (kwh == 0)
    assert (quoted(POLICY).floor, quoted(POLICY).costs) == (None, ())
