"""Who is asked for prices, by the configuration; and who is asked now, when that is read again."""

from __future__ import annotations

import os

from provider.adapters.pricing.function import FunctionPricer
from provider.adapters.pricing.running import Limits, Runner
from provider.adapters.pricing.script import ScriptPricer
from provider.app.config import PricingConfig
from provider.core.policy import PriceStrategy
from provider.domain.errors import Permanent
from provider.domain.money import Rate
from provider.domain.price import PriceQuestion
from provider.ports import Pricer


class NobodyToAsk:
    """Prices are made from a list: what was still asked for from before gets no answer, and is looked at
    again."""

    async def price(self, question: PriceQuestion) -> Rate:
        raise Permanent(f"prices are not asked for any more: {question.order.id}")


class LivePricer:
    """``ports.Pricer`` that may become another while questions are open: those are answered by whom they
    asked."""

    def __init__(self, first: Pricer) -> None:
        self.now = first

    async def price(self, question: PriceQuestion) -> Rate:
        return await self.now.price(question)


async def pricer_of(pricing: PricingConfig) -> Pricer:
    """``ConfigError`` where there is no such function. The rest was checked with the prices."""
    limits = Limits(
        wall_s=pricing.ask_timeout_s,
        cpu_s=pricing.ask_cpu_s,
        memory_mib=pricing.ask_memory_mib,
        at_once=pricing.ask_at_once,
    )
    if pricing.strategy == PriceStrategy.SCRIPT and pricing.script is not None:
        return ScriptPricer(pricing.script, Runner(limits), os.environ)
    if pricing.strategy == PriceStrategy.PYTHON:
        function = FunctionPricer(pricing.python, pricing.python_path, Runner(limits), os.environ)
        await function.check()
        return function
    return NobodyToAsk()
