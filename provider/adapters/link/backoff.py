"""When to dial again: full jitter, so that a market's return is not a stampede.

Every wait is uniform between nothing and a bound that doubles (AWS architecture blog, "Exponential
backoff and jitter", 2015: full jitter needs the fewest calls).
"""

from __future__ import annotations

import random

from provider.adapters.link.settings import LinkSettings


class Backoff:
    """Counts failures in a row."""

    def __init__(self, settings: LinkSettings, chance: random.Random) -> None:
        self._settings = settings
        self._chance = chance
        self._failures = 0

    def forgive(self) -> None:
        """Things went well: the next wait is the first one again."""
        self._failures = 0

    def next_s(self) -> float:
        """Seconds to wait after one more failure."""
        bound = self._settings.retry_first_s
        if self._failures:
            doublings = min(self._failures - 1, 32)
            bound = min(self._settings.retry_most_s, self._settings.retry_unit_s * 2**doublings)
        self._failures += 1
        return self._chance.uniform(0, bound)
