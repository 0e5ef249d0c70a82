"""Lanes: effects of one lane are performed in order, lanes run side by side.

A lane lives while it has something to do. Invariant: an effect's result is in the loop's inbox before
the next effect of its lane begins. A stop overtakes, and so does a newer start: a start that is under way in
the same lane is cancelled, because pulling an image for half an hour is no reason to keep a lease that has
ended, or to wait with what its tenant wants by now.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from provider.core.effects import Effect, RestartService, StartWorkload, StopWorkload
from provider.core.events import Event, Failed, Performed

Put = Callable[[Event], Awaitable[None]]
OVERTAKES = StopWorkload | StartWorkload
"""What makes a start that waits or is under way pointless."""


class Performs(Protocol):
    """``perform.Performer``, or one that measures it."""

    async def perform(self, effect: Effect) -> Performed | Failed: ...


@dataclass(slots=True)
class _Lane:
    waiting: deque[Effect] = field(default_factory=deque)
    starting: asyncio.Task[Performed | Failed] | None = None


class Lanes:
    """Hands effects to the performer and its results to ``put``. Tasks belong to ``group``."""

    def __init__(self, performer: Performs, put: Put, group: asyncio.TaskGroup) -> None:
        self._performer = performer
        self._put = put
        self._group = group
        self._lanes: dict[str, _Lane] = {}

    def submit(self, effects: Iterable[Effect]) -> None:
        """Queue ``effects``, in order, each in its lane."""
        for effect in effects:
            lane = self._lanes.get(effect.lane)
            if lane is None:
                lane = self._lanes[effect.lane] = _Lane()
                lane.waiting.append(effect)
                self._group.create_task(self._drain(effect.lane, lane))
                continue
            lane.waiting.append(effect)
            if isinstance(effect, OVERTAKES) and lane.starting is not None:
                lane.starting.cancel()

    async def _drain(self, name: str, lane: _Lane) -> None:
        while lane.waiting:
            effect = lane.waiting.popleft()
            if isinstance(effect, StartWorkload | RestartService):
                result = await self._start(lane, effect)
            else:
                result = await self._performer.perform(effect)
            await self._put(result)
        del self._lanes[name]

    async def _start(self, lane: _Lane, effect: StartWorkload | RestartService) -> Performed | Failed:
        if any(isinstance(later, OVERTAKES) for later in lane.waiting):
            return Failed(effect=effect, what="something newer was wanted before it started", is_final=False)
        lane.starting = self._group.create_task(self._performer.perform(effect))
        try:
            await asyncio.wait([lane.starting])
            if lane.starting.cancelled():
                return Failed(effect=effect, what="something newer was wanted meanwhile", is_final=False)
            return lane.starting.result()
        finally:
            lane.starting.cancel()
            lane.starting = None
