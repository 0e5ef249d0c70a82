"""The wait between containers that others need and those others.

A service that never becomes ready keeps nobody waiting for ever: on Akash nobody waits at all, and a manifest
that runs there runs here. Who waits for whom is ``core.launching``'s.
"""

from __future__ import annotations

from collections.abc import Iterable

from provider.adapters.runtime import containers, naming, readiness
from provider.adapters.runtime.engine import Engine
from provider.domain.moment import SECOND, Span, after
from provider.domain.workload import Launch, ReplicaLaunch
from provider.ports import Clock

READY_PATIENCE = Span(30 * SECOND)
"""For all that a wave needs together."""
READY_PAUSE = Span(100)
"""Between two looks at who listens."""


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
