"""What a lease costs its provider, so that none loses money: electricity, wear, its share of the machine.

A price is fixed for as long as a lease runs, which nobody knows beforehand, while electricity changes with
the hour. So power is counted at the dearest average over any length of time from now on: whoever stays an
afternoon pays the afternoon's price, and nobody pays less than a lease costs, however long it runs.
Invariant: over every span that begins in the hour, the tariff's mean is at most what is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from provider.core.gpu_keys import look_up, name_of, share_of_card
from provider.core.needs import need
from provider.core.policy import PriceFloor, Watts
from provider.core.pricing import card_parts, part, times
from provider.domain.gpu import Gpu
from provider.domain.market import GroupSpec, Refusal, Refused
from provider.domain.moment import HOUR, Instant, Span
from provider.domain.node import Node
from provider.domain.price import PricePart

WEEK_HOURS = 168


def dearest_means(week: Sequence[Decimal]) -> tuple[Decimal, ...]:
    """For each hour of the week, from Monday's first, the dearest mean of a span that begins in it.

    Means over whole hours are enough: within an hour the tariff is constant, so that the mean moves one way.
    A span that begins late in an hour may have hardly any of it: the next hour's means count too.
    """
    assert len(week) == WEEK_HOURS, "a tariff has a price for each hour of the week"
    return tuple(max(_dearest_from(week, hour), _dearest_from(week, hour + 1)) for hour in range(WEEK_HOURS))


def _dearest_from(week: Sequence[Decimal], first: int) -> Decimal:
    """Longer than a week need not be looked at: it is a mean of weeks and of what is left."""
    spent, dearest = Decimal(0), Decimal(0)
    for hours in range(1, WEEK_HOURS + 1):
        spent += week[(first + hours - 1) % WEEK_HOURS]
        dearest = max(dearest, times(spent, Fraction(1, hours)))
    return dearest


def kwh_price(floor: PriceFloor, at: Instant, lasts: Span) -> Decimal:
    """What a kilowatt-hour is counted at for a lease that begins between ``at`` and ``lasts`` later."""
    first = _hour_of_week(floor, at)
    hours = -(-lasts // HOUR)
    return max(floor.kwh_dearest[(first + each) % WEEK_HOURS] for each in range(min(hours, WEEK_HOURS) + 1))


def _hour_of_week(floor: PriceFloor, at: Instant) -> int:
    local = datetime.fromtimestamp(at // 1000, floor.zone)
    return local.weekday() * 24 + local.hour


def parts(
    group: GroupSpec, gpus: Sequence[Gpu], node: Node, floor: PriceFloor, kwh: Decimal
) -> tuple[PricePart, ...] | Refused:
    """What ``group`` on ``gpus`` of ``node`` costs an hour; refused where nothing tells a card's watts."""
    power = _power(gpus, floor, kwh)
    if isinstance(power, Refused):
        return power
    host = of_host(group, len(gpus), node, floor, kwh)
    return tuple(each for each in (*power, host, *_wear(gpus, floor)) if each.cost)


def of_cards(gpus: Sequence[Gpu], floor: PriceFloor, kwh: Decimal) -> tuple[PricePart, ...] | Refused:
    """What of that is for the cards: a sum over them."""
    power = _power(gpus, floor, kwh)
    return power if isinstance(power, Refused) else (*power, *_wear(gpus, floor))


def of_host(group: GroupSpec, units: int, node: Node, floor: PriceFloor, kwh: Decimal) -> PricePart:
    """The rest of it: the same for any ``units`` cards."""
    host = times(times(floor.host_watts, _share_of_host(group, units, node)), Fraction(1, 1000))
    return part("electricity of the machine, kWh", host, kwh)


def _power(gpus: Sequence[Gpu], floor: PriceFloor, kwh: Decimal) -> tuple[PricePart, ...] | Refused:
    lines = []
    for gpu in gpus:
        watts, name = card_watts(gpu, floor), name_of(gpu)
        if watts is None:
            return Refused(why=Refusal.GPU_UNKNOWN, required=f"the watts of {name}", available="none are set")
        lines.append((name if _measured(gpu, floor) is None else f"{name} as measured", watts))
    return tuple(
        part(f"electricity of {name}, kWh", times(watts, Fraction(lines.count((name, watts)), 1000)), kwh)
        for name, watts in dict.fromkeys(lines)
    )


def _wear(gpus: Sequence[Gpu], floor: PriceFloor) -> tuple[PricePart, ...]:
    wear = card_parts(
        "wear of", (gpu for gpu in gpus if look_up(floor.wear_gpu_hour, gpu)), floor.wear_gpu_hour
    )
    assert not isinstance(wear, Refused), "only cards that have a price for it"
    return wear


def card_watts(gpu: Gpu, floor: PriceFloor) -> Decimal | None:
    """As measured where the operator wants that; else the operator's word, else the card's power limit. An
    instance draws its share. None: nobody knows."""
    measured = _measured(gpu, floor)
    if measured is not None:
        return times(Decimal(measured), share_of_card(gpu))
    told = look_up(floor.gpu_watts, gpu)
    if told is not None:
        return times(told.value, told.share)
    limit = gpu.power_limit_watts
    return None if limit is None else times(Decimal(str(limit)), share_of_card(gpu))


def _measured(gpu: Gpu, floor: PriceFloor) -> int | None:
    return gpu.load_watts if floor.watts is Watts.MEASURED else None


def _share_of_host(group: GroupSpec, units: int, node: Node) -> Fraction:
    """By the scarcer of its cores and its cards; at most all of it."""
    cores = Fraction(need(group).cpu_millis, max(node.capacity.cpu_millis, 1))
    cards = Fraction(units, max(len(node.gpus), 1))
    return min(max(cores, cards), Fraction(1))
