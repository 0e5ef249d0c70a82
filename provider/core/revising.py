"""What a lease runs, changed: an update taken, an update taken back. Pure, values to values.

Owns the count of generations: a service's containers are made anew only where something of that service
changed, so that an update of one leaves the others running.
"""

from __future__ import annotations

from dataclasses import replace

from provider.core.lease import Phase
from provider.core.state import Lease, Revision
from provider.domain.manifest import Service
from provider.domain.workload import PortBinding


def taken(lease: Lease, revision: Revision) -> Lease:
    """``lease`` with ``revision`` as what is to run, and what ran before to fall back on."""
    former, revisions = lease.former, lease.former_revisions
    if former is None or lease.phase is Phase.RUNNING:
        former, revisions = lease.current, lease.revisions
    changed = _revised(lease, revision)
    return replace(changed, former=former, former_revisions=revisions, update_problem="", restarting="")


def restored(lease: Lease, why: str) -> Lease:
    """``lease`` with what ran before its update as what is to run again."""
    assert lease.former is not None, "only an update can be taken back"
    problem = f"the update was taken back, what ran before runs again: {why}"
    return replace(
        lease,
        generation=lease.generation + 1,
        current=lease.former,
        revisions=lease.former_revisions,
        former=None,
        former_revisions={},
        update_problem=problem,
        detail=problem,
        restarting="",
    )


def proved(lease: Lease) -> Lease:
    """``lease`` with nothing to fall back on any more: what was updated does its work."""
    return replace(lease, former=None, former_revisions={})


def revision_of(lease: Lease, service: str) -> int:
    """The generation that the containers of ``service`` must have."""
    return lease.revisions.get(service, lease.generation)


def _revised(lease: Lease, revision: Revision) -> Lease:
    generation = lease.generation + 1
    before = _services(lease, lease.current) if lease.current else {}
    revisions = {}
    for name, service in _services(lease, revision).items():
        same = name in before and _is_same(before[name], service)
        same = same and lease.current is not None and _ports(lease.current, name) == _ports(revision, name)
        revisions[name] = revision_of(lease, name) if same else generation
    return replace(lease, generation=generation, current=revision, revisions=revisions)


def _services(lease: Lease, revision: Revision) -> dict[str, Service]:
    group = revision.manifest.group(lease.group.name)
    assert group is not None, "a manifest that was taken has the lease's group"
    return {service.name: service for service in group.services}


def _ports(revision: Revision, service: str) -> set[PortBinding]:
    return {port for port in revision.ports if port.service == service}


def _is_same(one: Service, other: Service) -> bool:
    """Whether both are the same containers: how they are exposed to others does not matter."""
    return replace(one, expose=(), credentials=None) == replace(other, expose=(), credentials=None)
