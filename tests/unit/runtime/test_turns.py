"""A few at once, and nobody kept out by what is stuck."""

from __future__ import annotations

import asyncio

import pytest

from provider.adapters.runtime.turns import Turns
from provider.domain.errors import Temporary


def test_so_many_at_once_and_the_others_after_them() -> None:
    async def check() -> None:
        turns, here, most = Turns(2), 0, 0
        order: list[int] = []

        async def one(number: int) -> None:
            nonlocal here, most
            async with turns.turn():
                here += 1
                most = max(most, here)
                await asyncio.sleep(0)
                order.append(number)
                here -= 1

        await asyncio.gather(*map(one, range(7)))
        assert (most, order) == (2, list(range(7)))

    asyncio.run(check())


def test_what_is_stuck_keeps_nobody_out() -> None:
    async def check() -> None:
        turns = Turns(1, patience_s=0.01)
        async with turns.turn(), asyncio.timeout(5), turns.turn():
            pass

    asyncio.run(check())


def test_what_failed_gives_its_turn_back() -> None:
    async def fail(turns: Turns) -> None:
        async with turns.turn():
            raise Temporary("no")

    async def check() -> None:
        turns = Turns(1, patience_s=60)
        for _ in range(3):
            with pytest.raises(Temporary):
                await asyncio.wait_for(fail(turns), 5)

    asyncio.run(check())
