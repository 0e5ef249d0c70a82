"""The way up: from what is there of a lease to all of its containers running.

Owns the order: images; then network and misfits' removal at once; then the containers; then starting them,
all at once but for those that need others. Does not own who may work on a lease, see ``docker``.

Invariant: whatever step was reached by a process that was killed, the next one goes on from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import structlog

from provider.adapters.runtime import containers, ending, gpus, naming, networks, ordering, spec
from provider.adapters.runtime.containers import Found
from provider.adapters.runtime.egress.warden import Warden
from provider.adapters.runtime.engine import Engine, together
from provider.adapters.runtime.gpu_sight import GpuSight, Watched
from provider.adapters.runtime.host import cpus_of, has_apparmor, open_files_ceiling
from provider.adapters.runtime.images.stock import Images, Wanted
from provider.adapters.runtime.storage.volumes import Volumes
from provider.core import launching
from provider.domain.errors import ProviderError, Temporary
from provider.domain.ids import LeaseId
from provider.domain.workload import ContainerState, Launch, ReplicaLaunch
from provider.ports import Clock

log = structlog.get_logger()

Key = tuple[str, int]
"""A service's name and the number of the replica."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sorted:
    """The containers of a lease against a launch."""

    fit: Mapping[Key, Found]
    """Are what the launch wants, running or not."""
    misfits: tuple[Found, ...]
    """Of another generation, changed, or not wanted at all."""

    def is_done(self, launch: Launch) -> bool:
        """Whether all runs and nothing else is there."""
        return not self.misfits and all(
            key(replica) in self.fit and self.fit[key(replica)].state is ContainerState.RUNNING
            for replica in launch.replicas
        )


def key(replica: ReplicaLaunch) -> Key:
    return replica.service.name, replica.replica


def sort(launch: Launch, found: Iterable[Found], spoilt: Collection[str] = ()) -> Sorted:
    """Which of ``found`` are what ``launch`` wants; those that are ``spoilt`` never are."""
    wanted = {
        key(replica): (replica.generation, spec.spec_hash(launch, replica)) for replica in launch.replicas
    }
    fit: dict[Key, Found] = {}
    misfits: list[Found] = []
    for each in found:
        name = (each.service, each.replica)
        same = wanted.get(name) == (each.generation, each.spec) and not each.is_going
        if same and name not in fit and each.id not in spoilt:
            fit[name] = each
        else:
            misfits.append(each)
    return Sorted(fit=fit, misfits=tuple(misfits))


