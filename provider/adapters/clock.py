"""``ports.Clock`` on the machine's clock: the only place in the daemon that reads the time of day.

Sleeping follows the loop's monotonic clock in short steps, so that a step of the wall clock neither makes a
sleeper oversleep by more than a step nor wakes it early; but where the clock was set back sleepers wake and
look for themselves: what happens every two seconds would else wait for as long as the clock was set back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from provider.domain.moment import SECOND, Instant

_STEP_S = 10.0
"""The longest sleep between two looks at the clock."""
_SET_BACK_MS = SECOND
"""The clock lost that much over a sleep: it was set. Being slewed costs 5 ms in ten seconds (adjtimex(2))."""


class SystemClock:
    """Wall time in UTC milliseconds. ``wall_ns`` is for tests that set the clock."""

    def __init__(self, wall_ns: Callable[[], int] = time.time_ns) -> None:
        self._wall_ns = wall_ns

    def now(self) -> Instant:
        """UTC milliseconds since 1970. May step when the machine's clock is set."""
        return Instant(self._wall_ns() // 1_000_000)

    async def sleep_until(self, instant: Instant) -> None:
        """Return once ``now() >= instant``, at once if it is past, soon if the clock is set back."""
        steady_s = asyncio.get_running_loop().time
        while True:
            now, began_s = self.now(), steady_s()
            left_ms = instant - now
            if left_ms <= 0:
                return
            await asyncio.sleep(min(left_ms / 1000, _STEP_S))
            if self.now() - now < (steady_s() - began_s) * 1000 - _SET_BACK_MS:
                return
