"""What should run against what runs: the comparison behind every repair.

Pure. The engine's list is the truth, but an old truth: what changed after it was taken is not judged.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from provider.core.launching import expected
from provider.core.lease import Phase
from provider.core.revising import revision_of
from provider.core.state import AgentState, Lease
from provider.domain.ids import LeaseId
from provider.domain.moment import Instant
from provider.domain.workload import Container, ContainerState, ExitCause, Workload

_CODES = {
    126: "the command cannot be executed",
    127: "the command was not found",
    137: "killed",
    139: "segmentation fault",
    143: "terminated",
}
"""What a shell, an init or the kernel means by a status (128 + signal, bash(1) "EXIT STATUS")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """A lease that should run and does not: its first container to end."""

    lease: LeaseId
    service: str
    replica: int
    cause: ExitCause
    ended_at: Instant | None
    """When the engine says it ended; None where it does not know."""
    detail: str
    others_run: bool = False
    """Whether the lease's other containers run on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    deaths: tuple[Death, ...] = ()
    """Sorted by lease."""
    orphans: tuple[LeaseId, ...] = ()
    """What is there without a live lease, sorted."""
    alive: tuple[LeaseId, ...] = ()
    """Leases of which all runs, sorted."""


def compare(state: AgentState, workloads: Iterable[Workload], as_of: Instant) -> Drift:
    """How what the engine listed at ``as_of`` differs from what ``state`` says should run."""
    listed = {workload.lease: workload for workload in workloads}
    deaths, alive = [], []
    for lease in state.leases.values():
        workload = listed.get(lease.id)
        if lease.phase is Phase.UPDATING and _all_run(lease, workload):
            alive.append(lease.id)
        if lease.phase is not Phase.RUNNING or (lease.started_at or 0) > as_of:
            continue
        death = find_death(lease, workload)
        if death is None:
            alive.append(lease.id)
        else:
            deaths.append(death)
    return Drift(
        deaths=tuple(sorted(deaths, key=lambda death: death.lease)),
        orphans=tuple(sorted(each for each in listed if each not in state.leases)),
        alive=tuple(sorted(alive)),
    )


def find_death(lease: Lease, workload: Workload | None) -> Death | None:
    """What of ``lease`` does not run as it should: the one that ended first; None when all does."""
    by_name = {(each.service, each.replica): each for each in (workload.containers if workload else ())}
    absent: list[tuple[str, int]] = []
    ended: list[Container] = []
    for name, replica in expected(lease):
        container = by_name.get((name, replica))
        if container is None or container.generation != revision_of(lease, name):
            absent.append((name, replica))
        elif not does_run(container):
            ended.append(container)
    if not ended and not absent:
        return None
    others_run = len(ended) + len(absent) < len(expected(lease))
    if ended:
        first = min(ended, key=lambda each: (each.finished_at or 0, each.service, each.replica))
        return Death(
            lease=lease.id,
            service=first.service,
            replica=first.replica,
            cause=first.cause or ExitCause.OWN,
            ended_at=first.finished_at,
            detail=describe(first),
            others_run=others_run,
        )
    service, replica = absent[0]
    return Death(
        lease=lease.id,
        service=service,
        replica=replica,
        cause=ExitCause.GONE,
        ended_at=None,
        detail=f"container {service}/{replica} is gone" if others_run else "its containers are gone",
        others_run=others_run,
    )


def _all_run(lease: Lease, workload: Workload | None) -> bool:
    """Whether as many containers run as should, of whatever generation."""
    running = [each for each in (workload.containers if workload else ()) if does_run(each)]
    return len(running) >= len(expected(lease))


def does_run(container: Container) -> bool:
    """Whether it does its work."""
    return container.state is ContainerState.RUNNING and container.cause is None


def describe(container: Container) -> str:
    """One line for the tenant: which container, how it ended."""
    name = f"{container.service}/{container.replica}"
    if container.problem:
        return f"{name}: {container.problem}"
    match container.cause:
        case ExitCause.OOM:
            return f"{name} ran out of memory"
        case ExitCause.ENGINE:
            return f"{name} went down with the container engine"
        case _:
            meaning = _CODES.get(container.exit_code or 0)
            return f"{name} exited with status {container.exit_code}" + (f" ({meaning})" if meaning else "")
