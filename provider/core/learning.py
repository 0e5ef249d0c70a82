"""What prices win, learned from what was won and lost: a price's chance, and which one earns most.

Prices are told as steps of the operator's list, 8 % apart. For each kind of card and each step it is
counted how often it was tried and how often it won; what is older counts less with every new outcome. A
step leans on the one below as long as little is known of it: dearer wins hardly more often. The price is
the one with the highest product of itself and its chance; so it climbs a step at a time while it wins, and
comes down while it loses.

A market that publishes at which price an order went tells of every step up to ours how it would have done.
One that does not tells only of the step that was tried. No dice: the same state has the same price.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Context, Decimal
from functools import lru_cache

from provider.core.gpu_keys import name_of
from provider.core.remembered import by_identity
from provider.domain.gpu import Gpu

STEPS = (
    *(40, 43, 47, 50, 54, 59, 63, 68, 74, 80, 86, 93, 100),
    *(108, 117, 126, 136, 147, 159, 171, 185, 200, 216, 233, 252),
)
"""Percent of the list price."""
_SHARES = tuple(Decimal(percent).scaleb(-2) for percent in STEPS)
KEEP = Decimal("0.99")
"""Of what was counted, after each new outcome: half of it after 69."""
LEAN = Decimal(2)
"""How many outcomes the step below is worth."""
AT_FIRST = Decimal("0.95")
"""The chance of a price that nothing is known of, at the list and below it."""
SLIGHT, MARKED = Decimal("0.97"), Decimal("0.90")
"""Above the list, what a step wins of what the one below does: where that one has been tried, so that the
next is worth a try (8 % dearer), and where it has not, so that nothing further up is."""
KNOWN = Decimal("0.5")
"""Outcomes, from which on a step has been tried."""
_EXACT = Context(prec=28)
_DIGITS = Decimal("0.000001")
"""To which counts are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WinCurve:
    """Of one kind of card: by step, how often it was tried and how often it won."""

    tried: tuple[Decimal, ...] = (Decimal(0),) * len(STEPS)
    won: tuple[Decimal, ...] = (Decimal(0),) * len(STEPS)
    is_published: bool = False
    """Its market tells at which price orders go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What an open bid will teach, once its outcome is known. Prices are micro-units an hour."""

    kind: str
    listed_hour: Decimal
    asked_hour: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A price, and how it was come by."""

    hour: Decimal
    chance: Decimal
    """Of winning with it, 0 to 1."""


def kind_of(gpus: Sequence[Gpu]) -> str:
    """``h100``; ``none`` for a group without cards."""
    return _kind_of(*gpus)


@by_identity(most=256)
def _kind_of(*gpus: Gpu) -> str:
    return "+".join(sorted({name_of(gpu) for gpu in gpus})) or "none"


def chances(curve: WinCurve) -> Iterator[Decimal]:
    """By step, from the cheapest: how likely it is to win, between 0 and 1."""
    below = AT_FIRST
    for number, percent in enumerate(STEPS):
        falls = Decimal(1)
        if percent > 100:
            falls = SLIGHT if curve.tried[number - 1] >= KNOWN else MARKED
        expected = _EXACT.multiply(below, falls)
        counted = _EXACT.add(_EXACT.multiply(LEAN, expected), curve.won[number])
        below = _EXACT.divide(counted, _EXACT.add(LEAN, curve.tried[number]))
        yield below


@lru_cache(maxsize=64)
def _known(curve: WinCurve) -> tuple[Decimal, ...]:
    """A curve changes with an outcome, and is asked with every order."""
    return tuple(chances(curve))


def choose(curve: WinCurve, listed_hour: Decimal, lowest: Decimal, highest: Decimal) -> Chosen:
    """The price between ``lowest`` and ``highest`` that is to earn most; of equal ones the cheapest."""
    known, ladder = _known(curve), _ladder(listed_hour)
    prices = {min(max(price, lowest), highest) for price in ladder}
    chosen = [Chosen(hour=price, chance=known[_step(ladder, price)]) for price in sorted(prices)]
    return max(chosen, key=lambda each: _EXACT.multiply(each.hour, each.chance))


def step_of(price: Decimal, listed_hour: Decimal) -> int:
    """The dearest step that is no dearer than ``price``, or the cheapest of all."""
    return _step(_ladder(listed_hour), price)


def _step(ladder: Sequence[Decimal], price: Decimal) -> int:
    return max(bisect_right(ladder, price) - 1, 0)


def _ladder(listed_hour: Decimal) -> tuple[Decimal, ...]:
    return tuple(_EXACT.multiply(listed_hour, share) for share in _SHARES)


def learned(curve: WinCurve, lesson: Lesson, *, is_won: bool, rival_hour: Decimal | None = None) -> WinCurve:
    """``curve`` after one more outcome. ``rival_hour`` is the price at which the order went to somebody
    else."""
    if not is_won and rival_hour is None and curve.is_published:
        return curve  # nobody got it: that was not for the price
    ladder = _ladder(lesson.listed_hour)
    step = _step(ladder, lesson.asked_hour)
    is_published = curve.is_published or rival_hour is not None
    first = 0 if is_published else step
    tried, won = [_faded(each) for each in curve.tried], [_faded(each) for each in curve.won]
    for number in range(first, step + 1):
        tried[number] += 1
        would_win = is_won or (rival_hour is not None and ladder[number] < rival_hour)
        won[number] += would_win
    return replace(curve, tried=tuple(tried), won=tuple(won), is_published=is_published)


def _faded(count: Decimal) -> Decimal:
    return _EXACT.multiply(count, KEEP).quantize(_DIGITS)
