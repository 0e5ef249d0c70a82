"""What a tenant or the operator asks of a lease: a manifest, an update, a restart, its end after a notice.

Every question is answered by the draft's ``refused``: None for yes. What follows from a yes is the lease
machine's (``leasing``).
"""

from __future__ import annotations

from dataclasses import replace

from provider import sdl
from provider.core import hostnames, launching, leasing, revising
from provider.core.draft import Draft
from provider.core.events import (
    LeaseUpdated,
    ManifestArrived,
    MigrationRequested,
    OperatorCloses,
    RestartRequested,
)
from provider.core.lease import Phase, Trigger
from provider.core.state import Lease, Revision
from provider.core.step import NoticeGiven
from provider.domain.market import CloseReason, Refusal, Refused
from provider.domain.moment import MINUTE, Instant, Span, after, rfc3339, spelled

OVER = frozenset({Phase.STOPPING, Phase.CLOSED})


def lease_updated(draft: Draft, event: LeaseUpdated) -> None:
    """Another manifest is ordered; it comes from the tenant. Until then what runs runs on."""
    lease = draft.state.leases.get(event.lease)
    if lease is not None:
        draft.put_lease(replace(lease, manifest_hash=event.manifest_hash))


def manifest_arrived(draft: Draft, event: ManifestArrived, at: Instant) -> None:
    """Check a manifest against what was ordered, and run it."""
    lease = draft.state.leases.get(event.lease)
    draft.refused = _manifest_refusal(lease, event)
    if draft.refused is not None or lease is None:
        return
    if lease.current is not None and lease.current.manifest_hash == event.manifest_hash:
        return  # a tenant's repeat of a manifest that was taken already
    group = event.manifest.group(lease.group.name)
    assert group is not None, "checked above"
    names = hostnames.claim(draft.state, lease, group)
    if isinstance(names, Refused):
        draft.refused = names
        return
    dependencies, _ = launching.sensible(event.dependencies, group)
    revision = Revision(
        manifest=event.manifest,
        manifest_hash=event.manifest_hash,
        dependencies=dependencies,
        ports=launching.port_bindings(group, lease.placement.host_ports, kept=lease.ports),
    )
    changed = revising.taken(replace(lease, hostnames=names), revision)
    if lease.phase is Phase.AWARDED:
        leasing.move(draft, changed, Trigger.MANIFEST, at)
    elif lease.phase in {Phase.RUNNING, Phase.UPDATING}:
        leasing.move(draft, replace(changed, deaths=0, failures=0), Trigger.CHANGED, at)
    else:  # what does not run is no ground to fall back on
        leasing.move(draft, replace(changed, former=None, deaths=0, failures=0), Trigger.CHANGED, at)


def _manifest_refusal(lease: Lease | None, event: ManifestArrived) -> Refused | None:
    if lease is None:
        return Refused(why=Refusal.LEASE_UNKNOWN, required=str(event.lease))
    if lease.phase in OVER:
        return Refused(why=Refusal.MANIFEST_NOT_AWAITED, available=f"the lease is {lease.phase}")
    if event.manifest_hash != lease.manifest_hash:
        return Refused(
            why=Refusal.MANIFEST_HASH_DIFFERS, required=lease.manifest_hash, available=event.manifest_hash
        )
    group = event.manifest.group(lease.group.name)
    if group is None:
        return Refused(why=Refusal.MANIFEST_GROUP_MISSING, required=lease.group.name)
    mismatches = sdl.cross_check_group(event.manifest, lease.group)
    if mismatches:
        return Refused(
            why=Refusal.MANIFEST_RESOURCES_DIFFER, available="; ".join(str(each) for each in mismatches)
        )
    _, circle = launching.sensible(event.dependencies, group)
    if circle is not None:
        return Refused(
            why=Refusal.DEPENDENCIES_CIRCULAR,
            available=f"{circle.service} needs {circle.needs}, which needs it",
        )
    return None


def migration_requested(draft: Draft, event: MigrationRequested) -> None:
    """Names move from one lease of a tenant to another, in one step."""
    moved = hostnames.migrated(draft.state, event.source, event.lease, event.hostnames)
    if isinstance(moved, Refused):
        draft.refused = moved
        return
    for lease in moved:
        draft.put_lease(lease)


def restart_requested(draft: Draft, event: RestartRequested, at: Instant) -> None:
    """Stop and start a service as it is."""
    lease = draft.state.leases.get(event.lease)
    if lease is None:
        draft.refused = Refused(why=Refusal.LEASE_UNKNOWN, required=str(event.lease))
        return
    if lease.phase is not Phase.RUNNING:
        draft.refused = Refused(why=Refusal.NOT_RUNNING, available=f"the lease is {lease.phase}")
        return
    services = [name for name, _ in launching.expected(lease)]
    if event.service not in services:
        known = ", ".join(sorted(set(services)))
        draft.refused = Refused(why=Refusal.SERVICE_UNKNOWN, required=event.service, available=known)
        return
    # Who restarts what was just updated wants it, not what ran before.
    restarting = replace(revising.proved(lease), restarting=event.service, detail="")
    leasing.move(draft, restarting, Trigger.CHANGED, at)


def _sooner_than_promised(lease: Lease, event: OperatorCloses, at: Instant) -> Refused | None:
    """Where a notice was given already, its end is good; ``MINUTE`` for the way from the operator to here."""
    promised = lease.group.requirements.notice
    if promised is None or event.ends_at >= after(at, Span(promised - MINUTE)):
        return None
    if lease.ends_at is not None and event.ends_at >= lease.ends_at:
        return None
    notice = Span(max(event.ends_at - at, 0))
    return Refused(why=Refusal.NOTICE_TOO_SHORT, required=spelled(promised), available=spelled(notice))


def operator_closes(draft: Draft, event: OperatorCloses, at: Instant) -> None:
    """Give notice; at its end the lease ends as any other. A later word replaces an earlier one."""
    lease = draft.state.leases.get(event.lease)
    if lease is None or lease.phase in OVER:
        draft.refused = Refused(why=Refusal.LEASE_UNKNOWN, required=str(event.lease))
        return
    early = _sooner_than_promised(lease, event, at)
    if early is not None and not event.is_forced:
        draft.refused = early
        return
    why = event.why or "the operator took it back"
    if event.ends_at <= at:
        leasing.end(draft, lease.id, CloseReason.OPERATOR_CLOSED, why, at)
        return
    detail = f"the provider takes it back at {rfc3339(event.ends_at)}: {why}"
    draft.put_lease(replace(lease, ends_at=event.ends_at, ends_because=why, detail=detail))
    draft.note(NoticeGiven(lease=lease.id, ends_at=event.ends_at, why=why))
    leasing.report(draft, lease.id)
