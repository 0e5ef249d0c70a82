"""Ports whose work is measured: each does what the one inside it does, and says how long that took.

Also what is measured in the background, because a scrape must not wait for a disk or an engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

from provider.adapters.runtime.images.observer import PullObserver, PullProgress
from provider.adapters.telemetry.metrics import BidStage, Metrics
from provider.adapters.telemetry.view import GpuProcesses, Held
from provider.core.effects import ConfirmLease, Effect, PlaceBid
from provider.core.events import Failed, Performed
from provider.core.markets import lease_of
from provider.core.state import AgentState
from provider.core.step import Step
from provider.domain.errors import Temporary
from provider.domain.gpu import GpuProcess
from provider.domain.ids import LeaseId
from provider.ports import GpuProbe, Store
from provider.shell.commits import Commits
from provider.shell.lanes import Performs

HELD_EVERY_S = 15.0
"""Between two looks at the sizes on disk."""


class TimedStore:
    """A store's load and ``commits``, which go to it, measured."""

    def __init__(self, store: Store, commits: Commits, metrics: Metrics) -> None:
        self._store = store
        self._commits = commits
        self._metrics = metrics

    def load(self) -> tuple[AgentState, tuple[Effect, ...]]:
        began = perf_counter()
        loaded = self._store.load()
        self._metrics.store_load(perf_counter() - began)
        return loaded

    async def commit(self, steps: Sequence[Step]) -> None:
        began = perf_counter()
        try:
            await self._commits.commit(steps)
        except Temporary:
            self._metrics.store_refused()
            raise
        self._metrics.store_commit(perf_counter() - began)


class TimedPerformer:
    """A performer whose effects are measured."""

    def __init__(self, performer: Performs, metrics: Metrics) -> None:
        self._performer = performer
        self._metrics = metrics

    async def perform(self, effect: Effect) -> Performed | Failed:
        time = asyncio.get_running_loop().time
        began = time()
        result = await self._performer.perform(effect)
        took_s = time() - began
        self._metrics.effect_done(
            type(effect).__name__,
            took_s,
            ok=isinstance(result, Performed),
            is_leases=not lease_of(effect).is_idle,
        )
        if isinstance(effect, PlaceBid):
            self._metrics.bid_waited(BidStage.SUBMIT, took_s)
        elif isinstance(effect, ConfirmLease):
            self._metrics.bid_waited(BidStage.CONFIRM, took_s)
        return result


class TimedPulls:
    """A ``PullObserver`` that counts, and passes everything on."""

    def __init__(self, pulls: PullObserver, metrics: Metrics) -> None:
        self._pulls = pulls
        self._metrics = metrics
        self._began: dict[tuple[LeaseId | None, str], float] = {}

    def began(self, lease: LeaseId | None, image: str) -> None:
        self._began[lease, image] = asyncio.get_running_loop().time()
        self._pulls.began(lease, image)

    def progressed(self, lease: LeaseId | None, image: str, progress: PullProgress) -> None:
        self._pulls.progressed(lease, image, progress)

    def done(self, lease: LeaseId | None, image: str, took_s: float, transferred_bytes: int) -> None:
        self._began.pop((lease, image), None)
        self._metrics.image_pulled(took_s, transferred_bytes)
        self._pulls.done(lease, image, took_s, transferred_bytes)

    def failed(self, lease: LeaseId | None, image: str, problem: str) -> None:
        now = asyncio.get_running_loop().time()
        self._metrics.image_failed(now - self._began.pop((lease, image), now))
        self._pulls.failed(lease, image, problem)


class Sizes:
    """What the daemon holds on disk, as last measured."""

    def __init__(self, database: Path, image_bytes: Callable[[], int | None]) -> None:
        self._files = [database.with_name(database.name + suffix) for suffix in ("", "-wal", "-shm")]
        self._image_bytes = image_bytes
        self._store_bytes: int | None = None

    def now(self) -> Held:
        """Without a look at the disk."""
        return Held(store_bytes=self._store_bytes, image_bytes=self._image_bytes())

    async def watch(self) -> None:
        """Measure again and again. Never returns."""
        while True:
            self._store_bytes = await asyncio.to_thread(self._measure)
            await asyncio.sleep(HELD_EVERY_S)

    def _measure(self) -> int | None:
        """None when there is no database, or no look at it."""
        sizes = []
        for path in self._files:
            try:
                sizes.append(path.stat().st_size)
            except OSError:
                continue  # SQLite makes and removes the files beside the database as it likes
        return sum(sizes) if sizes else None


async def watch_readings(
    probe: GpuProbe, metrics: Metrics, lease_of: Callable[[int], LeaseId | None], *, every_s: float
) -> None:
    """Sum up every sample, whether somebody scrapes or not. Never returns.

    ``lease_of`` says whose a process is; None for nobody's.
    """
    while True:
        readings = probe.readings()
        processes = {
            reading.uuid: _owners(reading.processes, lease_of)
            for reading in readings
            if reading.processes is not None
        }
        metrics.sampled(readings, processes)
        await asyncio.sleep(every_s)


def _owners(there: Sequence[GpuProcess], lease_of: Callable[[int], LeaseId | None]) -> GpuProcesses:
    ours = sum(lease_of(process.pid) is not None for process in there)
    return GpuProcesses(of_leases=ours, foreign=len(there) - ours)
