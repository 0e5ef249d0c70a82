"""The watch over GPUs of running containers: one that lost a card, or sees another's, is said to be ill.

Looks every ``WATCH_EVERY`` with one process for all of them (``gpu_sight``). What follows from a verdict is
decided by whoever lists: only a new container gets a card back.

Invariant: what could not be seen is no reason for anything.
"""

from __future__ import annotations

import docker
import structlog

from provider.adapters.runtime import containers, naming
from provider.adapters.runtime.engine import Engine
from provider.adapters.runtime.gpu_sight import GpuSight, Watched
from provider.adapters.runtime.looks import Looks, Verdict
from provider.domain.errors import ProviderError
from provider.domain.ids import GpuUuid
from provider.domain.moment import SECOND, Span, after
from provider.domain.workload import ExitCause
from provider.ports import Clock

log = structlog.get_logger()

WATCH_EVERY = Span(30 * SECOND)
"""A card that is gone for that long unnoticed is billed that long; a look costs some 30 ms of one core."""


class GpuWatch:
    """One watch for all containers of a provider."""

    def __init__(self, engine: Engine, clock: Clock, sight: GpuSight, looks: Looks) -> None:
        self._engine = engine
        self._clock = clock
        self._sight = sight
        self._looks = looks

    async def run(self) -> None:
        """For ever. An engine that is away is looked at again later."""
        while True:
            await self._clock.sleep_until(after(self._clock.now(), WATCH_EVERY))
            try:
                await self.look()
            except ProviderError as failure:
                log.debug("gpus_not_watched", problem=failure.what)

    async def look(self) -> None:
        """Into every running container that has GPUs."""
        watched = await self._engine.call("listing containers", self._with_gpus)
        for container, problem in (await self._sight.watch(watched)).items():
            if not self._looks.is_spoilt(container):
                log.warning("gpu_lost", container=container[:12], problem=problem)
            self._looks.judge(container, Verdict(cause=ExitCause.GPU_LOST, problem=problem))

    def _with_gpus(self, client: docker.APIClient) -> list[Watched]:
        labels = containers.filters({naming.PROVIDER: self._engine.settings.provider})
        found = []
        for told in client.containers(filters={"label": labels, "status": "running"}):
            marks = told.get("Labels") or {}
            gpus = tuple(GpuUuid(uuid) for uuid in marks.get(naming.GPUS, "").split(",") if uuid)
            if gpus:
                is_simulated = marks.get(naming.SIMULATED) == "true"
                found.append(Watched(id=told["Id"], gpus=gpus, is_simulated=is_simulated))
        return found
