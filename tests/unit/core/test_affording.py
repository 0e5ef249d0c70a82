"""Which cards an order pays for, against every way there is to serve it; and how it is told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from provider.core import affording
from provider.core.admission import Accepted, decide
from provider.core.affording import differ
from provider.core.choosing import Demand, is_enough, numbers, wants
from provider.core.floor import WEEK_HOURS
from provider.core.policy import PriceFloor, PriceScale, Watts
from provider.core.state import AgentState
from provider.core.topology import topology
from provider.domain.gpu import GpuInventory
from provider.domain.ids import NodeName
from provider.domain.market import Refusal, Refused
from provider.domain.node import Node
from provider.domain.resources import GpuAlternative
from tests import boxes
from tests.agents import CAPABLE, POLICY, ROOMY, START, ask, group, order, resources, unit

ANY = GpuAlternative(vendor="nvidia")
KWH = Decimal(6_000)
"""10 a block."""


def demand(number: int, units: int, cards: int) -> Demand:
    return Demand(resources_id=number, replica=0, units=units, cards=cards)


def every_way(demands: Sequence[Demand], free: int) -> Iterator[int]:
    if not demands:
        yield 0
        return
    first, *rest = demands
    for those in combinations(numbers(first.cards & free), first.units):
        taken = sum(1 << card for card in those)
        yield from (taken | others for others in every_way(rest, free & ~taken))


@st.composite
def questions(draw: st.DrawFn) -> tuple[tuple[int, int], dict[int, tuple[int, int]], list[Demand]]:
    """Up to seven cards, most of which are the cheaper by the list the more they cost."""
    count = draw(st.integers(2, 7))
    listed = [draw(st.integers(0, 12)) for _ in range(count)]
    costs = [max(12 - each + draw(st.integers(-3, 3)), 0) for each in listed]
    demands = [
        demand(number, draw(st.integers(1, 3)), draw(st.integers(1, 2**count - 1)))
        for number in range(draw(st.integers(1, 3)))
    ]
    units = sum(each.units for each in demands)
    most = draw(st.integers(4 * units, 9 * units)), draw(st.integers(4 * units, 9 * units))
    return most, dict(enumerate(zip(listed, costs, strict=True))), demands


@settings(max_examples=500)
@given(questions())
def test_cards_are_found_if_any_are_paid_for(
    question: tuple[tuple[int, int], dict[int, tuple[int, int]], list[Demand]],
) -> None:
    most, prices, demands = question
    free = sum(1 << card for card in prices)
    if not is_enough(wants(demands), free):
        return
    sums = {
        way: tuple(sum(prices[card][side] for card in numbers(way)) for side in (0, 1))
        for way in every_way(demands, free)
    }
    paid = {way for way, (listed, cost) in sums.items() if listed <= most[0] and cost <= most[1]}
    found = affording._within(most, prices, demands)
    assert found in paid if paid else found is None


def test_a_way_that_is_cheapest_by_no_mean_is_found() -> None:
    prices = {0: (0, 10), 1: (10, 0), 2: (6, 6)}
    assert affording._within((7, 7), prices, [demand(1, 1, 0b111)]) == 0b100
    assert affording._within((5, 5), prices, [demand(1, 1, 0b111)]) is None
    assert affording._within((5, 5), prices, [demand(1, 2, 0b111)]) is None
    assert affording._within((10, 10), prices, [demand(1, 2, 0b111)]) == 0b011


def host(listed: dict[str, int], watts: dict[str, int], *models: str) -> AgentState:
    """A card of each of ``models``, at prices of so many kilowatt-hours, with so many kilowatts."""
    cards = tuple(boxes.card(number, model) for number, model in enumerate(models))
    floor = PriceFloor(
        kwh_dearest=(KWH,) * WEEK_HOURS,
        gpu_watts={model: Decimal(each * 1_000) for model, each in watts.items()},
    )
    prices = PriceScale(gpu_hour={model: each * KWH for model, each in listed.items()})
    return AgentState(
        policy=replace(POLICY, price=prices, floor=floor),
        nodes=(Node(name=NodeName("mixed"), capacity=ROOMY, inventory=GpuInventory(gpus=cards)),),
        runtime=CAPABLE,
    )


def bid_on(state: AgentState, pays: int, units: int = 1) -> Accepted | Refused:
    """The verdict on an order for any ``units`` cards that pays for so many kilowatt-hours an hour."""
    of = group(unit(resources(gpus=ask(units, ANY)), price=10 * pays))
    return decide(order(1, of), state, START).verdict


def test_the_cheapest_by_the_list_may_be_the_dearest_to_run() -> None:
    state = host({"h100": 9, "a100": 1, "l40s": 5}, {"h100": 1, "a100": 9, "l40s": 5}, "h100", "a100", "l40s")
    verdict = bid_on(state, 6)
    assert isinstance(verdict, Accepted)
    assert [offer.model for offer in verdict.bid.gpus] == ["l40s"]
    assert verdict.picked == "1 of 3 free cards, of those that the order pays for"
    short = bid_on(state, 4)
    assert isinstance(short, Refused)
    assert short.why is Refusal.BELOW_COST


def test_a_card_of_which_nobody_knows_the_watts_is_not_in_the_way() -> None:
    listed = {"h100": 1, "a100": 2, "l40s": 3}
    state = host(listed, {"a100": 9, "l40s": 1}, "h100", "a100", "l40s")
    cards = tuple(replace(card, power_limit_watts=None) for card in state.nodes[0].gpus)
    state = replace(state, nodes=(replace(state.nodes[0], inventory=GpuInventory(gpus=cards)),))
    verdict = bid_on(state, 5)
    assert isinstance(verdict, Accepted)
    assert [offer.model for offer in verdict.bid.gpus] == ["l40s"]


def test_of_like_cards_those_that_really_draw_less_are_taken_where_only_they_are_paid_for() -> None:
    state = host({"*": 1}, {}, "h100", "h100", "h100")
    cards = tuple(
        replace(card, load_watts=watts)
        for card, watts in zip(state.nodes[0].gpus, (9_000, 2_000, 3_000), strict=True)
    )
    floor = replace(state.policy.floor or PriceFloor(kwh_dearest=()), watts=Watts.MEASURED)
    node = replace(state.nodes[0], inventory=GpuInventory(gpus=cards))
    state = replace(state, policy=replace(state.policy, floor=floor), nodes=(node,))
    verdict = bid_on(state, 5, units=2)
    assert isinstance(verdict, Accepted)
    assert verdict.placement.gpus == (cards[1].uuid, cards[2].uuid)
    assert isinstance(bid_on(state, 4, units=2), Refused)
    assert differ(topology(node.inventory, state.policy.price.gpu_hour), state.policy), "what is free matters"
