"""Virtual time: hours cost nothing, order is kept, and waiting for nothing is noticed."""

from __future__ import annotations

import asyncio
import time

import pytest

from provider.domain.moment import HOUR, Instant, Span
from provider.sim import vtime
from provider.sim.clock import EPOCH, LoopClock


def test_hours_pass_in_no_time_and_in_order() -> None:
    async def main() -> list[tuple[str, float]]:
        loop, woken = asyncio.get_running_loop(), list[tuple[str, float]]()

        async def sleeper(name: str, wait_s: float) -> None:
            for _ in range(3):
                await asyncio.sleep(wait_s)
                woken.append((name, loop.time()))

        async with asyncio.TaskGroup() as group:
            group.create_task(sleeper("a", 3600))
            group.create_task(sleeper("b", 5000))
        return woken

    began = time.monotonic()
    assert vtime.run(main()) == [
        ("a", 3600),
        ("b", 5000),
        ("a", 7200),
        ("b", 10000),
        ("a", 10800),
        ("b", 15000),
    ]
    assert time.monotonic() - began < 5


def test_timeouts_and_cancellation_work() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    assert vtime.run(main()) == 30


def test_a_deadlock_is_noticed() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(vtime.Deadlock):
        vtime.run(main())


def test_the_clock_goes_with_the_loop() -> None:
    async def main() -> list[int]:
        clock = LoopClock()
        seen = [clock.now() - EPOCH]
        await clock.sleep_until(Instant(EPOCH + HOUR + 1))
        seen.append(clock.now() - EPOCH)
        await clock.sleep_until(EPOCH)
        seen.append(clock.now() - EPOCH)
        clock.step(Span(-1000))
        await clock.sleep_until(Instant(EPOCH + HOUR + 1))
        return [*seen, clock.now() - EPOCH]

    assert vtime.run(main()) == [0, HOUR + 1, HOUR + 1, HOUR + 1]


def test_who_sleeps_while_the_clock_is_set_back_wakes_at_his_time_and_looks_for_himself() -> None:
    async def main() -> tuple[float, int]:
        clock = LoopClock()
        asyncio.get_running_loop().call_later(1, clock.step, Span(-HOUR))
        await clock.sleep_until(Instant(EPOCH + 2000))
        return asyncio.get_running_loop().time(), clock.now() - EPOCH

    assert vtime.run(main()) == (2.0, 2000 - HOUR)
