"""A price with its reasons: what it is made of, and what the thing costs its provider.

Amounts are exact decimals in micro-units an hour of the currency that the operator's prices are written in.
How they come about is ``core.pricing``'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

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
    floor: Rate | None = None
    """What the group costs its provider; None where no floor is set."""
    costs: tuple[PricePart, ...] = ()
    """They add up to ``floor``, but for its rounding."""
