"""A lease's volumes as a whole: made before its containers, checked before each start, gone at its end.

Owns the order of steps and the threads they run in. Does not own what the steps do, see
``volume``. Invariants: every step may find its work done; a caller that is cancelled leaves only when the
step it was in is over, so that nobody works on the same volume beside it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import structlog

from provider.adapters.runtime import mounts, naming
from provider.adapters.runtime.engine import Engine
from provider.adapters.runtime.images.facts import ImageFacts
from provider.adapters.runtime.storage import disks, evictions, files, programs, proof, volume
from provider.adapters.runtime.storage.filling import Filling, end_fillings, fill
from provider.adapters.runtime.storage.records import Records, Wanted
from provider.domain.errors import ConfigError, ProviderError, Temporary
from provider.domain.ids import LeaseId, Owner, ProviderId
from provider.domain.resources import MIB
from provider.domain.workload import Enforcement, Launch, ReplicaLaunch, StorageClass

T = TypeVar("T")
log = structlog.get_logger()

REMEDY = "provider doctor says what is missing"
UNSEEN = "the engine does not see what is mounted here"
THREADS = 4
"""Making and erasing large files is slow; so many leases may be at it at once."""


class Volumes:
    """Of one provider on this machine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.settings = engine.settings.storage
        self.records = Records(self.settings.root / engine.settings.provider)
        self._trying = asyncio.Lock()
        self._is_proven = False
        self._problem: str | None = None
        self._layers: tuple[str, bool] | None = None
        self._told: Mapping[str, str] = {}
        self._refused: frozenset[str] = frozenset()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="volumes")

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def problem(self, *, again: bool = False) -> str | None:
        """Why no volume can be made and mounted here; None once one was, and the engine saw it.

        Tried out at the first call, and with ``again`` at every one until it went well.
        """
        async with self._trying:
            if not self._is_proven and (again or self._problem is None):
                self._problem = await self._try()
                self._is_proven = self._problem is None
                if self._problem is not None:
                    log.warning("volumes_not_possible", problem=self._problem, remedy=REMEDY)
            return self._problem

    async def _try(self) -> str | None:
        absent = programs.missing()
        if absent:
            return f"{', '.join(absent)} is not installed"
        records = Records(self.records.root / "proof")
        lease = LeaseId(owner=Owner("proof"), dseq=1, gseq=1, oseq=1, provider=ProviderId("proof"))
        wanted = Wanted(
            service="proof", replica=0, name="proof", size_bytes=MIB, folder=records.root / disks.OWN_FOLDER
        )
        provider = self._engine.settings.provider
        try:
            place = await self._do(self._made, records, lease, wanted)
        except ProviderError as failure:
            return failure.what
        else:
            return await self._engine.call(
                "trying a volume out",
                lambda api: None if proof.sees(api, provider, place.parent, files.MARKER) else UNSEEN,
            )
        finally:
            for record in await self._do(records.of, lease):
                await self._do(volume.erase, records, record)
            await self._do(_forget, records, lease)

    async def layers_are_held(self) -> bool:
        """Whether the engine holds writable layers to their size, tried out once for each engine."""
        info = await self._engine.info()
        engine = str([info.get(name) for name in ("ID", "ServerVersion", "Driver", "DriverStatus")])
        async with self._trying:
            if self._layers is None or self._layers[0] != engine:
                provider = self._engine.settings.provider
                held = await self._engine.call(
                    "trying a size out", lambda api: proof.layers_are_held(api, provider)
                )
                self._layers = engine, held
                log.info("layers_limited", by="the engine" if held else "measuring")
            return self._layers[1]

    async def offered(self) -> tuple[StorageClass, ...]:
        """The classes of persistent storage that there are."""
        if await self.problem(again=True) is not None:
            return ()
        offered = await self._do(disks.offered, self.settings, self.records.root)
        told = {each.name: each.enforced_by.value for each in offered}
        if told != self._told:
            log.info("volumes_enforced", **told)
            self._told = told
        return offered

    async def refused(self) -> tuple[str, ...]:
        """Classes that are not offered because of ``storage.enforced_by``, a line each."""
        found = await self._do(disks.refused, self.settings, self.records.root)
        for each in sorted(set(found) - self._refused):
            log.warning("storage_class_refused", problem=each, remedy=REMEDY)
        self._refused = frozenset(found)
        return found

    def layers_disk(self, info: Mapping[str, object]) -> str:
        """The disk that the engine's data is on; where that cannot be seen, the one that ours is on."""
        folder = Path(str(info.get("DockerRootDir") or "/nonexistent"))
        return disks.disk_of(folder if folder.exists() else self.records.root)

    async def furnish(self, lease: LeaseId, replica: ReplicaLaunch, image: ImageFacts) -> Mapping[str, Path]:
        """By volume, the directory to mount. What ends with a container is made anew.

        Where nothing can be mounted, what ends with a container is left to the engine, and only measured.
        """
        places: dict[str, Path] = {}
        declared: dict[str, Path] = {}
        for each in mounts.disk_volumes(replica.service, image.volumes):
            problem = await self.problem()
            if problem is not None and each.storage_class is None:
                continue
            if problem is not None:
                raise Temporary(f"there is no persistent storage: {problem}", remedy=REMEDY)
            folder, held = await self._do(self._place_of, each.storage_class)
            wanted = Wanted(
                service=replica.service.name,
                replica=replica.replica,
                name=each.name,
                size_bytes=each.size_bytes,
                folder=folder,
                generation=0 if each.storage_class else replica.generation,
                is_reserved=not each.is_of_image,
                owner=owner_of(await self._engine.info()),
                enforced_by=held,
            )
            if wanted.generation:
                await self._end(lease, [wanted.id])
            places[each.name] = await self._do(self._made, self.records, lease, wanted)
            if each.is_of_image:
                declared[each.target] = places[each.name]
        if declared:
            filling = Filling(
                lease=lease,
                name=naming.volume_name(lease, replica.service.name, replica.replica, "fills"),
                image=image.id or replica.service.image,
                owner=owner_of(await self._engine.info()),
                places=declared,
            )
            await self._engine.call(f"filling volumes of {lease}", lambda api: fill(api, filling))
        return places

    def _made(self, records: Records, lease: LeaseId, wanted: Wanted) -> Path:
        return volume.attach(records, volume.make(records, lease, wanted, self.settings.project_ids))

    def _place_of(self, storage_class: str | None) -> tuple[Path, Enforcement]:
        """Where a class's volumes go, and what holds them; None: those that end with a container.

        These are always files: the engine fills some of them, past any quota that knows ``root``.
        """
        if storage_class is None:
            return self.records.root / disks.OWN_FOLDER, Enforcement.FILE
        found = disks.folders(self.settings, self.records.root)
        if storage_class not in found:
            raise Temporary(
                f"storage of class {storage_class} is not offered here any more",
                remedy="name it in storage.classes",
            )
        try:
            return found[storage_class], disks.enforcement(self.settings, found[storage_class])
        except ConfigError as error:
            raise Temporary(error.what, remedy=error.remedy) from error

    async def ready(self, lease: LeaseId, service: str, replica: int) -> None:
        """Before each start of a container: all of its volumes are mounted, and are the right ones."""
        await self._do(self._checked, lease, service, replica)

    def _checked(self, lease: LeaseId, service: str, replica: int) -> None:
        for record in self.records.of(lease):
            if (record.service, record.replica) == (service, replica):
                volume.attach(self.records, record)

    async def end_older(self, launch: Launch) -> None:
        """Remove what ended with the containers that ``launch`` has replaced; none of those may be left."""
        newest = {(each.service.name, each.replica): each.generation for each in launch.replicas}
        there = [each for each in await self._do(self.records.of, launch.lease) if each.generation]
        old = [each for each in there if each.generation != newest.get((each.service, each.replica))]
        await self._end(launch.lease, [each.id for each in old])

    async def remove(self, lease: LeaseId) -> None:
        """Everything of ``lease``; none of its containers may be left. Fine when there is nothing."""
        there = await self._do(self.records.of, lease)
        if there:
            await self._engine.call(f"tidying up after {lease}", lambda api: end_fillings(api, lease))
        await self._end(lease, [each.id for each in there])
        await self._do(_forget, self.records, lease)

    async def leases(self) -> frozenset[LeaseId]:
        """Of which a volume is there, or a note on one of its containers."""
        return await self._do(self.records.leases)

    async def _end(self, lease: LeaseId, ids: Iterable[str]) -> None:
        doomed = [each for each in await self._do(self.records.of, lease) if each.id in set(ids)]
        for record in doomed:
            await self._do(volume.erase, self.records, record)

    async def _do(self, function: Callable[..., T], *arguments: object) -> T:
        future = asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait({future})
            if not future.cancelled():
                future.exception()
            raise
        except OSError as error:
            raise Temporary(f"volumes: {error}", remedy=f"see {self.records.root}") from error


def owner_of(info: Mapping[str, object]) -> tuple[int, int]:
    """Whom a container's root is on the host: where they are remapped, the engine's data folder says it."""
    found = re.search(r"/(\d+)\.(\d+)$", str(info.get("DockerRootDir") or ""))
    options = info.get("SecurityOptions")
    remaps = isinstance(options, list) and any("name=userns" in str(option) for option in options)
    return (int(found[1]), int(found[2])) if found and remaps else (0, 0)


def _forget(records: Records, lease: LeaseId) -> None:
    """What is left of a lease without volumes."""
    evictions.forget(records.folder(lease))
    records.forget(lease)
