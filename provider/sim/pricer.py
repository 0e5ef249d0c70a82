"""The fake of ``ports.Pricer``: refuses and dawdles as it is told, and remembers what it was asked."""

from __future__ import annotations

import asyncio

from provider.domain.errors import Permanent, Temporary
from provider.domain.money import Rate
from provider.domain.price import PriceQuestion


class SimulatedPricer:
    """Half of an order's highest price, unless ``refusal`` says why not, or ``failure`` what it died of.

    Answers once ``answers`` is set."""

    def __init__(self, refusal: str = "") -> None:
        self.refusal = refusal
        self.failure = ""
        self.asked: list[PriceQuestion] = []
        self.answers = asyncio.Event()
        self.answers.set()

    async def price(self, question: PriceQuestion) -> Rate:
        self.asked.append(question)
        await self.answers.wait()
        if self.failure:
            raise Temporary(self.failure)
        if self.refusal:
            raise Permanent(self.refusal)
        return half(question)


def half(question: PriceQuestion) -> Rate:
    """Exactly: a rate has 18 digits, and the last is rounded down."""
    highest = question.order.group.max_rate
    whole = int(highest.amount.scaleb(18)) // 2
    return Rate(amount=(highest.amount * 0 + whole).scaleb(-18), denom=highest.denom)
