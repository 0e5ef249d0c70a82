"""What a group costs by the price list: exact decimals, one rounding, a line for each part."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.core.policy import PriceScale
from provider.core.pricing import highest_hour, part, parts, rate, total
from provider.domain.market import Refusal, Refused
from provider.domain.money import BLOCKS_PER_HOUR, Denom, Rate
from provider.domain.price import PricePart
from provider.domain.resources import GIB, Attribute, Endpoint, EndpointKind, GpuAsk, Volume
from tests.agents import HTTP, gpu, group, resources, unit

ONE = Decimal(1)
SCALE = PriceScale(
    cpu_core_hour=Decimal(600),
    memory_gib_hour=Decimal(60),
    storage_gib_hour=Decimal(6),
    storage_class_gib_hour={"beta3": Decimal(9)},
    endpoint_hour=Decimal(3),
    ip_hour=Decimal(50),
    gpu_hour={"h100": Decimal(6000), "*": Decimal(1000)},
)


def costs(priced: tuple[PricePart, ...] | Refused) -> dict[str, tuple[Decimal, Decimal]]:
    assert not isinstance(priced, Refused)
    return {each.what: (each.amount, each.cost) for each in priced}


def persistent(name: str, of: str, size: int) -> Volume:
    attributes = (Attribute(key="class", value=of), Attribute(key="persistent", value="true"))
    return Volume(name=name, size_bytes=size, attributes=attributes)


def test_every_part_has_its_line() -> None:
    priced = parts(group(unit(count=2)), (gpu(0), gpu(1, "t4"), gpu(2)), SCALE)
    assert priced == (
        part("cpu cores", Decimal(1), Decimal(600)),
        part("memory GiB", Decimal(2), Decimal(60)),
        part("storage GiB", Decimal(2), Decimal(6)),
        part("endpoints", Decimal(1), Decimal(3)),
        part("gpu h100", Decimal(2), Decimal(6000)),
        part("gpu t4", Decimal(1), Decimal(1000)),
    )
    assert str(rate(total(priced), ONE, Denom.UAKT)) == "22.891666666666666667uakt/block", "13735 an hour"


def test_storage_is_priced_by_class_and_an_address_once() -> None:
    shared = Endpoint(kind=EndpointKind.LEASED_IP, sequence_number=1)
    other = replace(shared, sequence_number=2)
    volumes = (
        Volume(name="default", size_bytes=GIB),
        Volume(name="shm", size_bytes=GIB, attributes=(Attribute(key="class", value="ram"),)),
        persistent("cold", "beta1", 10 * GIB),
        persistent("hot", "beta3", 10 * GIB),
    )
    of = replace(resources(gpus=GpuAsk()), storage=volumes, endpoints=(HTTP, shared, shared, other))
    second = replace(of, id=2, endpoints=(shared,))
    assert costs(parts(group(unit(of, count=2), unit(second)), (), SCALE)) == {
        "cpu cores": (Decimal("1.5"), Decimal(900)),
        "memory GiB": (Decimal(6), Decimal(360)),
        "storage GiB": (Decimal(3), Decimal(18)),
        "storage beta1 GiB": (Decimal(30), Decimal(180)),
        "storage beta3 GiB": (Decimal(30), Decimal(270)),
        "endpoints": (Decimal(1), Decimal(3)),
        "leased IPs": (Decimal(2), Decimal(100)),
    }


def test_a_card_without_a_price_is_refused() -> None:
    priced = parts(group(), (gpu(0),), replace(SCALE, gpu_hour={"a100": Decimal(1)}))
    assert priced == Refused(why=Refusal.GPU_UNKNOWN, required="a price for h100", available="none is set")


@pytest.mark.parametrize(
    ("hourly", "per_block"),
    [("600", "1"), ("1", "0.001666666666666667"), ("0.0000000000000001", "0.000000000000000001"), ("0", "0")],
)
def test_a_price_a_block_is_rounded_up_at_the_last_digit(hourly: str, per_block: str) -> None:
    assert rate(Decimal(hourly), ONE, Denom.UACT).amount == Decimal(per_block)


def test_a_currency_is_worth_what_the_operator_says() -> None:
    assert rate(Decimal(600), Decimal("0.25"), Denom.UAKT).amount == 4
    assert highest_hour(Rate(amount=Decimal(4), denom=Denom.UAKT), Decimal("0.25")) == 600


@given(
    cost=st.decimals(min_value=0, max_value=10**12, places=9),
    cores=st.integers(min_value=1, max_value=10**9),
    worth=st.decimals(min_value="0.000001", max_value=10**6, places=6),
)
def test_the_rounding_never_costs_the_provider_and_hardly_the_tenant(
    cost: Decimal, cores: int, worth: Decimal
) -> None:
    wanted = group(unit(resources(gpus=GpuAsk(), cpu_millis=cores)))
    priced = parts(wanted, (), PriceScale(cpu_core_hour=cost))
    assert isinstance(priced, tuple)
    exact = Fraction(cost) * Fraction(cores, 1000) / BLOCKS_PER_HOUR / Fraction(worth)
    asked = Fraction(rate(total(priced), worth, Denom.UACT).amount)
    assert 0 <= asked - exact < Fraction(1, 10**18)


@given(
    cores=st.integers(min_value=1, max_value=64_000),
    more=st.integers(min_value=0, max_value=64_000),
    cards=st.integers(min_value=0, max_value=4),
    count=st.integers(min_value=1, max_value=5),
)
def test_more_never_costs_less(cores: int, more: int, cards: int, count: int) -> None:
    def price(cpu_millis: int, of_cards: int, replicas: int) -> Decimal:
        wanted = group(unit(resources(gpus=GpuAsk(), cpu_millis=cpu_millis), count=replicas))
        priced = parts(wanted, tuple(gpu(number) for number in range(of_cards)), SCALE)
        assert isinstance(priced, tuple)
        return total(priced)

    least = price(cores, cards, count)
    assert least <= price(cores + more, cards, count)
    assert least < price(cores, cards + 1, count)
    assert least < price(cores, cards, count + 1)


def test_many_digits_are_added_exactly() -> None:
    """Python's own sums are rounded to 28 digits."""
    hourly = total(
        PricePart(what="part", amount=ONE, cost=cost)
        for cost in (Decimal(10**15), Decimal("0.000000000000000600"))
    )
    assert rate(hourly, ONE, Denom.UACT).amount == Decimal("1666666666666.666666666666666668")
