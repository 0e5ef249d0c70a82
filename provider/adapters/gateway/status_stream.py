"""A status again and again, for whoever watches: at each interval, and sooner where something changed.

Invariant: never two messages within ``SPACING_S``, and the next is made when the last was taken, so that a
reader that stands still costs one message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc.aio

from provider.rpc.fields import at_least, at_most

M = TypeVar("M")

SPACING_S = 0.5
INTERVAL_MS = 2_000
LONGEST_MS = 60_000
LOOK_S = 0.1
"""Between two glances at whether something changed: a comparison of two references."""


def interval_s(interval_ms: int) -> float:
    """Of a request; 0 is the usual one."""
    least = round(SPACING_S * 1000)
    return (
        at_most(at_least(interval_ms or INTERVAL_MS, least, "interval_ms"), LONGEST_MS, "interval_ms") / 1000
    )


async def send(
    make: Callable[[], Awaitable[M | None]],
    version: Callable[[], object],
    every_s: float,
    context: grpc.aio.ServicerContext[Any, Any],
) -> None:
    """Until ``make`` makes none. ``version`` is another object whenever there is something new."""
    while True:
        seen = version()
        message = await make()
        if message is None:
            return
        await context.write(message)
        await asyncio.sleep(SPACING_S)
        waited_s = SPACING_S
        while waited_s < every_s and version() is seen:
            await asyncio.sleep(LOOK_S)
            waited_s += LOOK_S
