"""Leases on Docker: ``ports.Runtime`` by the Engine API.

The pieces are beside it: ``spec`` what a container is, ``gpus`` how it gets its cards, ``launcher`` and
``remover`` the ways up and down, ``images``, ``networks``, ``containers``, ``logs``, ``commands``,
``events``, ``engine`` the connection, ``errors`` what its failures mean. Read ``spec`` next.

Invariants: one lease is worked on by one caller at a time; every step may find its work done already;
nothing without our labels is touched; an engine that is away is ``Temporary``, whatever was asked.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from typing import Self

from provider.adapters.runtime import (
    containers,
    copies,
    ending,
    events,
    fitness,
    gpus,
    kept_logs,
    launcher,
    logs,
    naming,
    readiness,
)
from provider.adapters.runtime.asked import Asked, unmeasured
from provider.adapters.runtime.commands import DockerExec
from provider.adapters.runtime.containers import Found
from provider.adapters.runtime.egress.warden import Warden
from provider.adapters.runtime.engine import Engine, together
from provider.adapters.runtime.fitness import Advice
from provider.adapters.runtime.gpu_sight import GpuSight
from provider.adapters.runtime.gpu_watch import GpuWatch
from provider.adapters.runtime.images.disk import DiskReading, read_disk
from provider.adapters.runtime.images.observer import PullObserver
from provider.adapters.runtime.images.parts import image_parts
from provider.adapters.runtime.kept_logs import KeptFile
from provider.adapters.runtime.looks import Looks
from provider.adapters.runtime.remover import Remover
from provider.adapters.runtime.settings import DockerSettings
from provider.adapters.runtime.storage.overuse import OveruseWatch
from provider.adapters.runtime.storage.volumes import Volumes
from provider.domain.errors import Permanent, Temporary
from provider.domain.ids import LeaseId
from provider.domain.moment import SECOND, Span, after
from provider.domain.workload import (
    ContainerState,
    Launch,
    LogBatch,
    RuntimeCapabilities,
    Workload,
)
from provider.ports import Clock, CopyRequest, ExecRequest, ExecSession, LogRequest

LOG_SWEEP_EVERY = Span(600 * SECOND)
"""Logs are kept for a day: ten minutes more are nothing."""


class DockerRuntime:
    """``ports.Runtime`` on one Docker engine."""

    def __init__(
        self,
        settings: DockerSettings,
        clock: Clock,
        *,
        pulls: PullObserver | None = None,
        disk: DiskReading = read_disk,
        requests: Asked = unmeasured,
    ) -> None:
        """``pulls`` is told how images come, ``requests`` how long the engine takes to answer; ``disk`` says
        how full the engine's disk is."""
        self._settings = settings
        self._clock = clock
        self._engine = Engine(settings, requests)
        self._images = image_parts(self._engine, clock, pulls, disk)
        self._warden = Warden(self._engine)
        self._volumes = Volumes(self._engine)
        self._launcher = launcher.Launcher(
            self._engine, clock, images=self._images.images, warden=self._warden, volumes=self._volumes
        )
        self._looks = Looks(self._engine, clock)
        self._overuse = OveruseWatch(self._engine, clock, self._volumes, self._looks)
        self._gpus = GpuWatch(self._engine, clock, GpuSight(self._engine, clock), self._looks)
        self._remover = Remover(self._engine, clock, self._volumes)
        self._locks: weakref.WeakValueDictionary[LeaseId, asyncio.Lock] = weakref.WeakValueDictionary()
        self._held = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._held.callback(self._images.record.close)
        self._held.push_async_callback(self._engine.close)
        self._held.callback(self._volumes.close)
        self._overuse.remember()
        self._pumps = logs.Pumps(await self._held.enter_async_context(asyncio.TaskGroup()))
        self._held.callback(self._pumps.cancel)
        self._pumps.spawn(self._overuse.run())
        self._pumps.spawn(self._gpus.run())
        self._pumps.spawn(self._sweep_logs())
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._held.aclose()

    async def capabilities(self) -> RuntimeCapabilities:
        info = await self._engine.info(fresh=True)
        facts = await self._engine.facts()
        roads = gpus.roads(info, self._settings)
        attachment, problem = await asyncio.to_thread(gpus.offered, roads, self._settings)
        classes, refused = await self._volumes.offered(), await self._volumes.refused()
        return RuntimeCapabilities(
            engine=f"docker {facts.version}",
            gpu_attachment=attachment,
            gpu_problem=problem,
            limits_storage=await self._volumes.layers_are_held(),
            storage_classes=classes,
            storage_problem=await self._volumes.problem() or next(iter(() if classes else refused), None),
            storage_refused=refused,
            layers_disk=self._volumes.layers_disk(info),
            unfit=(
                *await asyncio.to_thread(fitness.unfit, facts.components, info, roads, self._settings),
                *await self._warden.unfit(),
            ),
        )

    async def advice(self) -> tuple[Advice, ...]:
        """What of the engine's settings its operator should know; not part of the port."""
        return fitness.advice(await self._engine.info(), self._settings)

    async def start(self, launch: Launch) -> Workload:
        async with self._lock(launch.lease):
            found = await self._find(launch.lease)
            spoilt = [each.id for each in found if self._looks.is_spoilt(each.id)]
            there = launcher.sort(launch, found, spoilt)
            if not there.is_done(launch):
                await self._launcher.launch(launch, there)
            return await self._workload(launch.lease)

    async def restart(self, lease: LeaseId, service: str, grace_s: int) -> Workload:
        async with self._lock(lease):
            doing = f"restarting {service} of {lease}"
            wanted = [each for each in await self._find(lease) if each.service == service]
            if not wanted:
                raise Temporary(f"{doing}: its containers are gone")
            await self._warden.guard(lease)

            async def again(each: Found) -> None:
                await ending.ask_to_end(self._engine, each, grace_s)
                await self._volumes.ready(lease, each.service, each.replica)
                if not await self._engine.call(doing, lambda api: containers.start(api, each.id)):
                    raise Temporary(f"{doing}: its container or network was removed")

            await together(*(again(each) for each in wanted))
            await self._gpus.look()
            return await self._workload(lease)

    async def look(self, lease: LeaseId) -> Workload | None:
        found = await self._find(lease)
        if not found:
            return None
        described = await self._looks.at(found, fresh=True)

        async def ready(each: Found) -> tuple[str, bool]:
            pid = await self._engine.call(f"looking at {lease}", lambda api: containers.pid_of(api, each.id))
            return each.id, pid > 0 and not readiness.missing(pid, each.ports)

        are_ready = dict(await asyncio.gather(*(ready(each) for each in found)))
        told = {name: replace(each, is_ready=are_ready[name]) for name, each in described.items()}
        return containers.workload(lease, found, told)

    async def stop(self, lease: LeaseId, grace_s: int) -> None:
        async with self._lock(lease):
            async with self._warden.leaving(lease):
                await self._remover.remove(lease, grace_s)
            if self._settings.kept_logs is not None:
                await asyncio.to_thread(kept_logs.close, self._settings.kept_logs, lease, self._clock.now())
            self._images.images.forget(lease)

    async def keep_images(self) -> None:
        """Pull what the operator wants here, and remove idle images when the disk fills. Until cancelled."""
        await self._images.housekeeping.run()

    @property
    def image_bytes(self) -> int | None:
        """Size of the images that are kept for leases, as last measured; not part of the port."""
        return self._images.collector.held_bytes

    async def list(self) -> tuple[Workload, ...]:
        provider = self._settings.provider
        found: list[Found] = []
        left: set[LeaseId] = set()

        async def look() -> None:
            labels = {naming.PROVIDER: provider}
            found.extend(
                await self._engine.call("listing containers", lambda api: containers.find(api, labels))
            )

        async def look_beside() -> None:
            doing = "listing networks and volumes"
            left.update(await self._engine.call(doing, lambda api: containers.leases_left(api, provider)))
            left.update(await self._volumes.leases())

        await together(look(), look_beside())
        await self._warden.check(found, left)
        self._looks.keep_only(found)
        described = await self._looks.at(found)
        by_lease: dict[LeaseId, Sequence[Found]] = dict.fromkeys(left, ())
        for each in found:
            by_lease[each.lease] = (*by_lease.get(each.lease, ()), each)
        return tuple(containers.workload(lease, by_lease[lease], described) for lease in sorted(by_lease))

    def disk_bytes(self, lease: LeaseId) -> int | None:
        """What its containers and volumes take of disks, as last measured; not part of the port."""
        return self._overuse.disk_bytes.get(lease)

    def hints(self) -> AsyncIterator[None]:
        return events.changes(self._engine, self._clock, self._looks)

    async def logs(self, lease: LeaseId, request: LogRequest) -> AsyncIterator[LogBatch]:
        found = await self._find(lease)
        there = [
            each
            for each in found
            if request.service in {None, each.service} and request.replica in {None, each.replica}
        ]
        kept = await self._kept(lease, request)
        if not there and not kept:
            raise Permanent(
                f"{request.service or 'no service'} of {lease} is not here",
                remedy=f"tenant status {lease.dseq}",
            )
        async with aclosing(kept_logs.read(kept, there, request)) as batches:
            async for batch in batches:
                yield batch
        async with aclosing(logs.read(self._engine, self._pumps, there, request)) as batches:
            async for batch in batches:
                yield batch

    async def _kept(self, lease: LeaseId, request: LogRequest) -> Sequence[KeptFile]:
        settings = self._settings.kept_logs
        return await asyncio.to_thread(kept_logs.files, settings, lease, request) if settings else ()

    async def _sweep_logs(self) -> None:
        while (settings := self._settings.kept_logs) is not None:
            await asyncio.to_thread(kept_logs.sweep, settings, self._clock.now())
            await self._clock.sleep_until(after(self._clock.now(), LOG_SWEEP_EVERY))

    async def exec(self, lease: LeaseId, request: ExecRequest) -> ExecSession:
        wanted = (request.service, request.replica)
        for each in await self._find(lease):
            if (each.service, each.replica) == wanted and each.state is ContainerState.RUNNING:
                return DockerExec(self._engine, each.id, request)
        raise Permanent(
            f"{request.service}/{request.replica} of {lease} does not run here",
            remedy=f"tenant status {lease.dseq}",
        )

    async def copy_in(self, lease: LeaseId, request: CopyRequest, archive: AsyncIterator[bytes]) -> int:
        return await copies.copy_in(self._engine, await self._container(lease, request), request, archive)

    async def copy_out(self, lease: LeaseId, request: CopyRequest) -> AsyncIterator[bytes]:
        container = await self._container(lease, request)
        async with aclosing(copies.copy_out(self._engine, container, request)) as pieces:
            async for piece in pieces:
                yield piece

    async def _container(self, lease: LeaseId, request: CopyRequest) -> Found:
        for each in await self._find(lease):
            if (each.service, each.replica) == (request.service, request.replica):
                return each
        raise Permanent(
            f"{request.service}/{request.replica} of {lease} is not here",
            remedy=f"tenant status {lease.dseq}",
        )

    def _lock(self, lease: LeaseId) -> asyncio.Lock:
        return self._locks.setdefault(lease, asyncio.Lock())

    async def _find(self, lease: LeaseId) -> Sequence[Found]:
        labels = naming.lease_labels(self._settings.provider, lease)
        return await self._engine.call(f"looking for {lease}", lambda api: containers.find(api, labels))

    async def _workload(self, lease: LeaseId) -> Workload:
        """As it is just now, after something was done to it."""
        found = await self._find(lease)
        return containers.workload(lease, found, await self._looks.at(found, fresh=True))
