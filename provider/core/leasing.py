"""What entering a phase makes the agent do, and how events become triggers of the lease machine.

The table of moves is in ``lease.py``. Each phase has one function here that says everything that
happens on entering it, so a reader asks one question per phase.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from provider import sdl
from provider.core import drift, launching, metering
from provider.core.draft import Draft
from provider.core.effects import (
    ConfirmLease,
    EndLease,
    ReportLease,
    ReportUsage,
    StartWorkload,
    StopWorkload,
)
from provider.core.events import Failed, ManifestArrived, Performed
from provider.core.lease import Phase, Trigger, target
from provider.core.state import Lease, OpenBid
from provider.core.step import LeaseClosed, LeaseMoved
from provider.domain.gpu import GpuHealth
from provider.domain.ids import LeaseId
from provider.domain.market import Award, CloseReason, LeaseHealth, Refusal, Refused, Usage
from provider.domain.moment import Instant, Span, after
from provider.domain.money import earned
from provider.domain.workload import Workload

HEALTH: Mapping[Phase, LeaseHealth] = {
    Phase.AWARDED: LeaseHealth.WAITING,
    Phase.STARTING: LeaseHealth.STARTING,
    Phase.RUNNING: LeaseHealth.RUNNING,
    Phase.REPAIRING: LeaseHealth.REPAIRING,
    Phase.STOPPING: LeaseHealth.STOPPING,
    Phase.CLOSED: LeaseHealth.CLOSED,
}
"""Our phase as the market is told."""

OURS_TO_SAY = frozenset(
    {
        CloseReason.MANIFEST_TIMEOUT,
        CloseReason.IMAGE_UNAVAILABLE,
        CloseReason.WORKLOAD_REFUSED,
        CloseReason.WORKLOAD_UNSTABLE,
        CloseReason.GPU_FAILED,
        CloseReason.OPERATOR_CLOSED,
    }
)
"""Ends that the provider decides and tells the market; the others it is told by it."""


def begin(draft: Draft, bid: OpenBid, award: Award, at: Instant) -> None:
    """An award that stands: confirm it and wait for the manifest."""
    lease = Lease(
        id=award.id,
        group=bid.order.group,
        rate=award.rate,
        manifest_hash=award.manifest_hash,
        placement=bid.placement,
        version=draft.state.version,
        phase=Phase.AWARDED,
        due=after(at, draft.state.policy.manifest_patience),
    )
    draft.put_lease(lease)
    draft.want(ConfirmLease(id=draft.lease_effect_id(award.id), lease=award.id))
    draft.note(LeaseMoved(lease=award.id, before=None, after=Phase.AWARDED, trigger=None))


def move(draft: Draft, lease: Lease, trigger: Trigger, at: Instant) -> None:
    """Move ``lease`` (with whatever was already changed in it) and do what entering the phase asks."""
    entered = target(lease.phase, trigger)
    if entered is None:
        return
    draft.put_lease(replace(lease, phase=entered, due=None))
    draft.note(
        LeaseMoved(lease=lease.id, before=lease.phase, after=entered, trigger=trigger, detail=lease.detail)
    )
    ON_ENTER[entered](draft, lease.id, at)


def end(draft: Draft, lease_id: LeaseId, reason: CloseReason, detail: str, at: Instant) -> None:
    """End a lease for ``reason``; fine when it has ended already."""
    lease = draft.state.leases.get(lease_id)
    if lease is not None and lease.phase not in (Phase.STOPPING, Phase.CLOSED):
        move(draft, replace(lease, reason=reason, detail=detail), Trigger.END, at)


def manifest_arrived(draft: Draft, event: ManifestArrived, at: Instant) -> None:
    """Check a manifest against what was ordered; the draft's ``refused`` is the answer."""
    lease = draft.state.leases.get(event.lease)
    draft.refused = _manifest_refusal(lease, event)
    if draft.refused is not None or lease is None or lease.phase is not Phase.AWARDED:
        return
    group = event.manifest.group(lease.group.name)
    assert group is not None, "checked above"
    ports = launching.port_bindings(group, lease.placement.host_ports)
    taken = replace(lease, manifest=event.manifest, ports=ports, generation=lease.generation + 1)
    move(draft, taken, Trigger.MANIFEST, at)


def _manifest_refusal(lease: Lease | None, event: ManifestArrived) -> Refused | None:
    if lease is None:
        return Refused(why=Refusal.LEASE_UNKNOWN, required=str(event.lease))
    if lease.phase in (Phase.STOPPING, Phase.CLOSED):
        return Refused(why=Refusal.MANIFEST_NOT_AWAITED, available=f"the lease is {lease.phase}")
    if event.manifest_hash != lease.manifest_hash:
        return Refused(
            why=Refusal.MANIFEST_HASH_DIFFERS, required=lease.manifest_hash, available=event.manifest_hash
        )
    if event.manifest.group(lease.group.name) is None:
        return Refused(why=Refusal.MANIFEST_GROUP_MISSING, required=lease.group.name)
    mismatches = sdl.cross_check_group(event.manifest, lease.group)
    if mismatches:
        return Refused(
            why=Refusal.MANIFEST_RESOURCES_DIFFER, available="; ".join(str(each) for each in mismatches)
        )
    return None


