"""Measures how late the event loop wakes a sleeper: the first sign that something blocks it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def watch_loop_lag(observe: Callable[[float], None], *, every_s: float = 0.5) -> None:
    """Never returns; run it as a task beside the rest."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + every_s
        await asyncio.sleep(every_s)
        observe(max(0.0, loop.time() - due))
