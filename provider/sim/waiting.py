"""Waiting for something that another part of the world does, with a bound and without guessing how long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_LOOK_EVERY_S = 0.002


async def until(condition: Callable[[], object], bound_s: float = 10.0) -> None:
    """Return once ``condition()`` is true; ``TimeoutError`` when it is not within ``bound_s`` seconds."""
    async with asyncio.timeout(bound_s):
        while not condition():  # noqa: ASYNC110 -- whatever is waited for has no event to offer
            await asyncio.sleep(_LOOK_EVERY_S)
