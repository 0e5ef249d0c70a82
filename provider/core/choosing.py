"""Which cards each replica gets, of those that are free and fit: exact about whether, good about which.

A replica's cards are chosen in this order: of one model; the narrowest of their bonds as wide as can be; all
bonds together; the cheapest; what breaks the fewest and smallest sets of near cards; the lowest numbers. The
replica with the least choice chooses first, and never so that nothing is left for another. Pure; sets of
cards are integers, as in ``topology``. Invariant: there is a choice whenever one exists.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

from provider.core.topology import Topology

SETS_MOST = 256
"""So many sets are compared one by one; beyond, one is grown from each card by its nearest."""
Want = tuple[int, int]
"""The cards that would do, and how many of them are wanted."""
Score = tuple[int, int, int, int, int, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """One replica's."""

    resources_id: int
    replica: int
    units: int
    cards: int
    """Those that would do."""


def choose(
    topology: Topology, demands: Sequence[Demand], free: int
) -> dict[tuple[int, int], tuple[int, ...]] | None:
    """The cards of each replica, by resource unit and number; None where there is no choice."""
    waiting = [each for each in demands if each.units]
    if len(waiting) > 1:
        waiting.sort(
            key=lambda each: ((each.cards & free).bit_count(), -each.units, each.resources_id, each.replica)
        )
    chosen: dict[tuple[int, int], tuple[int, ...]] = {
        (each.resources_id, each.replica): () for each in demands if not each.units
    }
    if not is_enough(wants(waiting), free):
        return None
    for number, demand in enumerate(waiting, start=1):
        rest = wants(waiting[number:])
        cards = _best(topology, demand, rest, free)
        chosen[demand.resources_id, demand.replica] = cards
        for card in cards:
            free &= ~(1 << card)
    return chosen


def wants(demands: Iterable[Demand]) -> tuple[Want, ...]:
    """Replicas that would do with the same cards are one want."""
    amounts: dict[int, int] = {}
    for demand in demands:
        if demand.units:
            amounts[demand.cards] = amounts.get(demand.cards, 0) + demand.units
    return tuple(amounts.items())


def is_enough(wanted: Sequence[Want], free: int) -> bool:
    """Whether everybody can be served at once."""
    if not wanted:
        return True
    if len(wanted) == 1:
        cards, amount = wanted[0]
        return (cards & free).bit_count() >= amount
    amount = sum(each for _, each in wanted)
    if free.bit_count() < amount or any((cards & free).bit_count() < each for cards, each in wanted):
        return False
    return sum(map(len, matched(wanted, numbers(free)))) == amount


def matched(wanted: Sequence[Want], cards: Iterable[int]) -> list[list[int]]:
    """For each want its cards: as many as can be served in all, with earlier cards before later ones.

    Augmenting paths; the cards that are taken are of the least total rank, if ``cards`` are sorted by rank,
    because the sets of cards that can be served together are the independent sets of a matroid.
    """
    held: list[list[int]] = [[] for _ in wanted]

    def enter(card: int, seen: set[int]) -> bool:
        for number, (fitting, amount) in enumerate(wanted):
            if number in seen or not fitting >> card & 1:
                continue
            seen.add(number)
            if len(held[number]) < amount:
                held[number].append(card)
                return True
            for place, other in enumerate(held[number]):
                if enter(other, seen):
                    held[number][place] = card
                    return True
        return False

    for card in cards:
        enter(card, set())
    return held


def cheapest(demands: Sequence[Demand], ranked: Iterable[int]) -> int:
    """Those of ``ranked`` cards, the cheapest first, to serve ``demands`` with that cost least together.

    None of them is left over. There has to be a way to serve everybody."""
    taken = 0
    for cards in matched(wants(demands), ranked):
        for card in cards:
            taken |= 1 << card
    return taken


def numbers(cards: int) -> Iterator[int]:
    """The numbers of the bits that are set, lowest first."""
    while cards:
        lowest = cards & -cards
        yield lowest.bit_length() - 1
        cards ^= lowest


def _best(topology: Topology, demand: Demand, rest: Sequence[Want], free: int) -> tuple[int, ...]:
    if demand.units == 1 and not rest:
        return (_single(topology, demand.cards & free, free),)
    best: tuple[Score, tuple[int, ...]] | None = None
    for cards in _sets(topology, tuple(numbers(demand.cards & free)), demand.units):
        scored = score(topology, cards, free)
        if (best is None or scored < best[0]) and is_enough(rest, free & ~_as_bits(cards)):
            best = scored, cards
    if best is not None:
        return best[1]
    # None of the sets that were grown leaves enough for the others: any that does will do.
    served = matched([(demand.cards, demand.units), *rest], numbers(free))
    return tuple(sorted(served[0]))


def _single(topology: Topology, cards: int, free: int) -> int:
    """The best of ``cards`` by ``score``, as far as that can differ between single ones."""
    cheapest_ones = next(those & cards for those in topology.ranks if those & cards)
    if not topology.islands:
        return next(numbers(cheapest_ones))
    return min(numbers(cheapest_ones), key=lambda card: (damage(topology, 1 << card, free), card))


def _as_bits(cards: Iterable[int]) -> int:
    bits = 0
    for card in cards:
        bits |= 1 << card
    return bits


def _sets(topology: Topology, cards: Sequence[int], size: int) -> Iterator[tuple[int, ...]]:
    if comb(len(cards), size) <= SETS_MOST:
        yield from combinations(cards, size)
        return
    for seed in cards:
        near = topology.widths[seed]
        grown, left = [seed], [card for card in cards if card != seed]
        narrowest = {card: near[card] for card in left}
        while len(grown) < size:
            nearest = max(left, key=lambda card: (narrowest[card], -topology.worth[card], -card))
            left.remove(nearest)
            grown.append(nearest)
            for card in left:
                narrowest[card] = min(narrowest[card], topology.widths[nearest][card])
        yield tuple(sorted(grown))


def score(topology: Topology, cards: tuple[int, ...], free: int) -> Score:
    """The less, the better a choice out of ``free``."""
    worth = sum(topology.worth[card] for card in cards)
    models = narrowest = bonds = 0
    if len(cards) > 1:
        widths = [topology.widths[one][other] for one, other in combinations(cards, 2)]
        narrowest, bonds = min(widths), sum(widths)
        models = len({topology.cards[card].model for card in cards})
    return models, -narrowest, -bonds, worth, damage(topology, _as_bits(cards), free), cards


def damage(topology: Topology, cards: int, free: int) -> int:
    """What taking ``cards`` costs those who want many near cards later.

    Of each set of near cards its free ones count by their square: the larger a set that is still whole, the
    dearer a card out of it.
    """
    lost = 0
    for island in topology.islands:
        taken = (cards & island).bit_count()
        if taken:
            whole = (free & island).bit_count()
            lost += whole * whole - (whole - taken) ** 2
    return lost
