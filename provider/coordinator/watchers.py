"""Tenants that watch their deployments: each is woken when something of it is on disk, and looks for itself.

Level-triggered: a watcher that is slower than the changes sees the newest state, not every step to it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from provider.domain.errors import Temporary
from provider.domain.ids import DeploymentId
from provider.domain.moment import SECOND


class Watchers:
    """All of one market's."""

    def __init__(self) -> None:
        self._waiting: defaultdict[DeploymentId, set[Watcher]] = defaultdict(set)
        self._is_stopping = False

    @contextmanager
    def watch(self, deployment: DeploymentId) -> Iterator[Watcher]:
        """Watch it from now on."""
        watcher = Watcher()
        watcher.is_stopping = self._is_stopping
        self._waiting[deployment].add(watcher)
        try:
            yield watcher
        finally:
            self._waiting[deployment].discard(watcher)
            if not self._waiting[deployment]:
                del self._waiting[deployment]

    def wake(self, deployments: Iterable[DeploymentId]) -> None:
        """Something of these has changed."""
        for deployment in deployments:
            for watcher in self._waiting.get(deployment, ()):
                watcher.changed.set()

    def stop(self) -> None:
        """Send everybody away."""
        self._is_stopping = True
        for watchers in self._waiting.values():
            for watcher in watchers:
                watcher.is_stopping = True
                watcher.changed.set()


class Watcher:
    """One stream's."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.is_stopping = False

    async def change(self) -> None:
        """Wait for one. ``Temporary`` when the coordinator stops."""
        await self.changed.wait()
        self.changed.clear()
        if self.is_stopping:
            raise Temporary("the coordinator is stopping", retry_after=SECOND)
