"""A price with its reasons: what it is made of, and what the thing costs its provider.

Amounts are exact decimals in micro-units an hour of the currency that the operator's prices are written in.
How they come about is ``core.pricing``'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from provider.domain.gpu import Gpu
from provider.domain.market import Order, Placement
from provider.domain.money import Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class PricePart:
    """One line of a price: ``amount`` of something and what that costs, micro-units an hour."""

    what: str
    amount: Decimal
    cost: Decimal
    unit_cost: Decimal | None = None
    """Of one; None where the line is no amount of anything: a minimum, a script's answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """A price and where it comes from."""

    rate: Rate
    """What is bid, in the order's currency: between ``floor`` and the order's highest price."""
    parts: tuple[PricePart, ...] = ()
    """They add up to ``rate``, but for its rounding."""
    hour: Decimal = Decimal(0)
    """What they add up to, micro-units an hour of the operator's currency."""
    listed_hour: Decimal | None = None
    """What the price list says; None where nobody looked."""
    floor: Rate | None = None
    """What the group costs its provider; None where no floor is set."""
    costs: tuple[PricePart, ...] = ()
    """They add up to ``floor``, but for its rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceQuestion:
    """What is asked of somebody outside: the price of ``order`` on exactly these cards, which are held for
    it."""

    order: Order
    placement: Placement
    gpus: tuple[Gpu, ...]
    """Those of ``placement``, by index."""
    worth: Decimal
    """What one of the order's currency is in the one that the operator's prices are written in."""
    least_hour: Decimal
    """No bid is below this, micro-units an hour of the operator's currency."""
    most_hour: Decimal
    """The order's highest price, in the same."""
    costs: tuple[PricePart, ...] = ()
    """What it costs the provider."""
    picked: str = ""
    """Why these cards, one line."""
