"""The watch over what cards draw: readings every two seconds, added up; told where a figure has moved.

Owns when, and how often it is written down. Does not own the sums (``core.wattage``) nor their use.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import structlog

from provider.core.wattage import PowerMean, counted
from provider.domain.errors import ProviderError
from provider.domain.gpu import GpuReading
from provider.domain.ids import GpuUuid
from provider.domain.moment import MINUTE, SECOND, Instant, Span, after
from provider.ports import Clock

log = structlog.get_logger()

EVERY = Span(2 * SECOND)
KEPT_EVERY = Span(5 * MINUTE)
"""What a crash may cost of what was measured."""


class PowerBook(Protocol):
    """Where means outlive the daemon."""

    def load(self) -> dict[GpuUuid, PowerMean]: ...

    async def save(self, means: Mapping[GpuUuid, PowerMean]) -> None: ...


class PowerWatch:
    """One for a daemon. ``run`` goes on for ever."""

    def __init__(self, readings: Callable[[], tuple[GpuReading, ...]], book: PowerBook, clock: Clock) -> None:
        self._readings = readings
        self._book = book
        self._clock = clock
        self._means = book.load()
        self._kept = _figures(self._means)
        self._kept_at = clock.now()
        self._said = ""

    def watts(self) -> dict[GpuUuid, int]:
        """Of each card of which it is known."""
        return {uuid: mean.told for uuid, mean in self._means.items() if mean.told is not None}

    def sample(self) -> bool:
        """Once, now; whether a figure has moved."""
        before = self.watts()
        for reading in self._readings():
            self._means[reading.uuid] = counted(self._means.get(reading.uuid, PowerMean()), reading)
        return self.watts() != before

    async def run(self, tell: Callable[[], Awaitable[None]]) -> None:
        """For ever; after each sample ``tell`` compares what is known with what is sold."""
        while True:
            is_news, now = self.sample(), self._clock.now()
            if is_news or now >= after(self._kept_at, KEPT_EVERY):
                await self._keep(now)
            await tell()
            await self._clock.sleep_until(after(now, EVERY))

    async def _keep(self, now: Instant) -> None:
        """Nothing where nothing was drawn: that a card was looked at again is not worth a write."""
        means, self._kept_at = dict(self._means), now
        if _figures(means) == self._kept:
            return
        try:
            await self._book.save(means)
        except ProviderError as failure:
            if failure.what != self._said:
                log.warning("gpu_power_not_kept", problem=failure.what, remedy=failure.remedy)
            self._said = failure.what
        else:
            self._kept = _figures(means)


def _figures(means: Mapping[GpuUuid, PowerMean]) -> dict[GpuUuid, tuple[float, float]]:
    return {uuid: (mean.watts, mean.load_s) for uuid, mean in means.items()}
