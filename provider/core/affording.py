"""Which cards an order pays for, where neither the best nor the cheapest by the list will do.

What a card is sold for and what it costs its operator may pull apart: the cheapest by the list may draw the
most. A bid is above both, and both are sums over cards, so that whether any cards pay is a question of its
own. Owns that question; what the sums are is ``pricing``'s and ``floor``'s, who can be served by which cards
``choosing``'s. Pure. Invariant: if any cards serve everybody at sums that the order pays, such are found,
unless more than ``WAYS_MOST`` ways would have to be kept in mind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import accumulate

from provider.core import floor as floors
from provider.core import pricing
from provider.core.choosing import Demand, Want, cheapest, is_enough, numbers, wants
from provider.core.policy import Policy, PriceStrategy
from provider.core.remembered import by_identity
from provider.core.topology import KEPT_MOST, Topology
from provider.domain.gpu import Gpu
from provider.domain.market import GroupSpec, Refused
from provider.domain.moment import Instant
from provider.domain.node import Node

WAYS_MOST = 512
"""Ways to begin with. An order that is made to take more must not hold up the others."""
_FINE = 10**60
"""Sums are whole numbers of such parts: prices are kept to 60 digits."""
Price = tuple[int, int]
"""Of cards an hour, in ``_FINE`` parts of a micro-unit: by the list (0 where that does not say what is bid),
and what they cost."""
Way = tuple[int, int, int]
"""The ``Price`` of some cards, and which they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Who wants to be served on which node, and from when on."""

    group: GroupSpec
    node: Node
    at: Instant


def affordable(
    wish: Wish, policy: Policy, cards: Topology, demands: Sequence[Demand], free: int
) -> int | None:
    """Cards out of ``free`` that serve ``demands`` and are paid for, none left over; None where none are.

    None, too, where all cost the same, or nothing but the list counts: then the best and the cheapest by the
    list are all there is to try.
    """
    wanted = wants(demands)
    if policy.floor is None or not wanted:
        return None
    kwh = floors.kwh_price(policy.floor, wish.at, policy.bid_lifetime)
    all_prices = _prices(cards, policy, kwh)
    if len({all_prices[card] for card in numbers(free)}) < 2:
        return None
    prices = {card: price for card in numbers(free) if (price := all_prices[card]) is not None}
    most = _most(wish, policy, kwh, sum(amount for _, amount in wanted))
    if most is None or not is_enough(wanted, sum(1 << card for card in prices)):
        return None
    return _within(most, prices, demands)


@by_identity(most=KEPT_MOST)
def differ(cards: Topology, policy: Policy) -> bool:
    """Whether it matters for the price which of ``cards`` an order gets, whatever electricity costs."""
    if len(cards.ranks) > 1 or policy.floor is None:
        return len(cards.ranks) > 1
    dry, wet = (_prices(cards, policy, kwh) for kwh in (pricing.NOTHING, pricing.ONE))
    return len(set(zip(dry, wet, strict=True))) > 1


@by_identity(most=KEPT_MOST)
def _prices(cards: Topology, policy: Policy, kwh: Decimal) -> tuple[Price | None, ...]:
    """Of each card; None of one that is not sold because somebody has yet to tell its price or watts."""
    return tuple(_price(gpu, policy, kwh) for gpu in cards.cards)


def _price(gpu: Gpu, policy: Policy, kwh: Decimal) -> Price | None:
    listed = () if policy.strategy.is_asked else pricing.card_parts("gpu", (gpu,), policy.price.gpu_hour)
    costs = floors.of_cards((gpu,), policy.floor, kwh) if policy.floor is not None else ()
    if isinstance(listed, Refused) or isinstance(costs, Refused):
        return None
    is_bid = policy.strategy is PriceStrategy.SCALE
    return _fine(pricing.total(listed)) if is_bid else 0, _fine(pricing.total(costs))


def _most(wish: Wish, policy: Policy, kwh: Decimal, units: int) -> Price | None:
    """What so many cards may come to, so that the order pays for the rest as well; None where it does not."""
    assert policy.floor is not None, "or nothing costs anything"
    highest = wish.group.max_rate
    pays = pricing.highest_hour(highest, policy.worth_of(highest.denom))
    if policy.price.minimum_hour > pays:
        return None
    rest = pricing.parts(wish.group, (), policy.price) if policy.strategy is PriceStrategy.SCALE else ()
    assert not isinstance(rest, Refused), "only a card can be without a price"
    host = floors.of_host(wish.group, units, wish.node, policy.floor, kwh)
    return _fine(pays) - _fine(pricing.total(rest)), _fine(pays) - _fine(host.cost)


def _fine(value: Decimal) -> int:
    above, below = value.as_integer_ratio()
    return above * _FINE // below


def _within(most: Price, prices: Mapping[int, Price], demands: Sequence[Demand]) -> int | None:
    """The cards that cost least, if the order pays for them; else those cheapest by the list; else others.

    Others are the cheapest by a weighted mean of both. The cheapest by any mean are known at once, and where
    they are too dear by it, all are. The next mean lies between cards that are listed too high and cards that
    cost too much (Lagrange's multiplier, on a convex hull). What lies inside the hull is ``_searched``.
    """
    means: list[Price] = []
    ends: list[Price] = []  # what is listed too high, then what costs too much
    mean = 0, 1
    while True:
        taken = cheapest(demands, sorted(prices, key=lambda card: (_mean(prices[card], mean), prices[card])))
        found = (
            sum(prices[card][0] for card in numbers(taken)),
            sum(prices[card][1] for card in numbers(taken)),
        )
        if _mean(found, mean) > _mean(most, mean):
            return None
        if found[0] <= most[0] and found[1] <= most[1]:
            return taken
        means = [*means[:2], mean]
        if len(ends) < 2:
            ends.append(found)
        elif _mean(found, mean) == _mean(ends[0], mean):
            return _searched(most, means, prices, wants(demands))
        else:
            ends[found[0] <= most[0]] = found
        mean = (1, 0) if len(ends) < 2 else (ends[1][1] - ends[0][1], ends[0][0] - ends[1][0])


def _mean(price: Price, mean: Price) -> int:
    return price[0] * mean[0] + price[1] * mean[1]


def _searched(
    most: Price, means: Sequence[Price], prices: Mapping[int, Price], wanted: Sequence[Want]
) -> int | None:
    """Card by card, who gets it if anybody; of ways that leave the same open, those that no other beats."""
    ranked = sorted(prices, key=lambda card: (prices[card], card))
    ways: dict[tuple[int, ...], list[Way]] = {tuple(amount for _, amount in wanted): [(0, 0, 0)]}
    for number, card in enumerate(ranked):
        grown: dict[tuple[int, ...], list[Way]] = {left: list(those) for left, those in ways.items()}
        listed, cost = prices[card]
        for left, those in ways.items():
            taken = [(each[0] + listed, each[1] + cost, each[2] | 1 << card) for each in those]
            for served in _served(left, wanted, card):
                grown.setdefault(served, []).extend(taken)
        to_come = [prices[each] for each in ranked[number + 1 :]]
        ways = _kept(grown, [_Limit.of(mean, most, to_come) for mean in means])
    done = ways.get((0,) * len(wanted), ())
    return min(done, key=lambda way: (way[1], way[0], way[2]))[2] if done else None


def _served(left: tuple[int, ...], wanted: Sequence[Want], card: int) -> Iterator[tuple[int, ...]]:
    """What is wanted after one of those who want ``card`` has it."""
    for number, (fitting, _) in enumerate(wanted):
        if left[number] and fitting >> card & 1:
            yield (*left[:number], left[number] - 1, *left[number + 1 :])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limit:
    """What ways may come to by a mean, and the least that any number of the cards to come adds to them."""

    mean: Price
    most: int
    least: tuple[int, ...]

    @classmethod
    def of(cls, mean: Price, most: Price, to_come: Sequence[Price]) -> _Limit:
        least = accumulate(sorted(_mean(price, mean) for price in to_come), initial=0)
        return cls(mean=mean, most=_mean(most, mean), least=tuple(least))

    def is_kept(self, way: Way, units: int) -> bool:
        """Whether ``way`` can stay within it with so many cards more."""
        return _mean(way[:2], self.mean) + self.least[units] <= self.most


def _kept(
    grown: Mapping[tuple[int, ...], list[Way]], limits: Sequence[_Limit]
) -> dict[tuple[int, ...], list[Way]]:
    """Those that can still be completed and that none beats; of too many, those that want least."""
    kept: dict[tuple[int, ...], list[Way]] = {}
    room = WAYS_MOST
    for left, ways in sorted(grown.items(), key=lambda each: (sum(each[0]), each[0])):
        units = sum(left)
        if units >= len(limits[0].least):
            continue
        good: list[Way] = []
        for way in sorted(ways):
            if (not good or way[1] < good[-1][1]) and all(limit.is_kept(way, units) for limit in limits):
                good.append(way)
        if good:
            kept[left] = good[:room]
            room -= len(kept[left])
        if not room:
            break
    return kept
