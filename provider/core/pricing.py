"""What a group costs here by the operator's price list: resources, GPUs by model. Pure, exact, explained.

Everything is added up an hour and then turned into a price per block; that division is the one place where a
price is rounded, up, at the 18th digit. What is divided before that (a seventh of a card, a third of a
machine) is kept to 60 digits, the last one rounded up. Which way a price is made is ``quoting``'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import ROUND_UP, Context, Decimal
from fractions import Fraction
from functools import reduce

from provider.core.gpu_keys import look_up, name_of
from provider.core.needs import Need, need
from provider.core.policy import PriceScale
from provider.core.remembered import by_identity
from provider.domain.gpu import Gpu
from provider.domain.market import GroupSpec, Refusal, Refused
from provider.domain.money import BLOCKS_PER_HOUR, RATE_DIGITS, Denom, Rate
from provider.domain.price import PricePart
from provider.domain.resources import GIB, EndpointKind

_EXACT = Context(prec=60, rounding=ROUND_UP)
_LAST_DIGIT = Decimal(1).scaleb(-RATE_DIGITS)
NOTHING, ONE = Decimal(0), Decimal(1)


def part(what: str, amount: Decimal, unit_cost: Decimal) -> PricePart:
    """``amount`` of ``what`` at ``unit_cost`` each."""
    return PricePart(what=what, amount=amount, unit_cost=unit_cost, cost=_EXACT.multiply(amount, unit_cost))


def parts(group: GroupSpec, gpus: Iterable[Gpu], scale: PriceScale) -> tuple[PricePart, ...] | Refused:
    """Every part of the price of ``group`` on exactly ``gpus``; refused where a card has no price."""
    needed = need(group)
    cards = card_parts("gpu", gpus, scale.gpu_hour)
    if isinstance(cards, Refused):
        return cards
    listed = (
        ("cpu cores", Decimal(needed.cpu_millis) / 1000, scale.cpu_core_hour),
        ("memory GiB", _gib(needed.memory_bytes), scale.memory_gib_hour),
        *_storage(needed, scale),
        ("endpoints", Decimal(needed.ports), scale.endpoint_hour),
        ("leased IPs", Decimal(leased_ips(group)), scale.ip_hour),
    )
    return (*(part(*each) for each in listed if each[1]), *cards)


def card_parts(
    what: str, gpus: Iterable[Gpu], prices: Mapping[str, Decimal]
) -> tuple[PricePart, ...] | Refused:
    """A line for each kind of card, in their order; refused where one has no price."""
    return _card_parts(what, prices, *gpus)


@by_identity(most=256)
def _card_parts(what: str, prices: Mapping[str, Decimal], *gpus: Gpu) -> tuple[PricePart, ...] | Refused:
    """Remembered: a host sells the same few sets of cards again and again."""
    lines: dict[tuple[str, Decimal], int] = {}
    for gpu in gpus:
        found = look_up(prices, gpu)
        if found is None:
            name = name_of(gpu)
            return Refused(why=Refusal.GPU_UNKNOWN, required=f"a price for {name}", available="none is set")
        line = (f"{what} {name_of(gpu)}", times(found.value, found.share))
        lines[line] = lines.get(line, 0) + 1
    return tuple(part(name, Decimal(count), price) for (name, price), count in lines.items())


def _storage(needed: Need, scale: PriceScale) -> Iterator[tuple[str, Decimal, Decimal]]:
    """By class, ephemeral first. RAM-class volumes are memory."""
    for name, size_bytes in sorted(needed.storage.items()):
        price = scale.storage_class_gib_hour.get(name or "ephemeral", scale.storage_gib_hour)
        yield f"storage {name} GiB" if name else "storage GiB", _gib(size_bytes), price


def leased_ips(group: GroupSpec) -> int:
    """Different ones: an address serves several ports, and several services."""
    return len(
        {
            endpoint.sequence_number
            for unit in group.units
            for endpoint in unit.resources.endpoints
            if endpoint.kind is EndpointKind.LEASED_IP
        }
    )


def total(priced: Iterable[PricePart]) -> Decimal:
    """Micro-units an hour."""
    return reduce(_EXACT.add, (each.cost for each in priced), NOTHING)


def less(value: Decimal, by: Decimal) -> Decimal:
    """Exactly."""
    return _EXACT.subtract(value, by)


def times(value: Decimal, share: Fraction) -> Decimal:
    """Exact where it can be told in 60 digits."""
    return _EXACT.divide(_EXACT.multiply(value, Decimal(share.numerator)), Decimal(share.denominator))


def highest_hour(highest: Rate, worth: Decimal) -> Decimal:
    """A price per block as micro-units an hour of the currency that prices are written in."""
    return _EXACT.multiply(_EXACT.multiply(highest.amount, Decimal(BLOCKS_PER_HOUR)), worth)


def rate(hourly: Decimal, worth: Decimal, denom: Denom) -> Rate:
    """The price per block that ``hourly`` comes to: the only place where a price is rounded (up)."""
    per_block = _EXACT.divide(hourly, _EXACT.multiply(worth, Decimal(BLOCKS_PER_HOUR)))
    return Rate(amount=per_block.quantize(_LAST_DIGIT, ROUND_UP, _EXACT), denom=denom)


def _gib(size_bytes: int) -> Decimal:
    return _EXACT.divide(Decimal(size_bytes), Decimal(GIB))
