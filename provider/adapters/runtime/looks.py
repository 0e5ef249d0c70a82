"""What is known of containers, looked at no more often than needed.

A hundred leases are listed every ten seconds: asking the engine about each container each time would cost it
more than running them. What the engine says of a container that runs does not change until its state does;
what it cannot say (it was ended for using too much disk, it lost its GPU) is kept here as a verdict.

Invariant: what changes a container's state here calls ``forget``, so a kept answer is never older than it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from provider.adapters.runtime import containers
from provider.adapters.runtime.containers import Found
from provider.adapters.runtime.engine import Engine, together
from provider.adapters.runtime.host import engine_began
from provider.domain.moment import MINUTE, Instant, Span, after
from provider.domain.workload import Container, ContainerState, ExitCause
from provider.ports import Clock

KEPT_FOR = Span(5 * MINUTE)
"""A container that somebody else restarts between two looks is noticed after this at the latest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Why a container is not what it should be, where the engine cannot tell."""

    cause: ExitCause
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    told: Container
    until: Instant


class Looks:
    """Of one engine."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._kept: dict[str, _Kept] = {}
        self._verdicts: dict[str, Verdict] = {}

    async def at(self, found: Iterable[Found], *, fresh: bool = False) -> Mapping[str, Container]:
        """By id; those that are gone by now are not in it."""
        now = self._clock.now()
        described: dict[str, Container] = {}
        unknown = []
        for each in found:
            kept = self._kept.get(each.id)
            if kept is None or fresh or kept.told.state is not each.state or kept.until <= now:
                unknown.append(each)
            else:
                described[each.id] = kept.told
        began = None
        if unknown:  # in a thread: connecting to an engine that hangs takes its time
            began = await asyncio.to_thread(engine_began, self._engine.settings.socket_path)

        async def inspect(each: Found) -> None:
            told = await self._engine.call("inspecting", lambda api: containers.inspect(api, each, began))
            if told is None:
                self.forget(each.id)
                return
            self._kept[each.id] = _Kept(told=told, until=after(now, KEPT_FOR))
            described[each.id] = told

        await together(*(inspect(each) for each in unknown))
        return {name: self._judged(told) for name, told in described.items()}

    def judge(self, container: str, verdict: Verdict) -> None:
        """From now on it counts as ended, for this reason. The first reason stands."""
        self._verdicts.setdefault(container, verdict)

    def is_spoilt(self, container: str) -> bool:
        """Whether only a new container can take its place: this one would be judged again."""
        return container in self._verdicts

    def refresh(self, container: str | None = None) -> None:
        """Something happened to it, or, without one, perhaps to all of them: ask the engine next time."""
        if container is None:
            self._kept.clear()
        else:
            self._kept.pop(container, None)

    def forget(self, container: str) -> None:
        """It was started, ended or removed."""
        self._kept.pop(container, None)
        self._verdicts.pop(container, None)

    def keep_only(self, found: Iterable[Found]) -> None:
        """Forget all others: ``found`` is all that there is."""
        there = {each.id for each in found}
        for gone in (self._kept.keys() | self._verdicts.keys()) - there:
            self.forget(gone)

    def _judged(self, told: Container) -> Container:
        verdict = self._verdicts.get(told.id)
        if verdict is None or (told.state is ContainerState.RUNNING and verdict.cause is ExitCause.EVICTED):
            return told
        return replace(told, cause=verdict.cause, problem=verdict.problem)
