"""How one container ends: asked first, given its grace, then ended; and removed.

Invariant: each step is fine with its work done already.
"""

from __future__ import annotations

from provider.adapters.runtime import containers, kept_logs, naming
from provider.adapters.runtime.containers import Found
from provider.adapters.runtime.engine import Engine, accepted
from provider.adapters.runtime.wire import Request
from provider.domain.errors import Permanent
from provider.domain.workload import ContainerState


async def ask_to_end(engine: Engine, found: Found, grace_s: int) -> None:
    """SIGTERM, ``grace_s``, SIGKILL. Not in a thread: as many may wait at once as there are leases."""
    if found.state is not ContainerState.RUNNING:
        return
    doing = f"stopping {found.service}/{found.replica} of {found.lease}"
    request = Request(method="POST", path=f"/containers/{found.id}/stop", query={"t": str(grace_s)})
    try:
        async with engine.stream(doing, request, grace_s + engine.settings.call_timeout_s) as answer:
            await accepted(answer, doing)
    except Permanent:
        pass  # it is gone, or going


async def end(engine: Engine, found: Found, grace_s: int) -> None:
    """Ask it to end where there is a grace, and remove it."""
    if grace_s > 0:
        await ask_to_end(engine, found, grace_s)
    await remove(engine, found)


async def remove(engine: Engine, found: Found) -> None:
    """At once, once its last lines are kept; those of the idle job, for which a lease waits, are not."""
    if not found.lease.is_idle:
        await kept_logs.keep(engine, found)
    name = naming.container_name(found.lease, found.service, found.replica)
    await engine.call(f"removing {name}", lambda api: containers.remove(api, found.id))
