"""Making room: images that nobody uses go, the longest idle first, when the engine's disk is nearly full.

Only what we pulled, by the names under which we pulled it: an image that has another name besides stays,
and so does whatever a container uses, a lease has pinned, or the operator wants kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import docker
import docker.errors
import structlog

from provider.adapters.runtime.engine import Engine
from provider.adapters.runtime.images.disk import DiskReading, DiskUse, images_folder
from provider.adapters.runtime.images.record import Record
from provider.domain.moment import SECOND, Instant
from provider.ports import Clock

log = structlog.get_logger()


class Collector:
    """Removes images from one engine."""

    def __init__(self, engine: Engine, clock: Clock, record: Record, disk: DiskReading) -> None:
        self._engine = engine
        self._clock = clock
        self._record = record
        self._disk = disk
        self._settings = engine.settings.images
        self.held_bytes: int | None = None
        """Size of the images on record, as last measured; layers that two share count twice."""

    async def measure(self) -> None:
        """See ``held_bytes``."""
        recorded = self._record.all()
        self.held_bytes = sum(size for image, size in (await self._here()).items() if image in recorded)

    async def collect(self) -> tuple[str, ...]:
        """Where the disk is fuller than it should be, remove until it is not; the images that went."""
        use = await self._read()
        if use is None or not use.freed_below(self._settings.collect_above_percent):
            return ()
        low = self._settings.collect_below_percent
        return await self._remove_until(lambda use: not use.freed_below(low))

    async def make_room(self, needed_bytes: int) -> bool:
        """Have that much free; whether it is."""
        await self._remove_until(lambda use: use.free_bytes >= needed_bytes)
        use = await self._read()
        return use is None or use.free_bytes >= needed_bytes

    async def _remove_until(self, enough: Callable[[DiskUse], bool]) -> tuple[str, ...]:
        await self._forget_missing()
        used = await self._in_use()
        gone = []
        before = Instant(self._clock.now() - self._settings.collect_min_age_s * SECOND)
        for image in self._record.idle(before):
            use = await self._read()
            if use is None or enough(use):
                break
            # Asked again: meanwhile a lease may have begun to use it.
            if image not in used and image in self._record.idle(before) and await self._remove(image):
                gone.append(image)
        if gone:
            log.info("images_collected", images=len(gone))
        return tuple(gone)

    async def _remove(self, image: str) -> bool:
        """Take our names from it; whether it is gone then."""
        names = self._record.engine_names(image)

        def remove(client: docker.APIClient) -> bool:
            for name in names:
                try:
                    # The operator may have given the name to another image since.
                    if client.inspect_image(name)["Id"] == image:  # type: ignore[no-untyped-call]
                        client.remove_image(name)
                except docker.errors.ImageNotFound:
                    continue
                except docker.errors.APIError as error:
                    if error.status_code == 409:
                        return False
                    raise
            return True

        if not await self._engine.call(f"removing image {image}", remove):
            return False
        is_gone = image not in await self._here()
        self._record.gone(image)
        return is_gone

    async def _forget_missing(self) -> None:
        for image in self._record.all() - (await self._here()).keys():
            self._record.gone(image)

    async def _here(self) -> Mapping[str, int]:
        """Sizes by id."""
        listed: list[dict[str, Any]] = await self._engine.call("listing images", lambda api: api.images())
        return {each["Id"]: each["Size"] for each in listed}

    async def _in_use(self) -> frozenset[str]:
        """By any container there is, ours or not, running or not."""
        listed: list[dict[str, Any]] = await self._engine.call(
            "listing containers", lambda api: api.containers(all=True)
        )
        return frozenset(each["ImageID"] for each in listed)

    async def _read(self) -> DiskUse | None:
        return self._disk(images_folder(await self._engine.info()))