def started(draft: Draft, event: Performed, lease_id: LeaseId, at: Instant) -> None:
    """The engine runs all of it."""
    lease = draft.state.leases.get(lease_id)
    assert event.workload is not None, "a start that was performed says what runs"
    if lease is None:
        return
    if event.workload.generation != lease.generation:
        detail = "what the engine made is gone again"
        _start_again(draft, replace(lease, detail=detail), at)
        return
    since = _since(event.workload, at)
    move(draft, replace(lease, started_at=since, detail=""), Trigger.STARTED, at)


def _since(workload: Workload, at: Instant) -> Instant:
    """When the last container began: billing starts with it, and not later because we were away."""
    began = [container.started_at for container in workload.containers if container.started_at is not None]
    return min(max(began, default=at), at)


def start_failed(draft: Draft, event: Failed, lease_id: LeaseId, at: Instant) -> None:
    """The engine could not run it: now, or at all."""
    lease = draft.state.leases.get(lease_id)
    if lease is None:
        return
    if event.is_final:
        reason = event.reason or CloseReason.WORKLOAD_REFUSED
        if lease.phase is Phase.STARTING:
            lease = replace(lease, reason=reason, detail=event.what)
        move(draft, lease, Trigger.START_REFUSED, at)
    else:
        _start_again(draft, replace(lease, detail=event.what), at)
        _wait_longer(draft, lease_id, event.retry_after, at)


def _start_again(draft: Draft, lease: Lease, at: Instant) -> None:
    if lease.phase is Phase.STARTING:
        move(draft, replace(lease, failures=lease.failures + 1), Trigger.START_FAILED, at)


def _wait_longer(draft: Draft, lease_id: LeaseId, retry_after: Span | None, at: Instant) -> None:
    """Not before the one that failed asks for it, as far as patience goes."""
    lease = draft.state.leases[lease_id]
    if retry_after is not None and lease.phase is Phase.REPAIRING and lease.due is not None:
        asked = after(at, min(retry_after, draft.state.policy.retry_most))
        draft.put_lease(replace(lease, due=max(lease.due, asked)))


def died(draft: Draft, death: drift.Death, at: Instant) -> None:
    """A lease that should run does not: close its meter where it ended, and repair or give up."""
    lease = draft.state.leases[death.lease]
    policy = draft.state.policy
    meter = metering.died(lease.meter, death.ended_at, at)
    ran = Span(max((meter.seen_at or at) - (lease.started_at or at), 0))
    deaths = 1 if ran >= policy.stable_after else lease.deaths + 1
    failures = 1 if ran >= policy.stable_after else lease.failures + 1
    lease = replace(
        lease,
        meter=meter,
        deaths=deaths,
        failures=failures,
        restarts=lease.restarts + 1,
        detail=death.detail,
    )
    if deaths >= policy.deaths_most:
        detail = f"it ended {deaths} times in a row, last: {death.detail}"
        move(
            draft,
            replace(lease, reason=CloseReason.WORKLOAD_UNSTABLE, detail=detail),
            Trigger.DIED_TOO_OFTEN,
            at,
        )
    else:
        move(draft, lease, Trigger.DIED, at)


def stopped(draft: Draft, lease_id: LeaseId, at: Instant) -> None:
    """The engine has removed all of it; an orphan's removal is forgotten."""
    draft.state = replace(draft.state, orphans=draft.state.orphans - {lease_id})
    lease = draft.state.leases.get(lease_id)
    if lease is not None and lease.phase is Phase.STOPPING:
        move(draft, lease, Trigger.STOPPED, at)


def due(draft: Draft, at: Instant) -> None:
    """Everything whose time has come: overdue manifests, retries, usage reports."""
    for lease in list(draft.state.leases.values()):
        if lease.due is not None and lease.due <= at:
            if lease.phase is Phase.AWARDED:
                overdue = replace(
                    lease, reason=CloseReason.MANIFEST_TIMEOUT, detail="no manifest came in time"
                )
                move(draft, overdue, Trigger.OVERDUE, at)
            else:
                move(draft, lease, Trigger.RETRY, at)
        elif lease.meter.report_at is not None and lease.meter.report_at <= at:
            _report_usage(draft, lease.id, at, is_final=False)


def usage_taken(draft: Draft, lease_id: LeaseId) -> None:
    """The market has the report; the next may go."""
    lease = draft.state.leases.get(lease_id)
    if lease is not None:
        draft.put_lease(replace(lease, meter=replace(lease.meter, in_flight=None)))


