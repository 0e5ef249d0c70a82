"""What should run against what runs: the comparison behind every repair.

Pure. The engine's list is the truth, but an old truth: what changed after it was taken is not judged.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from provider.core.lease import Phase
from provider.core.state import AgentState, Lease
from provider.domain.ids import LeaseId
from provider.domain.moment import Instant
from provider.domain.workload import Container, ContainerState, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """A lease that should run and does not."""

    lease: LeaseId
    ended_at: Instant | None
    """When the engine says the first container ended; None where it does not know."""
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    deaths: tuple[Death, ...] = ()
    """Sorted by lease."""
    orphans: tuple[LeaseId, ...] = ()
    """What is there without a live lease, sorted."""
    alive: tuple[LeaseId, ...] = ()
    """Leases that run as they should, sorted."""


def compare(state: AgentState, workloads: Iterable[Workload], as_of: Instant) -> Drift:
    """How what the engine listed at ``as_of`` differs from what ``state`` says should run."""
    listed = {workload.lease: workload for workload in workloads}
    deaths, alive = [], []
    for lease in state.leases.values():
        if lease.phase is not Phase.RUNNING or (lease.started_at or 0) > as_of:
            continue
        death = _death(lease, listed.get(lease.id))
        if death is None:
            alive.append(lease.id)
        else:
            deaths.append(death)
    return Drift(
        deaths=tuple(sorted(deaths, key=lambda death: death.lease)),
        orphans=tuple(sorted(each for each in listed if each not in state.leases)),
        alive=tuple(sorted(alive)),
    )


def _death(lease: Lease, workload: Workload | None) -> Death | None:
    if workload is None or workload.generation != lease.generation:
        return Death(lease=lease.id, ended_at=None, detail="its containers are gone")
    assert lease.manifest is not None, "a lease that runs has a manifest"
    group = lease.manifest.group(lease.group.name)
    assert group is not None, "a manifest that was taken has the lease's group"
    by_name = {(container.service, container.replica): container for container in workload.containers}
    ended: list[Container] = []
    for service in group.services:
        for replica in range(service.count):
            container = by_name.get((service.name, replica))
            if container is None:
                return Death(
                    lease=lease.id, ended_at=None, detail=f"container {service.name}/{replica} is gone"
                )
            if container.state is not ContainerState.RUNNING:
                ended.append(container)
    if not ended:
        return None
    first = min(
        ended, key=lambda container: (container.finished_at or 0, container.service, container.replica)
    )
    return Death(lease=lease.id, ended_at=first.finished_at, detail=describe(first))


def describe(container: Container) -> str:
    """One line for the tenant: which container, how it ended."""
    name = f"{container.service}/{container.replica}"
    if container.oom_killed:
        return f"{name} ran out of memory"
    if container.problem:
        return f"{name}: {container.problem}"
    return f"{name} exited with status {container.exit_code}"
