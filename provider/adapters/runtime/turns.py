"""A few at once, the others in turn: an engine that is asked for all of it together takes longer for all.

Invariant: nobody waits longer than ``PATIENCE_S`` for a turn, so that what is stuck keeps nobody out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

PATIENCE_S = 5.0
"""Some fifteen leases are gone in that time."""


class Turns:
    """``at_once`` may be at it together."""

    def __init__(self, at_once: int, patience_s: float = PATIENCE_S) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._patience_s = patience_s

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Until one of the others is done, or patience is over."""
        try:
            async with asyncio.timeout(self._patience_s):
                await self._free.acquire()
        except TimeoutError:
            yield
            return
        try:
            yield
        finally:
            self._free.release()