def end_leases_on_failed_gpus(draft: Draft, at: Instant) -> None:
    """A lease whose GPU is known to be bad cannot be served; one that cannot be seen is left alone."""
    bad = {
        gpu.uuid: gpu.problem or "unhealthy"
        for node in draft.state.nodes
        for gpu in node.gpus
        if gpu.health is GpuHealth.UNHEALTHY
    }
    for lease in list(draft.state.leases.values()):
        failed = [uuid for uuid in lease.placement.gpus if uuid in bad]
        if failed:
            detail = "; ".join(f"{uuid}: {bad[uuid]}" for uuid in failed)
            end(draft, lease.id, CloseReason.GPU_FAILED, detail, at)


# --- entering a phase


def _enter_starting(draft: Draft, lease_id: LeaseId, _at: Instant) -> None:
    lease = draft.state.leases[lease_id]
    simulated = any(
        node.inventory.simulated for node in draft.state.nodes if node.name == lease.placement.node
    )
    draft.want(
        StartWorkload(
            id=draft.lease_effect_id(lease_id),
            launch=launching.launch(lease, simulated_gpus=simulated),
        )
    )
    _report(draft, lease_id)


def _enter_running(draft: Draft, lease_id: LeaseId, at: Instant) -> None:
    lease = draft.state.leases[lease_id]
    since = lease.started_at if lease.started_at is not None else at
    meter = metering.opened(lease.meter, since, draft.state.policy.usage_interval)
    draft.put_lease(replace(lease, meter=meter))
    _report(draft, lease_id)


def _enter_repairing(draft: Draft, lease_id: LeaseId, at: Instant) -> None:
    lease, policy = draft.state.leases[lease_id], draft.state.policy
    wait = min(policy.retry_first * 2 ** min(lease.failures - 1, 30), policy.retry_most)
    draft.put_lease(replace(lease, due=after(at, Span(wait))))
    _report(draft, lease_id)


def _enter_stopping(draft: Draft, lease_id: LeaseId, at: Instant) -> None:
    lease = draft.state.leases[lease_id]
    assert lease.reason is not None, "a lease ends for a reason"
    draft.put_lease(replace(lease, meter=metering.stopped(lease.meter, at)))
    draft.want(
        StopWorkload(
            id=draft.lease_effect_id(lease_id), lease=lease_id, grace_s=draft.state.policy.stop_grace_s
        )
    )
    if lease.reason in OURS_TO_SAY:
        draft.want(
            EndLease(
                id=draft.lease_effect_id(lease_id),
                lease=lease_id,
                reason=lease.reason,
                detail=lease.detail,
            )
        )
    _report_usage(draft, lease_id, at, is_final=True)


def _enter_closed(draft: Draft, lease_id: LeaseId, _at: Instant) -> None:
    lease = draft.state.leases[lease_id]
    assert lease.reason is not None, "a lease ends for a reason"
    ran_ms = lease.meter.ran_ms
    draft.note(
        LeaseClosed(lease=lease_id, reason=lease.reason, ran_ms=ran_ms, earned=earned(lease.rate, ran_ms))
    )
    draft.drop_lease(lease_id)


def _enter_awarded(_draft: Draft, _lease_id: LeaseId, _at: Instant) -> None:
    raise AssertionError("no move leads to awarded: begin() makes a lease so")


ON_ENTER: Mapping[Phase, Callable[[Draft, LeaseId, Instant], None]] = {
    Phase.AWARDED: _enter_awarded,
    Phase.STARTING: _enter_starting,
    Phase.RUNNING: _enter_running,
    Phase.REPAIRING: _enter_repairing,
    Phase.STOPPING: _enter_stopping,
    Phase.CLOSED: _enter_closed,
}


def _report(draft: Draft, lease_id: LeaseId) -> None:
    lease = draft.state.leases[lease_id]
    draft.want(
        ReportLease(
            id=draft.lease_effect_id(lease_id),
            lease=lease_id,
            health=HEALTH[lease.phase],
            ports=lease.ports if lease.phase is Phase.RUNNING else (),
            detail=lease.detail,
        )
    )


def _report_usage(draft: Draft, lease_id: LeaseId, at: Instant, *, is_final: bool) -> None:
    lease = draft.state.leases[lease_id]
    if lease.meter.in_flight is not None and not is_final:
        interval = draft.state.policy.usage_interval
        draft.put_lease(replace(lease, meter=replace(lease.meter, report_at=after(at, interval))))
        return
    effect_id = draft.lease_effect_id(lease_id)
    lease = draft.state.leases[lease_id]
    meter = metering.reported(lease.meter, at, draft.state.policy.usage_interval)
    usage = Usage(
        lease=lease_id,
        number=meter.reports,
        running_ms=metering.sure_ms(meter),
        at=at,
        is_final=is_final,
    )
    draft.put_lease(replace(lease, meter=replace(meter, in_flight=effect_id)))
    draft.want(ReportUsage(id=effect_id, usage=usage))
