"""In which order containers are started: those that others need first.

Owns the waves and the wait between them. A service that never becomes ready keeps nobody waiting for ever: on
Akash nobody waits at all, and a manifest that runs there runs here.
"""

from __future__ import annotations

from collections.abc import Iterable

from provider.adapters.runtime import containers, naming, readiness
from provider.adapters.runtime.engine import Engine
from provider.domain.moment import MINUTE, Span, after
from provider.domain.workload import Launch, ReplicaLaunch
from provider.ports import Clock

READY_PATIENCE = Span(MINUTE)
"""For all that a wave needs together."""
READY_PAUSE = Span(100)
"""Between two looks at who listens."""


def waves(launch: Launch) -> tuple[tuple[ReplicaLaunch, ...], ...]:
    """The replicas, in groups that can be started at once; each needs only those before it."""
    left = list(launch.replicas)
    made: list[tuple[ReplicaLaunch, ...]] = []
    while left:
        names = {replica.service.name for replica in left}
        waits = {each.service for each in launch.dependencies if each.needs in names}
        wave = tuple(replica for replica in left if replica.service.name not in waits)
        assert wave, "dependencies have no circles"
        made.append(wave)
        left = [replica for replica in left if replica.service.name in waits]
    return tuple(made)


def needed_by(launch: Launch, wave: Iterable[ReplicaLaunch]) -> tuple[ReplicaLaunch, ...]:
    """What must be ready before ``wave`` is started."""
    names = {replica.service.name for replica in wave}
    needed = {each.needs for each in launch.dependencies if each.service in names}
    return tuple(replica for replica in launch.replicas if replica.service.name in needed)


async def until_ready(
    engine: Engine, clock: Clock, launch: Launch, needed: Iterable[ReplicaLaunch]
) -> tuple[str, ...]:
    """Wait for ``needed``; the names of the services that did not become ready in time."""
    patience = after(clock.now(), READY_PATIENCE)
    late = []
    for replica in needed:
        name = naming.container_name(launch.lease, replica.service.name, replica.replica)
        while not await _is_ready(engine, name, replica):
            if clock.now() >= patience:
                late.append(replica.service.name)
                break
            await clock.sleep_until(after(clock.now(), READY_PAUSE))
    return tuple(late)


async def _is_ready(engine: Engine, name: str, replica: ReplicaLaunch) -> bool:
    pid = await engine.call(f"looking at {name}", lambda api: containers.pid_of(api, name))
    return pid > 0 and not readiness.missing(pid, readiness.exposed(replica.service))
