"""The contract of ``ports.Pricer``, on the fake, on a script and on a function."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from provider.adapters.pricing.function import FunctionPricer
from provider.adapters.pricing.running import Limits, Runner
from provider.adapters.pricing.script import ScriptPricer
from provider.core.policy import PriceStrategy
from provider.domain.errors import Permanent
from provider.domain.money import Denom
from provider.domain.price import PriceQuestion
from provider.ports import Pricer
from provider.sim.pricer import SimulatedPricer
from tests.pricing import question

HALF = """#!/bin/sh
sed 's/.*"amount":"\\([0-9]*\\).*/\\1/' | { read amount; echo $((amount / 2)); }
"""
REFUSES = """#!/bin/sh
echo "not for $AKASH_OWNER" >&2
exit 1
"""
MODULE = """
def half(asked):
    return asked.maximum_hour / 2

def refuses(asked):
    return None, f"not for {asked.owner}"
"""


def _script(folder: Path, *, refuses: bool) -> Pricer:
    path = folder / "price.sh"
    path.write_text(REFUSES if refuses else HALF)
    path.chmod(0o755)
    return ScriptPricer(path, Runner(Limits()), os.environ)


def _function(folder: Path, *, refuses: bool) -> Pricer:
    (folder / "prices.py").write_text(MODULE)
    entry = "prices:refuses" if refuses else "prices:half"
    return FunctionPricer(entry, (str(folder),), Runner(Limits()), os.environ)


def _fake(_folder: Path, *, refuses: bool) -> Pricer:
    return SimulatedPricer("not for alice" if refuses else "")


Make = Callable[..., Pricer]
ALL = pytest.mark.parametrize("make", [_fake, _script, _function])


@ALL
def test_a_price_is_in_the_orders_currency_per_block(make: Make, tmp_path: Path) -> None:
    price = asyncio.run(make(tmp_path, refuses=False).price(question()))
    assert (price.amount, price.denom) == (Decimal(50), Denom.UACT)


@ALL
def test_a_refusal_is_its_reason(make: Make, tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="not for alice"):
        asyncio.run(make(tmp_path, refuses=True).price(question()))


@ALL
def test_many_may_be_asked_at_once(make: Make, tmp_path: Path) -> None:
    async def ask() -> list[Decimal]:
        pricer = make(tmp_path, refuses=False)
        prices = await asyncio.gather(*(pricer.price(question()) for _ in range(12)))
        return [price.amount for price in prices]

    assert asyncio.run(ask()) == [Decimal(50)] * 12


def test_a_question_is_whole() -> None:
    asked: PriceQuestion = question()
    assert (int(asked.most_hour), int(asked.least_hour)) == (60_000, 0)
    assert PriceStrategy.SCRIPT.is_asked
