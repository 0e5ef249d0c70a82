"""Which cards: against trying everything out, on servers as one meets them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provider.core.choosing import (
    SETS_MOST,
    Demand,
    cheapest,
    choose,
    damage,
    is_enough,
    numbers,
    score,
    wants,
)
from provider.core.topology import Topology, bond, topology
from provider.domain.gpu import GpuHealth, GpuInventory, GpuLinkKind
from provider.domain.resources import GpuAlternative, GpuAsk
from tests import boxes

PRICES = {"h100": Decimal(3), "a100": Decimal(2), "*": Decimal(1)}
BOXES = {
    "hgx h100": boxes.hgx_h100(),
    "4090 at two sockets": boxes.four_4090(),
    "bridged a100": boxes.bridged_a100(),
    "dgx a100 with mig": boxes.dgx_a100_with_mig(),
    "mixed": boxes.mixed(),
}
ANY = GpuAlternative(vendor="nvidia")
ASKS = (
    ANY,
    GpuAlternative(vendor="nvidia", model="h100"),
    GpuAlternative(vendor="nvidia", model="a100"),
    GpuAlternative(vendor="nvidia", model="rtx4090"),
    GpuAlternative(vendor="nvidia", ram="24Gi"),
    GpuAlternative(vendor="nvidia", model="a100", ram="40Gi"),
)


def of(box: str) -> Topology:
    return topology(BOXES[box], PRICES)


def demand(
    cards: Topology, number: int, units: int, *alternatives: GpuAlternative, replica: int = 0
) -> Demand:
    those = cards.fitting(GpuAsk(units=units, alternatives=alternatives or (ANY,)))
    return Demand(resources_id=number, replica=0, units=units, cards=those)


def every_way(demands: Sequence[Demand], free: int) -> Iterator[tuple[tuple[int, ...], ...]]:
    """All there is, in the order of ``demands``."""
    if not demands:
        yield ()
        return
    first, *rest = demands
    for cards in combinations(numbers(first.cards & free), first.units):
        left = free
        for each in cards:
            left &= ~(1 << each)
        for others in every_way(rest, left):
            yield (cards, *others)


def in_turn(demands: Sequence[Demand], free: int) -> list[Demand]:
    """The replica with the least choice first."""
    return sorted(
        demands,
        key=lambda each: ((each.cards & free).bit_count(), -each.units, each.resources_id, each.replica),
    )


some_asks = st.lists(st.sampled_from(ASKS), min_size=1, max_size=2, unique=True)


@st.composite
def questions(draw: st.DrawFn) -> tuple[Topology, list[Demand], int]:
    cards = of(draw(st.sampled_from(sorted(BOXES))))
    free = draw(st.integers(0, (1 << len(cards.cards)) - 1)) & cards.sound
    demands = [
        demand(
            cards,
            number,
            draw(st.integers(1, 3)),
            *draw(st.sets(st.sampled_from(ASKS), min_size=1, max_size=2)),
        )
        for number in range(draw(st.integers(1, 3)))
    ]
    return cards, demands, free


@settings(max_examples=300)
@given(questions())
def test_the_choice_is_the_best_for_each_in_turn(
    question: tuple[Topology, list[Demand], int],
) -> None:
    cards, demands, free = question
    chosen = choose(cards, demands, free)
    turn = in_turn(demands, free)
    ways = list(every_way(turn, free))
    assert (chosen is None) == (not ways), "a choice is found whenever there is one"
    assert is_enough(wants(demands), free) == bool(ways)
    if chosen is None:
        return
    found = tuple(chosen[each.resources_id, each.replica] for each in turn)
    assert found in ways
    assert chosen == choose(cards, list(reversed(demands)), free), "the order of asking does not matter"
    for number, each in enumerate(turn):
        left = free
        for earlier in found[:number]:
            for card in earlier:
                left &= ~(1 << card)
        possible = {way[number] for way in ways if way[:number] == found[:number]}
        assert score(cards, found[number], left) == min(score(cards, those, left) for those in possible), each


def by_worth(cards: Topology, free: int) -> list[int]:
    return sorted(numbers(free), key=cards.worth.__getitem__)


@settings(max_examples=200)
@given(questions())
def test_the_cheapest_is_the_cheapest(question: tuple[Topology, list[Demand], int]) -> None:
    cards, demands, free = question
    costs = [sum(cards.worth[card] for those in way for card in those) for way in every_way(demands, free)]
    if costs:
        taken = cheapest(demands, by_worth(cards, free))
        assert sum(cards.worth[card] for card in numbers(taken)) == min(costs)
        assert choose(cards, demands, taken) is not None


def test_a_pair_that_is_bridged_is_taken_and_the_last_whole_pair_is_kept() -> None:
    cards = of("bridged a100")
    assert choose(cards, [demand(cards, 1, 2)], 0b11111101) == {(1, 0): (2, 3)}
    assert choose(cards, [demand(cards, 1, 1)], 0b11111101) == {(1, 0): (0,)}, "its neighbour is gone already"
    assert choose(cards, [demand(cards, 1, 4)], 0b11111111) == {(1, 0): (0, 1, 2, 3)}
    assert choose(cards, [demand(cards, 1, 4)], 0b11110111) == {(1, 0): (4, 5, 6, 7)}


def test_small_orders_go_where_a_set_is_broken_already() -> None:
    cards = of("4090 at two sockets")
    assert choose(cards, [demand(cards, 1, 1)], 0b1110) == {(1, 0): (1,)}
    assert damage(cards, 0b0010, 0b1110) < damage(cards, 0b0100, 0b1110)
    assert choose(cards, [demand(cards, 1, 2)], 0b1110) == {(1, 0): (2, 3)}


def test_one_model_before_a_wider_bond_and_the_cheaper_one_for_whoever_takes_any() -> None:
    cards = of("mixed")
    assert choose(cards, [demand(cards, 1, 1)], cards.sound) == {(1, 0): (0,)}
    pair = choose(cards, [demand(cards, 1, 2)], 0b001111)
    assert pair == {(1, 0): (1, 3)}, "two h100 rather than a 4090 beside anything"
    assert cheapest([demand(cards, 1, 2)], by_worth(cards, 0b001111)) == 0b000101


def test_a_card_that_is_cut_is_not_sold_whole_and_an_instance_only_to_who_asked_for_its_size() -> None:
    cards = of("dgx a100 with mig")
    whole = GpuAlternative(vendor="nvidia", model="a100")
    assert cards.fitting(GpuAsk(units=1, alternatives=(whole,))) == 0b11
    assert cards.fitting(GpuAsk(units=1, alternatives=(replace(whole, ram="80Gi"),))) == 0b11
    assert cards.fitting(GpuAsk(units=1, alternatives=(replace(whole, ram="40Gi"),))) == 0b0001110000
    assert cards.fitting(GpuAsk(units=1, alternatives=(replace(ANY, ram="10Gi"),))) == 0b1110000000
    assert cards.fitting(GpuAsk(units=1, alternatives=(ANY,))) == 0b1111110011
    halves = choose(cards, [demand(cards, 1, 2, replace(whole, ram="40Gi"))], cards.sound)
    assert halves == {(1, 0): (4, 5)}, "both of one card"
    last = choose(cards, [demand(cards, 1, 1, replace(whole, ram="40Gi"))], cards.sound & ~(1 << 4))
    assert last == {(1, 0): (5,)}, "what is left of a card that is begun"


def test_an_instance_of_a_card_that_failed_is_not_sold() -> None:
    inventory = boxes.dgx_a100_with_mig()
    gpus = tuple(
        replace(gpu, health=GpuHealth.UNHEALTHY) if gpu.uuid == "GPU-3" else gpu for gpu in inventory.gpus
    )
    assert topology(replace(inventory, gpus=gpus), PRICES).sound == 0b0000110011


def test_many_cards_are_not_tried_out_set_by_set() -> None:
    cards = tuple(boxes.card(number, "h100", numa=number // 8) for number in range(16))
    links = tuple(
        boxes.link(one, other, GpuLinkKind.NVSWITCH if one // 8 == other // 8 else GpuLinkKind.SYSTEM)
        for one, other in combinations(range(16), 2)
    )
    two_boards = topology(GpuInventory(gpus=cards, links=links), PRICES)
    free = two_boards.sound & ~0b1
    assert len(list(combinations(range(15), 8))) > SETS_MOST
    chosen = choose(two_boards, [demand(two_boards, 1, 8)], free)
    assert chosen == {(1, 0): tuple(range(8, 16))}
    both = [demand(two_boards, 1, 8), demand(two_boards, 2, 7)]
    assert choose(two_boards, both, free) == {(1, 0): tuple(range(8, 16)), (2, 0): tuple(range(1, 8))}


@pytest.mark.parametrize(
    ("width", "said"),
    [(0, "system"), (100, "nvswitch"), (17, "nvlink x12"), (5, "nvlink"), (200, "one card")],
)
def test_bonds_have_names(width: int, said: str) -> None:
    assert bond(width) == said


def test_a_topology_is_worked_out_once_an_inventory() -> None:
    box = boxes.hgx_h100()
    assert topology(box, PRICES) is topology(box, PRICES)
    assert topology(replace(box), PRICES) is not topology(box, PRICES)
