"""The price of a group, whichever way it is made: never below cost, never above the order's most.

Owns the strategies' frame: what it costs (``floor``) comes first and may refuse by itself; then the strategy
has its say; then the price is raised to what it costs and compared with what the order allows.
Invariant: what comes out is a rate between the two with parts that add up to it, or a refusal naming both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from provider.core import floor as floors
from provider.core import learning, pricing
from provider.core.learning import WinCurve
from provider.core.policy import Policy, PriceStrategy
from provider.domain.gpu import Gpu
from provider.domain.market import GroupSpec, Refusal, Refused
from provider.domain.moment import Instant
from provider.domain.money import Rate
from provider.domain.node import Node
from provider.domain.price import PricePart, Quote


@dataclass(frozen=True, slots=True, kw_only=True)
class Sale:
    """What is to be priced: a group on exactly these cards of a machine, from an instant on."""

    group: GroupSpec
    gpus: tuple[Gpu, ...]
    node: Node
    at: Instant


def quote(sale: Sale, policy: Policy, curves: Mapping[str, WinCurve] | None = None) -> Quote | Refused:
    """The price, or the least that it can be where it is yet to be asked for."""
    cost = costs(sale, policy)
    if isinstance(cost, Refused):
        return cost
    if policy.strategy.is_asked:
        return settle(sale.group.max_rate, policy, (), cost)
    listed = pricing.parts(sale.group, sale.gpus, policy.price)
    if isinstance(listed, Refused):
        return listed
    found = _by_market(sale, policy, listed, cost, curves or {}) if _learns(policy) else listed
    return settle(sale.group.max_rate, policy, found, cost, pricing.total(listed))


def _learns(policy: Policy) -> bool:
    return policy.strategy is PriceStrategy.MARKET


def _by_market(
    sale: Sale,
    policy: Policy,
    listed: tuple[PricePart, ...],
    cost: tuple[PricePart, ...],
    curves: Mapping[str, WinCurve],
) -> tuple[PricePart, ...]:
    """The list's parts, and a line for what the market gives more or less."""
    hour, highest = pricing.total(listed), sale.group.max_rate
    most = pricing.highest_hour(highest, policy.worth_of(highest.denom))
    lowest = max(pricing.total(cost), policy.price.minimum_hour)
    if not hour or lowest > most:
        return listed
    curve = curves.get(learning.kind_of(sale.gpus), learning.WinCurve())
    chosen = learning.choose(curve, hour, lowest, most)
    what = f"by the market: wins {int(chosen.chance * 100)} in 100 at that price"
    return (*listed, PricePart(what=what, amount=pricing.ONE, cost=pricing.less(chosen.hour, hour)))


def costs(sale: Sale, policy: Policy) -> tuple[PricePart, ...] | Refused:
    """What it costs; refused where the order pays less than that, whatever it would be priced at."""
    if policy.floor is None:
        return ()
    kwh = floors.kwh_price(policy.floor, sale.at, policy.bid_lifetime)
    cost = floors.parts(sale.group, sale.gpus, sale.node, policy.floor, kwh)
    if isinstance(cost, Refused):
        return cost
    highest, worth = sale.group.max_rate, policy.worth_of(sale.group.max_rate.denom)
    lowest = pricing.total(cost)
    if lowest > pricing.highest_hour(highest, worth):
        needed = pricing.rate(lowest, worth, highest.denom)
        return Refused(why=Refusal.BELOW_COST, required=str(needed), available=str(highest))
    return cost


def settle(
    highest: Rate,
    policy: Policy,
    asked: tuple[PricePart, ...],
    cost: tuple[PricePart, ...],
    listed_hour: Decimal | None = None,
) -> Quote | Refused:
    """What was ``asked``, raised to the operator's minimum and to ``cost``, if the order allows it."""
    hour, costs_hour = pricing.total(asked), pricing.total(cost)
    for lowest, why in (
        (policy.price.minimum_hour, "raised to the least that is bid"),
        (costs_hour, "raised to what it costs"),
    ):
        if lowest > hour:
            asked = (*asked, PricePart(what=why, amount=pricing.ONE, cost=pricing.less(lowest, hour)))
            hour = pricing.total(asked)
    worth = policy.worth_of(highest.denom)
    rate = pricing.rate(hour, worth, highest.denom)
    if rate.amount > highest.amount:
        return Refused(why=Refusal.PRICE_TOO_LOW, required=str(rate), available=str(highest))
    floor = None if policy.floor is None else pricing.rate(costs_hour, worth, highest.denom)
    return Quote(rate=rate, parts=asked, hour=hour, listed_hour=listed_hour, floor=floor, costs=cost)