class Launcher:
    """Starts leases on one engine."""

    def __init__(
        self, engine: Engine, clock: Clock, *, images: Images, warden: Warden, volumes: Volumes
    ) -> None:
        self._engine = engine
        self._sight = GpuSight(engine, clock)
        self._volumes = volumes
        self._warden = warden
        self._clock = clock
        self._images = images

    async def launch(self, launch: Launch, there: Sorted) -> None:
        """Make all of ``launch`` run. After a failure nothing that this began goes on."""
        made: dict[Key, str] = {name: each.id for name, each in there.fit.items()}
        missing = [replica for replica in launch.replicas if key(replica) not in made]
        # First the images: as long as they are not there, an older generation may as well serve on.
        await together(*(self._images.ensure(each) for each in {_wanted(launch, each) for each in missing}))
        await together(
            self._connect(launch),
            self._write_gpus(launch),
            *(ending.end(self._engine, each, launch.grace_s) for each in there.misfits),
        )

        async def make(replica: ReplicaLaunch) -> None:
            made[key(replica)] = await self._create(launch, replica)

        await together(*(make(each) for each in missing))
        await self._start_all(launch, there, made)
        await self._volumes.end_older(launch)

    async def _start_all(self, launch: Launch, there: Sorted, made: Mapping[Key, str]) -> None:
        """Wave by wave; a wave begins once what it needs is ready, or has had its time."""
        begun: list[str] = []

        async def begin(replica: ReplicaLaunch) -> None:
            begun.append(made[key(replica)])
            begun.append(await self._begin(launch, replica, made[key(replica)]))

        running = {name for name, each in there.fit.items() if each.state is ContainerState.RUNNING}
        try:
            for wave in launching.waves(launch):
                absent = [each for each in wave if key(each) not in running]
                needed = launching.needed_by(launch, absent)
                late = await ordering.until_ready(self._engine, self._clock, launch, needed)
                if late:
                    log.info("service_not_ready", lease=str(launch.lease), services=sorted(set(late)))
                await together(*(begin(each) for each in absent))
        except ProviderError:
            await self._halt(begun)
            raise

    async def _begin(self, launch: Launch, replica: ReplicaLaunch, container: str) -> str:
        """Start it; make it anew when what it was made on is gone. The id of what runs."""
        doing = f"starting {replica.service.name}/{replica.replica} of {launch.lease}"
        await self._volumes.ready(launch.lease, *key(replica))
        if await self._engine.call(doing, lambda api: containers.start(api, container)):
            return await self._seeing(launch, replica, container)
        await self._engine.call(doing, lambda api: containers.remove(api, container))
        anew = await self._create(launch, replica)
        if not await self._engine.call(doing, lambda api: containers.start(api, anew)):
            raise Temporary(f"{doing}: its container or network was removed")
        return await self._seeing(launch, replica, anew)

    async def _seeing(self, launch: Launch, replica: ReplicaLaunch, container: str) -> str:
        """``container``, once it is proven that it sees its GPUs and no others; else it is halted."""
        if replica.gpus:
            watched = Watched(id=container, gpus=replica.gpus, is_simulated=launch.simulated_gpus)
            try:
                unproven = await self._sight.prove(watched)
            except ProviderError:
                await self._halt([container])
                raise
            if unproven is not None:
                log.warning("gpus_not_proven", lease=str(launch.lease), reason=unproven)
        return container

    async def _create(self, launch: Launch, replica: ReplicaLaunch) -> str:
        info = await self._engine.info()
        roads = gpus.roads(info, self._engine.settings)
        if launch.simulated_gpus:
            attachment = gpus.attach_simulated(launch.lease, replica.gpus, roads)
        else:
            attachment = await asyncio.to_thread(gpus.attach, replica.gpus, roads, self._engine.settings)
        image = await self._images.pinned(launch.lease, replica.generation, replica.service.image)
        ground = spec.Ground(
            settings=self._engine.settings,
            attachment=attachment,
            image=image.id,
            dns=tuple(map(str, self._warden.resolvers)),
            image_volumes=image.volumes,
            places=await self._volumes.furnish(launch.lease, replica, image),
            image_gpu_env=image.gpu_env,
            open_files=open_files_ceiling(self._engine.settings.socket_path),
            limits_storage=await self._volumes.layers_are_held(),
            has_apparmor=has_apparmor(info),
            cpus=cpus_of(info),
        )
        name = naming.container_name(launch.lease, *key(replica))
        config = spec.container_config(launch, replica, ground)
        return await self._engine.call(f"creating {name}", lambda api: containers.create(api, name, config))

    async def _connect(self, launch: Launch) -> None:
        """Its network, with rules that know it before anything starts on it."""
        published = [port for replica in launch.replicas for port in replica.ports]
        await together(
            self._warden.guard(launch.lease, published),
            networks.ensure(self._engine, launch.lease, len(launch.replicas)),
        )
        await self._warden.shape(launch.lease)

    async def _write_gpus(self, launch: Launch) -> None:
        uuids = tuple(uuid for replica in launch.replicas for uuid in replica.gpus)
        if not launch.simulated_gpus or not uuids:
            return
        roads = gpus.roads(await self._engine.info(), self._engine.settings)
        try:
            await asyncio.to_thread(gpus.write_simulated, launch.lease, uuids, roads)
        except OSError as error:
            raise Temporary(
                f"cannot write the CDI spec of {launch.lease}: {error}", remedy="run the agent as root"
            ) from error

    async def _halt(self, begun: list[str]) -> None:
        """Best effort: an engine that is away keeps what was begun, and ``stop`` or ``list`` will see it."""

        async def kill(container: str) -> None:
            await self._engine.call("halting", lambda api: containers.kill(api, container))

        with suppress(ProviderError):
            await together(*(kill(each) for each in begun))


def _wanted(launch: Launch, replica: ReplicaLaunch) -> Wanted:
    service = replica.service
    return Wanted(
        image=service.image,
        credentials=service.credentials,
        lease=launch.lease,
        generation=replica.generation,
    )


async def forget_gpus(engine: Engine, lease: LeaseId) -> None:
    """Remove the CDI spec of a lease's simulated GPUs. Fine when there is none."""
    roads = gpus.roads(await engine.info(), engine.settings)
    try:
        await asyncio.to_thread(gpus.remove_simulated, lease, roads)
    except OSError as error:
        raise Temporary(
            f"cannot remove the CDI spec of {lease}: {error}", remedy="run the agent as root"
        ) from error
