"""What a group costs here: a scale over resources, GPUs by model. Pure, exact, explained.

The sum is made an hour and then turned into a price per block; that division is the one place where
a price is rounded, up, at the 18th digit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_UP, Context, Decimal
from functools import reduce

from provider.core.placement import need
from provider.core.policy import PriceScale
from provider.domain.gpu import Gpu
from provider.domain.market import GroupSpec, Refusal, Refused
from provider.domain.money import BLOCKS_PER_HOUR, RATE_DIGITS, Denom, Rate
from provider.domain.resources import GIB

_EXACT = Context(prec=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class PricePart:
    """One line of a price: ``amount`` of something and what it costs, micro-denom an hour."""

    what: str
    amount: Decimal
    cost: Decimal


def parts(group: GroupSpec, gpus: Iterable[Gpu], scale: PriceScale) -> tuple[PricePart, ...] | Refused:
    """Every part of the price of ``group`` on exactly ``gpus``; refused where a card has no price."""
    needed = need(group)
    rows = [
        ("cpu cores", Decimal(needed.cpu_millis) / 1000, scale.cpu_core_hour),
        ("memory GiB", _gib(needed.memory_bytes), scale.memory_gib_hour),
        ("storage GiB", _gib(needed.storage_bytes), scale.storage_gib_hour),
        ("endpoints", Decimal(needed.ports), scale.endpoint_hour),
    ]
    for gpu in gpus:
        price = scale.gpu_hour.get(gpu.model, scale.gpu_hour.get("*"))
        if price is None:
            return Refused(
                why=Refusal.GPU_UNKNOWN, required=f"a price for {gpu.model}", available="none is set"
            )
        rows.append((f"gpu {gpu.model}", Decimal(1), price))
    return tuple(
        PricePart(what=what, amount=amount, cost=_EXACT.multiply(amount, price))
        for what, amount, price in rows
        if amount
    )


def rate(priced: Iterable[PricePart], scale: PriceScale, denom: Denom) -> Rate:
    """The price per block that the parts come to, never below the scale's minimum."""
    hourly = max(reduce(_EXACT.add, (part.cost for part in priced), Decimal(0)), scale.minimum_hour)
    per_block = _EXACT.divide(hourly, Decimal(BLOCKS_PER_HOUR))
    return Rate(amount=per_block.quantize(Decimal(1).scaleb(-RATE_DIGITS), ROUND_UP, _EXACT), denom=denom)


def _gib(size_bytes: int) -> Decimal:
    return _EXACT.divide(Decimal(size_bytes), Decimal(GIB))
