"""What is done about images while nobody asks: the operator's are pulled and kept, idle ones collected and
all of them measured.

Invariant: nothing here fails the agent; what could not be done is logged and tried again in the next round.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from provider.adapters.runtime.engine import Engine
from provider.adapters.runtime.images.collector import Collector
from provider.adapters.runtime.images.facts import look
from provider.adapters.runtime.images.record import Record
from provider.adapters.runtime.images.stock import Images, Wanted
from provider.domain.errors import ProviderError
from provider.domain.moment import SECOND, Span, after
from provider.ports import Clock

log = structlog.get_logger()


class Housekeeping:
    """Of one engine's images."""

    def __init__(
        self, engine: Engine, clock: Clock, record: Record, images: Images, collector: Collector
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._record = record
        self._images = images
        self._collector = collector
        self._kept: dict[str, str] = {}
        """Image ids by the names in the operator's list."""

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._again_and_again(self.prepull))
            group.create_task(self._again_and_again(self._collector.collect))
            group.create_task(self._again_and_again(self._collector.measure))

    async def prepull(self) -> None:
        """Have all of the operator's list here."""
        for name in self._engine.settings.images.prepull:
            try:
                if name not in self._kept or await look(self._engine, self._kept[name]) is None:
                    self._kept[name] = (await self._images.ensure(Wanted(image=name))).id
            except ProviderError as problem:
                log.warning("prepull_failed", image=name, problem=problem.what, remedy=problem.remedy)
        self._record.keep(frozenset(self._kept.values()))

    async def _again_and_again(self, action: Callable[[], Awaitable[object]]) -> None:
        every = Span(self._engine.settings.images.collect_every_s * SECOND)
        while True:
            try:
                await action()
            except ProviderError as problem:
                log.warning("images_not_kept", problem=problem.what, remedy=problem.remedy)
            await self._clock.sleep_until(after(self._clock.now(), every))
