"""What a group costs: exact decimals, one rounding, a line for each part."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.core.policy import PriceScale
from provider.core.pricing import PricePart, parts, rate
from provider.domain.money import BLOCKS_PER_HOUR, Denom
from provider.domain.resources import GpuAsk
from tests.agents import gpu, group, resources, unit

SCALE = PriceScale(
    cpu_core_hour=Decimal(600),
    memory_gib_hour=Decimal(60),
    storage_gib_hour=Decimal(6),
    endpoint_hour=Decimal(3),
    gpu_hour={"h100": Decimal(6000), "*": Decimal(1000)},
    minimum_hour=Decimal(100),
)


def test_every_part_has_its_line() -> None:
    priced = parts(group(unit(count=2)), (gpu(0), gpu(1, "t4")), SCALE)
    assert priced == (
        PricePart(what="cpu cores", amount=Decimal(1), cost=Decimal(600)),
        PricePart(what="memory GiB", amount=Decimal(2), cost=Decimal(120)),
        PricePart(what="storage GiB", amount=Decimal(2), cost=Decimal(12)),
        PricePart(what="endpoints", amount=Decimal(1), cost=Decimal(3)),
        PricePart(what="gpu h100", amount=Decimal(1), cost=Decimal(6000)),
        PricePart(what="gpu t4", amount=Decimal(1), cost=Decimal(1000)),
    )
    assert str(rate(priced, SCALE, Denom.UAKT)) == "12.891666666666666667uakt/block", "7735 an hour"


def test_nothing_costs_less_than_the_minimum() -> None:
    cheap = (PricePart(what="cpu cores", amount=Decimal(1), cost=Decimal(1)),)
    assert rate(cheap, SCALE, Denom.UACT).amount * BLOCKS_PER_HOUR == Decimal("100.0000000000000002")


@pytest.mark.parametrize(
    ("hourly", "per_block"),
    [("600", "1"), ("1", "0.001666666666666667"), ("0.0000000000000001", "0.000000000000000001"), ("0", "0")],
)
def test_a_price_a_block_is_rounded_up_at_the_last_digit(hourly: str, per_block: str) -> None:
    priced = (PricePart(what="all", amount=Decimal(1), cost=Decimal(hourly)),)
    assert rate(priced, PriceScale(), Denom.UACT).amount == Decimal(per_block)


@given(
    cost=st.decimals(min_value=0, max_value=10**12, places=9),
    cores=st.integers(min_value=1, max_value=10**9),
)
def test_the_rounding_never_costs_the_provider_and_hardly_the_tenant(cost: Decimal, cores: int) -> None:
    wanted = group(unit(resources(gpus=GpuAsk(), cpu_millis=cores)))
    priced = parts(wanted, (), PriceScale(cpu_core_hour=cost))
    assert isinstance(priced, tuple)
    exact = Fraction(cost) * Fraction(cores, 1000) / BLOCKS_PER_HOUR
    asked = Fraction(rate(priced, PriceScale(), Denom.UACT).amount)
    assert 0 <= asked - exact < Fraction(1, 10**18)


def test_many_digits_are_added_exactly() -> None:
    """Python's own sums are rounded to 28 digits."""
    costs = [Decimal(10**15), Decimal("0.000000000000000600")]
    priced = tuple(PricePart(what="part", amount=Decimal(1), cost=cost) for cost in costs)
    assert rate(priced, PriceScale(), Denom.UACT).amount == Decimal("1666666666666.666666666666666668")
