"""``ports.Runtime`` on a simulated engine: make the engine once, and one of these for each life of the agent.

Invariant: it keeps the contract of ``ports.Runtime`` as Docker does: ``tests/contract/test_runtime.py``
runs on both.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Self

from provider.adapters.runtime.asked import Asked, unmeasured
from provider.adapters.runtime.images.observer import PullObserver, Unobserved
from provider.core.launching import waves
from provider.domain.errors import Permanent, Temporary
from provider.domain.ids import LeaseId
from provider.domain.moment import Instant, after
from provider.domain.workload import (
    ContainerState,
    GpuAttachment,
    Launch,
    LogBatch,
    LogLine,
    ReplicaLaunch,
    RuntimeCapabilities,
    StorageClass,
    Workload,
)
from provider.ports import CopyRequest, ExecRequest, ExecSession, LogRequest
from provider.sim import archives
from provider.sim.engine import ImageScript, Key, SimContainer, SimulatedEngine
from provider.sim.execution import SimulatedExec
from provider.sim.script import timeline

DISK = "simulated"
"""One for everything."""
TIB = 1024**4
ANSWER_S = 0.003
"""How long this engine takes to answer."""


class SimulatedRuntime:
    """``ports.Runtime`` on a ``SimulatedEngine``. ``exec`` understands what ``sim.script`` does."""

    def __init__(
        self,
        engine: SimulatedEngine,
        attachment: GpuAttachment = GpuAttachment.ENVIRONMENT,
        *,
        pulls: PullObserver | None = None,
        requests: Asked = unmeasured,
    ) -> None:
        """``pulls`` and ``requests`` are told what Docker's adapter tells them."""
        self.engine = engine
        self._attachment = attachment
        self._pulls = pulls or Unobserved()
        self._requests = requests
        self._locks: dict[LeaseId, asyncio.Lock] = {}
        self._tasks = asyncio.TaskGroup()
        self._alarms: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        for container in (each for lease in self.engine.leases.values() for each in lease.values()):
            self._watch(container)
        return self

    async def __aexit__(self, *exc: object) -> None:
        for alarm in self._alarms:
            alarm.cancel()
        await self._tasks.__aexit__(None, None, None)

    async def capabilities(self) -> RuntimeCapabilities:
        self._ask("engine_read")
        problem = "this engine cannot attach GPUs" if self._attachment is GpuAttachment.NONE else None
        return RuntimeCapabilities(
            engine="simulated 1",
            gpu_attachment=self._attachment,
            gpu_problem=problem,
            limits_storage=False,
            storage_classes=tuple(
                StorageClass(name=name, disk=DISK, capacity_bytes=TIB)
                for name in ("beta2", "beta3", "default")
            ),
            layers_disk=DISK,
        )

    async def start(self, launch: Launch) -> Workload:
        async with self._locks.setdefault(launch.lease, asyncio.Lock()):
            self._ask("container_write")
            there = self.engine.leases.get(launch.lease, {})
            fit = {name: each for name, each in there.items() if _fits(each, launch)}
            missing = [each for each in launch.replicas if not self._runs(fit, each)]
            for image in sorted({replica.service.image for replica in missing}):
                await self._fetch(launch.lease, image)
            gone = [
                each
                for name, each in there.items()
                if fit.get(name) is not each or not _goes_on(each, self.engine.clock.now())
            ]
            self.engine.keep(launch.lease, gone)
            self.engine.leases[launch.lease] = fit
            for replica in (each for wave in waves(launch) for each in wave if each in missing):
                self._begin(launch, replica)
            await self.engine.notify()
            return self._workload(launch.lease)

    async def restart(self, lease: LeaseId, service: str, grace_s: int) -> Workload:
        async with self._locks.setdefault(lease, asyncio.Lock()):
            self._ask("container_write")
            there = [each for key, each in self.engine.leases.get(lease, {}).items() if key[0] == service]
            if not there:
                raise Temporary(f"{service} of {lease} is not here")
            self.engine.keep(lease, there)
            for container in there:
                self.engine.starts += 1
                container.started_at, container.killed_at = self.engine.clock.now(), None
                self._watch(container)
            await self.engine.notify()
            return self._workload(lease)

    async def look(self, lease: LeaseId) -> Workload | None:
        self._ask("container_read")
        return self._workload(lease) if lease in self.engine.leases else None

    async def stop(self, lease: LeaseId, grace_s: int) -> None:
        async with self._locks.setdefault(lease, asyncio.Lock()):
            self._ask("container_remove")
            self.engine.keep(lease, self.engine.leases.pop(lease, {}).values())
            self.engine.files.pop(lease, None)
            await self.engine.notify()

    async def list(self) -> tuple[Workload, ...]:
        self._ask("container_read")
        return tuple(self._workload(lease) for lease in sorted(self.engine.leases))

    async def hints(self) -> AsyncIterator[None]:
        while True:
            yield
            async with self.engine.changed:
                await self.engine.changed.wait()

    async def logs(self, lease: LeaseId, request: LogRequest) -> AsyncIterator[LogBatch]:
        self._ask("container_read")
        there = self.engine.leases.get(lease, {})
        wanted = [there[key] for key in sorted(there) if _matches(key, request)]
        kept = [
            line
            for line in self.engine.kept.get(lease, ())
            if _matches((line.service, line.replica), request)
        ]
        if not wanted and not kept:
            raise Permanent(f"{request.service or 'no service'} of {lease} is not here")
        if request.tail is not None:
            live = {(each.replica.service.name, each.replica.replica) for each in wanted}
            kept = [line for line in kept if (line.service, line.replica) not in live]
        past = [each.lines(self.engine.clock.now()) for each in wanted]
        for lines in (*_by_replica(kept), *past):
            since = [line for line in lines if line.at_ns > request.since_ns]
            for line in since if request.tail is None else since[len(since) - request.tail :]:
                yield _batch(line)
        seen = [len(lines) for lines in past]
        while request.follow and any(_goes_on(each, self.engine.clock.now()) for each in wanted):
            async with self.engine.changed:
                await self.engine.changed.wait()
            for number, each in enumerate(wanted):
                for line in each.lines(self.engine.clock.now())[seen[number] :]:
                    seen[number] += 1
                    if line.at_ns > request.since_ns:
                        yield _batch(line)

    async def exec(self, lease: LeaseId, request: ExecRequest) -> ExecSession:
        self._ask("exec_write")
        container = self.engine.leases.get(lease, {}).get((request.service, request.replica))
        if container is None or not _goes_on(container, self.engine.clock.now()):
            raise Permanent(f"{request.service}/{request.replica} of {lease} does not run here")
        return SimulatedExec(timeline(request.argv), self.engine.clock, tty=request.tty)

    async def copy_in(self, lease: LeaseId, request: CopyRequest, archive: AsyncIterator[bytes]) -> int:
        key = self._container(lease, request)
        data = b"".join([piece async for piece in archive])
        files = self.engine.files.setdefault(lease, {})
        folders = {"/tmp", *(path for at, path in files if at == key)}  # noqa: S108 - of a simulated container
        try:
            unpacked = archives.unpacked(data, request.path)
        except ValueError as error:
            raise Permanent(
                f"the archive cannot be unpacked: {error}", remedy="send a tar archive"
            ) from error
        if request.path not in folders or files.get((key, request.path)):
            raise Permanent(f"copying to {request.path}: there is no such file or folder")
        files.update({(key, path): held for path, held in unpacked.items()})
        return len(data)

    async def copy_out(self, lease: LeaseId, request: CopyRequest) -> AsyncIterator[bytes]:
        key = self._container(lease, request)
        below = {path: data for (at, path), data in self.engine.files.get(lease, {}).items() if at == key}
        packed = archives.packed(below, request.path)
        if packed is None:
            raise Permanent(f"copying from {request.path}: there is no such file or folder")
        yield packed

    def _container(self, lease: LeaseId, request: CopyRequest) -> Key:
        self.engine.check()
        key = (request.service, request.replica)
        if key not in self.engine.leases.get(lease, {}):
            raise Permanent(f"{request.service}/{request.replica} of {lease} is not here")
        return key

    def _runs(self, there: dict[Key, SimContainer], replica: ReplicaLaunch) -> bool:
        container = there.get((replica.service.name, replica.replica))
        return container is not None and _goes_on(container, self.engine.clock.now())

    async def _fetch(self, lease: LeaseId, image: str) -> None:
        """Everything about an image that takes time or fails, told to whoever watches pulls."""
        script = self.engine.images.get(image, ImageScript())
        time = asyncio.get_running_loop().time
        began = time()
        self._pulls.began(lease, image)
        try:
            await self._pull(script)
        except BaseException as failure:
            self._pulls.failed(lease, image, str(failure))
            raise
        self._pulls.done(lease, image, time() - began, script.size_bytes)

    async def _pull(self, script: ImageScript) -> None:
        await self.engine.clock.sleep_until(after(self.engine.clock.now(), script.takes))
        self._ask("image_write")
        if script.failure is not None and script.failures != 0:
            script.failures = None if script.failures is None else script.failures - 1
            raise script.failure

    def _ask(self, op: str) -> None:
        """``Temporary`` while the engine is away."""
        self._requests(op, ANSWER_S, ok=not self.engine.is_away)
        self.engine.check()

    def _begin(self, launch: Launch, replica: ReplicaLaunch) -> None:
        script = self.engine.images.get(replica.service.image, ImageScript())
        self.engine.starts += 1
        argv = (*(replica.service.command or ()), *(replica.service.args or ()))
        container = SimContainer(
            id=f"{launch.lease.key}{self.engine.starts:052x}",
            number=self.engine.starts,
            replica=replica,
            runs=script.runs or timeline(argv),
            started_at=self.engine.clock.now(),
        )
        self.engine.leases[launch.lease][replica.service.name, replica.replica] = container
        self._watch(container)

    def _watch(self, container: SimContainer) -> None:
        """Wake whoever waits whenever ``container`` writes a line or ends by itself."""
        moments = {after(container.started_at, line.after) for line in container.runs.lines}
        if container.runs.ends_after is not None:
            moments.add(after(container.started_at, container.runs.ends_after))
        due = sorted(moment for moment in moments if moment > self.engine.clock.now())
        if due:
            self._alarms.append(self._tasks.create_task(self._alarm(due)))

    async def _alarm(self, due: Sequence[Instant]) -> None:
        for moment in due:
            await self.engine.clock.sleep_until(moment)
            await self.engine.notify()

    def _workload(self, lease: LeaseId) -> Workload:
        there = self.engine.leases[lease]
        return Workload(
            lease=lease,
            containers=tuple(there[key].described(self.engine.clock.now()) for key in sorted(there)),
        )


def _matches(key: Key, request: LogRequest) -> bool:
    return request.service in {None, key[0]} and request.replica in {None, key[1]}


def _by_replica(lines: list[LogLine]) -> list[list[LogLine]]:
    keys = sorted({(line.service, line.replica) for line in lines})
    return [[line for line in lines if (line.service, line.replica) == key] for key in keys]


def _batch(line: LogLine) -> LogBatch:
    return LogBatch(
        service=line.service,
        replica=line.replica,
        is_stderr=line.is_stderr,
        at_ns=(line.at_ns,),
        text=line.text.encode(),
    )


def _fits(container: SimContainer, launch: Launch) -> bool:
    return container.replica in launch.replicas


def _goes_on(container: SimContainer, now: Instant) -> bool:
    return container.described(now).state is ContainerState.RUNNING
