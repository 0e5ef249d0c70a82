"""Where a lease's containers are: the engine's word, remembered for a moment.

Invariant: an engine that is away or silent changes nothing: what was last known goes on being served, because
containers outlive their engine.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from provider.domain.errors import ProviderError
from provider.domain.ids import LeaseId
from provider.domain.moment import SECOND, Instant, Span, after
from provider.domain.workload import Container, ContainerState, Workload
from provider.ports import Clock

KEPT_FOR = Span(2 * SECOND)
"""Without a word of the engine that something changed."""
LOOK_S = 2.0
"""A look that takes longer is given up: requests wait for it."""
LEASES_MOST = 10_000
"""Remembered at once."""


class Containers(Protocol):
    """The part of ``ports.Runtime`` that is asked here."""

    async def look(self, lease: LeaseId) -> Workload | None: ...

    def hints(self) -> AsyncIterator[None]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    containers: tuple[Container, ...]
    until: Instant


class Addresses:
    """Of all leases."""

    def __init__(self, there: Containers, clock: Clock) -> None:
        self._there = there
        self._clock = clock
        self._known: dict[LeaseId, _Known] = {}
        self._doubts = 0
        self._locks: weakref.WeakValueDictionary[LeaseId, asyncio.Lock] = weakref.WeakValueDictionary()

    async def of(self, lease: LeaseId, service: str) -> tuple[str, ...] | None:
        """Of the replicas that run, those that are ready if any is. None when that is not known."""
        containers = await self._containers(lease)
        if containers is None:
            return None
        running = [
            each for each in containers if each.service == service and each.state is ContainerState.RUNNING
        ]
        ready = [each for each in running if each.is_ready]
        return tuple(each.address for each in ready or running if each.address is not None)

    async def watch(self) -> None:
        """For ever: doubt all of it at each hint."""
        async for _ in self._there.hints():
            self.doubt()

    def doubt(self) -> None:
        """Something may have changed: everything is looked up again at its next use."""
        past = Instant(0)
        self._doubts += 1
        self._known = {
            lease: _Known(containers=known.containers, until=past) for lease, known in self._known.items()
        }

    async def _containers(self, lease: LeaseId) -> tuple[Container, ...] | None:
        known = self._known.get(lease)
        if known is not None and self._clock.now() < known.until:
            return known.containers
        async with self._locks.setdefault(lease, asyncio.Lock()):
            known = self._known.get(lease)
            if known is not None and self._clock.now() < known.until:
                return known.containers
            return await self._afresh(lease)

    async def _afresh(self, lease: LeaseId) -> tuple[Container, ...] | None:
        until, doubts = after(self._clock.now(), KEPT_FOR), self._doubts
        try:
            async with asyncio.timeout(LOOK_S):
                workload = await self._there.look(lease)
        except (ProviderError, TimeoutError):
            known = self._known.get(lease)
            if known is None:
                return None
            containers = known.containers
        else:
            containers = () if workload is None else workload.containers
        if len(self._known) >= LEASES_MOST:
            self._known.clear()
        if doubts != self._doubts:
            until = Instant(0)  # it changed while we looked
        self._known[lease] = _Known(containers=containers, until=until)
        return containers
