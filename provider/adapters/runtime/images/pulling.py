"""One pull: watched while it goes on, told to whoever wants to know, and ended when it must not go on.

Owns the waiting line, the watchdogs (nothing arrives; it takes too long; too big; no room) and the progress.
Invariant: whatever ends a pull also closes its connection, at which the engine gives it up.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from provider.adapters.runtime.engine import Engine
from provider.adapters.runtime.errors import pull_error
from provider.adapters.runtime.images.disk import DiskReading, images_folder
from provider.adapters.runtime.images.observer import PullObserver
from provider.adapters.runtime.images.progress import Layers, Pace
from provider.adapters.runtime.images.reference import Reference
from provider.adapters.runtime.images.registry import login_header
from provider.adapters.runtime.wire import Answer, Request
from provider.domain.errors import ImageUnavailable, ProviderError, Temporary
from provider.domain.ids import LeaseId
from provider.domain.manifest import Credentials
from provider.domain.moment import SECOND, Instant
from provider.domain.resources import GIB
from provider.ports import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """What to pull, and for whom."""

    reference: Reference
    """With a digest: no tag of the engine's is made or moved."""
    image: str
    """As the manifest says it: for people."""
    login: Credentials | None = None
    lease: LeaseId | None = None


class NoRoom(Temporary):
    """The engine's disk has no room for it; ``needed_bytes`` should be free."""

    def __init__(self, what: str, *, needed_bytes: int) -> None:
        super().__init__(what, remedy="free disk space on the provider")
        self.needed_bytes = needed_bytes


class Puller:
    """The pulls of one engine."""

    def __init__(self, engine: Engine, clock: Clock, observer: PullObserver, disk: DiskReading) -> None:
        self._engine = engine
        self._clock = clock
        self._observer = observer
        self._disk = disk
        self._turns = asyncio.Semaphore(engine.settings.pulls_at_once)
        self._owners: weakref.WeakValueDictionary[str, asyncio.Semaphore] = weakref.WeakValueDictionary()

    async def pull(self, errand: Errand) -> None:
        """Have it on the engine. ``Temporary``, ``NoRoom`` or ``ImageUnavailable``."""
        async with self._owners_turn(errand), self._turns:
            layers = Layers()
            with self._observed(errand, layers):
                await self._pull(errand, layers)

    def _owners_turn(self, errand: Errand) -> asyncio.Semaphore:
        """No tenant may hold all turns: one with a registry that trickles would stop everybody."""
        owner = str(errand.lease.owner) if errand.lease else ""
        most = max(1, self._engine.settings.pulls_at_once - 1)
        return self._owners.setdefault(owner, asyncio.Semaphore(most))

    @contextmanager
    def _observed(self, errand: Errand, layers: Layers) -> Iterator[None]:
        began = self._clock.now()
        self._observer.began(errand.lease, errand.image)
        try:
            yield
        except asyncio.CancelledError:
            self._observer.failed(errand.lease, errand.image, "called off")
            raise
        except ProviderError as problem:
            self._observer.failed(errand.lease, errand.image, problem.what)
            raise
        took_s = (self._clock.now() - began) / SECOND
        self._observer.done(errand.lease, errand.image, took_s, layers.transferred_bytes)

    async def _pull(self, errand: Errand, layers: Layers) -> None:
        settings, reference = self._engine.settings, errand.reference
        folder = images_folder(await self._engine.info())
        self._check_room(errand, layers, folder)
        request = Request(
            method="POST",
            path="/images/create",
            query={"fromImage": reference.repository, "tag": reference.version},
            headers=login_header(errand.login),
        )
        doing = f"pulling {errand.image}"
        try:
            async with (
                asyncio.timeout(settings.pull_timeout_s),
                self._engine.stream(doing, request, settings.pull_stall_s) as answer,
            ):
                if answer.status >= 400:
                    raise pull_error(await answer.text(), errand.image)
                await self._watch(answer, errand, layers, folder)
        except TimeoutError as error:
            raise Temporary(f"{doing}: not done after {settings.pull_timeout_s} s") from error

    async def _watch(self, answer: Answer, errand: Errand, layers: Layers, folder: str) -> None:
        """Read a pull's progress to its end."""
        stall_s = self._engine.settings.pull_stall_s
        messages, pace, checked_at = answer.objects(), Pace(), Instant(0)
        while True:
            try:
                async with asyncio.timeout(stall_s):
                    message = await anext(messages, None)
            except TimeoutError as error:
                raise Temporary(f"pulling {errand.image}: nothing arrived for {stall_s} s") from error
            if message is None:
                return
            if "error" in message:
                raise pull_error(str(message["error"]), errand.image)
            layers.take(message)
            self._check_size(errand, layers)
            now, progress = self._clock.now(), layers.progress()
            if now - checked_at >= SECOND:
                self._check_room(errand, layers, folder)
                checked_at = now
            if pace.lets(progress, now):
                self._observer.progressed(errand.lease, errand.image, progress)

    def _check_size(self, errand: Errand, layers: Layers) -> None:
        most = self._engine.settings.images.size_most_bytes
        if most and layers.known_bytes > most:
            raise ImageUnavailable(
                f"{errand.image} has more than {most / GIB:.3g} GiB, the most that this provider takes",
                remedy="use a smaller image, or another provider",
            )

    def _check_room(self, errand: Errand, layers: Layers, folder: str) -> None:
        """What is still to come has to fit; unpacked it is larger, so this is asked again all the while."""
        use = self._disk(folder)
        needed = self._engine.settings.images.disk_keep_bytes + layers.missing_bytes
        if use is not None and use.free_bytes < needed:
            raise NoRoom(
                f"pulling {errand.image}: {use.free_bytes / GIB:.1f} GiB are free on the provider's disk, "
                f"{needed / GIB:.1f} GiB are needed",
                needed_bytes=needed,
            )
