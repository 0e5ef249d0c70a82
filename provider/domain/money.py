"""Money: integers of micro-denom, exact rates, and the one rounding rule.

Invariant: nothing here is a float. What was earned is always computed from the total time, never
summed up from pieces, so that rounding costs at most one micro over a lease's whole life; it rounds
down, in the tenant's favour. Prices are per block, and a block is 6 seconds, as on Akash.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

BLOCK_MS = 6_000
RATE_DIGITS = 18
"""Digits after the point of a price, as in Akash's ``DecCoin``."""
_SCALE: int = 10**RATE_DIGITS
BLOCKS_PER_HOUR = 600


class Denom(StrEnum):
    """Micro-units of a currency: ``uact`` is pegged to 1e-6 USD, ``uakt`` and ``uusdc`` are AKT and USDC."""

    UACT = "uact"
    UAKT = "uakt"
    UUSDC = "uusdc"
    IBC_USDC = "ibc/170C677610AC31DF0904FFE09CD3B5C657492170E7E52372E48756B71E56F2F1"
    """USDC under the name it has on Akash's chain, in files that tenants already have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """An amount in whole micro-denom."""

    amount: int
    denom: Denom

    def __str__(self) -> str:
        return f"{self.amount}{self.denom}"

    @classmethod
    def parse(cls, text: str) -> Money:
        """From ``5000000uact``; ``ValueError`` otherwise."""
        for denom in Denom:
            number = text.removesuffix(denom)
            if number != text and number.isascii() and number.isdigit():
                return cls(amount=int(number), denom=denom)
        raise ValueError(f"{text!r} is not an amount: write it like 5000000uact ({', '.join(Denom)})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A price per block: ``amount`` micro-denom every 6 s, at most 18 digits after the point."""

    amount: Decimal
    denom: Denom

    def __post_init__(self) -> None:
        assert self.amount.is_finite(), f"a rate is a number, not {self.amount}"
        assert self.amount >= 0, f"a rate is never negative, not {self.amount}"
        assert _SCALE % self.amount.as_integer_ratio()[1] == 0, (
            f"a rate has at most {RATE_DIGITS} digits after the point"
        )

    def __str__(self) -> str:
        return f"{self.amount.normalize():f}{self.denom}/block"

    @classmethod
    def parse(cls, text: str) -> Rate:
        """From ``1.25uact``; ``ValueError`` otherwise."""
        for denom in Denom:
            number = text.removesuffix(denom)
            if number != text and number.replace(".", "", 1).isdigit() and number.isascii():
                return cls(amount=Decimal(number), denom=denom)
        raise ValueError(f"{text!r} is not a rate: write it like 1.25uact ({', '.join(Denom)})")

    def per_hour(self) -> Decimal:
        """Micro-denom an hour."""
        return self.amount * BLOCKS_PER_HOUR


def earned(rate: Rate, elapsed_ms: int) -> Money:
    """What ``elapsed_ms`` of service cost at ``rate``: the only place where money is rounded (down)."""
    assert elapsed_ms >= 0, f"time runs forward, not {elapsed_ms} ms"
    scaled = _scaled(rate)
    return Money(amount=scaled * elapsed_ms // (BLOCK_MS * _SCALE), denom=rate.denom)


def lasts_ms(rate: Rate, funds: Money) -> int | None:
    """How long ``funds`` pay for ``rate``, in milliseconds; None for ever (a rate of zero)."""
    assert rate.denom == funds.denom, f"{funds} cannot pay {rate}"
    scaled = _scaled(rate)
    return funds.amount * BLOCK_MS * _SCALE // scaled if scaled else None


def _scaled(rate: Rate) -> int:
    """Its amount times 10^18, exactly: Decimal's own arithmetic rounds to 28 digits."""
    numerator, denominator = rate.amount.as_integer_ratio()
    return numerator * (_SCALE // denominator)
