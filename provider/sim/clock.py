"""``ports.Clock`` on the running loop's time: with ``sim.vtime`` hours cost nothing, and all runs agree."""

from __future__ import annotations

import asyncio

from provider.domain.moment import Instant, Span

EPOCH = Instant(1_700_000_000_000)
"""What the clock shows when the loop's time is 0."""


class LoopClock:
    """Begins at ``epoch`` and goes as the loop goes, ``step`` aside."""

    def __init__(self, epoch: Instant = EPOCH) -> None:
        self._epoch = epoch

    def now(self) -> Instant:
        return Instant(self._epoch + round(asyncio.get_running_loop().time() * 1000))

    def step(self, span: Span) -> None:
        """The machine's clock is set, forward or back."""
        self._epoch = Instant(self._epoch + span)

    async def sleep_until(self, instant: Instant) -> None:
        epoch = self._epoch
        while self._epoch >= epoch:  # else it was set back meanwhile
            left_ms = instant - self.now()
            if left_ms <= 0:
                return
            await asyncio.sleep(left_ms / 1000)
