"""A question about a price, as the core asks it."""

from __future__ import annotations

from dataclasses import replace

from provider.core.effects import AskPrice
from provider.core.policy import PriceStrategy
from provider.domain.market import GroupSpec
from provider.domain.price import PriceQuestion
from tests.agents import POLICY, Agent, gpu


def question(of: GroupSpec | None = None) -> PriceQuestion:
    """Of one card for at most 100uact a block, unless told otherwise."""
    card = replace(gpu(0), power_limit_watts=700.0)
    agent = Agent(card, policy=replace(POLICY, strategy=PriceStrategy.SCRIPT))
    agent.opens(of=of)
    return agent.last(AskPrice).question
