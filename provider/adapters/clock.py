"""``ports.Clock`` on the machine's clock: the only place in the daemon that reads the time of day.

Sleeping follows the loop's monotonic clock in short steps, so that a step of the wall clock neither makes a
sleeper oversleep by more than a step nor wakes it early.
"""

from __future__ import annotations

import asyncio
import time

from provider.domain.moment import Instant

_STEP_S = 10.0
"""The longest sleep between two looks at the clock."""


class SystemClock:
    """Wall time in UTC milliseconds."""

    def now(self) -> Instant:
        """UTC milliseconds since 1970. May step when the machine's clock is set."""
        return Instant(time.time_ns() // 1_000_000)

    async def sleep_until(self, instant: Instant) -> None:
        """Return once ``now() >= instant``; at once if it is past."""
        while True:
            left_ms = instant - self.now()
            if left_ms <= 0:
                return
            await asyncio.sleep(min(left_ms / 1000, _STEP_S))
