"""The machine's clock, set while somebody sleeps by it."""

from __future__ import annotations

import asyncio

import pytest

from provider.adapters.clock import SystemClock
from provider.domain.moment import HOUR, MINUTE, SECOND, Instant
from provider.sim import vtime

NOON = 1_800_000_000_000


@pytest.mark.parametrize(
    ("span", "set_by", "slept_s"),
    [
        (2 * SECOND, 0, 2),
        (2 * SECOND, -HOUR, 2),
        (MINUTE, 0, 60),
        (MINUTE, -HOUR, 10),
        (MINUTE, HOUR, 10),
        (2 * SECOND, -SECOND // 2, 2.5),
    ],
)
def test_a_sleeper_waits_for_no_hour_that_comes_twice(span: int, set_by: int, slept_s: float) -> None:
    """It is set a second after somebody lay down; being slewed by half a second is no reason to wake."""

    async def main() -> float:
        went_s = asyncio.get_running_loop().time

        def wall_ns() -> int:
            return round((NOON + went_s() * 1000 + (set_by if went_s() >= 1 else 0)) * 1_000_000)

        clock = SystemClock(wall_ns)
        await clock.sleep_until(Instant(clock.now() + span))
        return went_s()

    assert vtime.run(main()) == pytest.approx(slept_s, abs=0.01)
