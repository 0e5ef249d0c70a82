"""What entering a phase makes the agent do, and how events become triggers of the lease machine.

The table of moves is in ``lease.py``, what tenants and operators ask of a lease in ``requests.py``. Each
phase has one function here that says everything that happens on entering it, so a reader asks one
question per phase.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from provider.core import drift, gpu_records, idling, launching, metering, revising
from provider.core.draft import Draft
from provider.core.effects import (
    ConfirmLease,
    EndLease,
    ReportLease,
    ReportUsage,
    RestartService,
    StartWorkload,
    StopWorkload,
)
from provider.core.events import Failed, Performed
from provider.core.lease import Phase, Trigger, target
from provider.core.state import Lease, OpenBid
from provider.core.step import ContainerEnded, LeaseClosed, LeaseMoved, UpdateTakenBack
from provider.domain.ids import GpuUuid, LeaseId
from provider.domain.market import Award, CloseReason, LeaseHealth, Usage
from provider.domain.moment import Instant, Span, after
from provider.domain.money import earned
from provider.domain.workload import ExitCause, Workload

_HEALTH: Mapping[Phase, LeaseHealth] = {
    Phase.AWARDED: LeaseHealth.WAITING,
    Phase.STARTING: LeaseHealth.STARTING,
    Phase.RUNNING: LeaseHealth.RUNNING,
    Phase.UPDATING: LeaseHealth.UPDATING,
    Phase.REPAIRING: LeaseHealth.REPAIRING,
    Phase.STOPPING: LeaseHealth.STOPPING,
    Phase.CLOSED: LeaseHealth.CLOSED,
}


def health(lease: Lease) -> LeaseHealth:
    """How it is, as its tenant and the market are told."""
    if lease.phase is Phase.REPAIRING and lease.is_degraded:
        return LeaseHealth.DEGRADED
    return _HEALTH[lease.phase]


SETTLING = frozenset({Phase.STARTING, Phase.UPDATING})
"""The phases in which the engine's answer is awaited."""
HELD_UP = "the provider's own job is leaving its GPUs"
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
        version=draft.state.market(award.id.market).version,
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
        LeaseMoved(
            lease=lease.id,
            before=lease.phase,
            after=entered,
            trigger=trigger,
            detail=lease.detail,
            restarting=lease.restarting,
        )
    )
    gpu_records.ended_containers(draft, lease.id, lease.phase, at)
    ON_ENTER[entered](draft, lease.id, at)


def end(draft: Draft, lease_id: LeaseId, reason: CloseReason, detail: str, at: Instant) -> None:
    """End a lease for ``reason``; fine when it has ended already."""
    lease = draft.state.leases.get(lease_id)
    if lease is not None and lease.phase not in (Phase.STOPPING, Phase.CLOSED):
        move(draft, replace(lease, reason=reason, detail=detail), Trigger.END, at)


def started(draft: Draft, event: Performed, lease_id: LeaseId, generation: int, at: Instant) -> None:
    """The engine started all of it. An answer about an older generation says nothing of this one.

    What has ended again by then did run: it is a death like any other, and counts as one.
    """
    lease = draft.state.leases.get(lease_id)
    assert event.workload is not None, "a start that was performed says what runs"
    if lease is None or generation != lease.generation:
        return
    death = drift.find_death(lease, event.workload) if lease.phase in SETTLING else None
    if death is not None and death.cause is ExitCause.GONE:
        _start_again(draft, replace(lease, detail="what the engine made is gone again"), at)
        return
    since = _since(event.workload, at)
    running = replace(lease, started_at=since, detail=lease.update_problem, is_degraded=False, restarting="")
    move(draft, running, Trigger.STARTED, at)
    if death is not None:
        died(draft, death, at)


def _since(workload: Workload, at: Instant) -> Instant:
    """When the last container began: billing starts with it, and not later because we were away."""
    began = [container.started_at for container in workload.containers if container.started_at is not None]
    return min(max(began, default=at), at)


def start_failed(draft: Draft, event: Failed, lease_id: LeaseId, generation: int, at: Instant) -> None:
    """The engine could not run it: now, or at all. An update that fails is taken back."""
    lease = draft.state.leases.get(lease_id)
    if lease is None or generation != lease.generation:
        return
    if lease.phase is Phase.UPDATING and lease.former is not None:
        take_back(draft, lease, event.what, at)
    elif event.is_final:
        reason = event.reason or CloseReason.WORKLOAD_REFUSED
        if lease.phase in SETTLING:
            lease = replace(lease, reason=reason, detail=event.what)
        move(draft, lease, Trigger.START_REFUSED, at)
    else:
        _start_again(draft, replace(lease, detail=event.what), at)
        _wait_longer(draft, lease_id, event.retry_after, at)


def take_back(draft: Draft, lease: Lease, why: str, at: Instant) -> None:
    """The update failed: what ran before is to run again."""
    draft.note(UpdateTakenBack(lease=lease.id, why=why))
    move(draft, revising.restored(lease, why), Trigger.CHANGED, at)


def _start_again(draft: Draft, lease: Lease, at: Instant) -> None:
    if lease.phase in SETTLING:
        meter = metering.died(lease.meter, None, at) if lease.meter.since is not None else lease.meter
        again = replace(lease, failures=lease.failures + 1, meter=meter, restarting="")
        move(draft, again, Trigger.START_FAILED, at)


def _wait_longer(draft: Draft, lease_id: LeaseId, retry_after: Span | None, at: Instant) -> None:
    """Not before the one that failed asks for it, as far as patience goes."""
    lease = draft.state.leases[lease_id]
    if retry_after is not None and lease.phase is Phase.REPAIRING and lease.due is not None:
        asked = after(at, min(retry_after, draft.state.policy.retry_most))
        draft.put_lease(replace(lease, due=max(lease.due, asked)))


def died(draft: Draft, death: drift.Death, at: Instant) -> None:
    """A lease that should run does not: close its meter where it ended, and repair or give up.

    Only what is the tenant's own doing ends a lease in the end: an engine that goes down does not.
    """
    lease = draft.state.leases[death.lease]
    policy = draft.state.policy
    draft.note(
        ContainerEnded(
            lease=lease.id,
            service=death.service,
            replica=death.replica,
            cause=death.cause,
            detail=death.detail,
        )
    )
    meter = metering.died(lease.meter, death.ended_at, at)
    ran = Span(max((meter.seen_at or at) - (lease.started_at or at), 0))
    before = lease if ran < policy.stable_after else replace(lease, deaths=0, failures=0)
    lease = replace(
        before,
        meter=meter,
        deaths=before.deaths + death.cause.is_own_doing,
        failures=before.failures + 1,
        restarts=lease.restarts + 1,
        is_degraded=death.others_run,
        detail=death.detail,
    )
    if ran >= policy.update_probation:
        lease = revising.proved(lease)
    if lease.former is not None and death.cause.is_own_doing:
        take_back(draft, lease, death.detail, at)
    elif lease.deaths >= policy.deaths_most:
        detail = f"it ended {lease.deaths} times in a row, last: {death.detail}"
        unstable = replace(lease, reason=CloseReason.WORKLOAD_UNSTABLE, detail=detail)
        move(draft, unstable, Trigger.DIED_TOO_OFTEN, at)
    else:
        move(draft, lease, Trigger.DIED, at)


def seen(draft: Draft, lease_id: LeaseId, as_of: Instant) -> None:
    """A look at the engine found all of it running: it is billed up to then, and an update proves itself."""
    lease = draft.state.leases[lease_id]
    lease = replace(lease, meter=metering.seen(lease.meter, as_of))
    began = lease.started_at if lease.started_at is not None else as_of
    if lease.phase is Phase.RUNNING and as_of - began >= draft.state.policy.update_probation:
        lease = revising.proved(lease)
    draft.put_lease(lease)


def stopped(draft: Draft, lease_id: LeaseId, at: Instant) -> None:
    """The engine has removed all of it; an orphan's removal is forgotten."""
    draft.state = replace(draft.state, orphans=draft.state.orphans - {lease_id})
    lease = draft.state.leases.get(lease_id)
    if lease is not None and lease.phase is Phase.STOPPING:
        move(draft, lease, Trigger.STOPPED, at)


def gpu_freed(draft: Draft, gpu: GpuUuid) -> None:
    """The idle job has left ``gpu``: whose start waited for that begins."""
    for lease in list(draft.state.leases.values()):
        if lease.is_held_up and lease.phase in SETTLING and gpu in lease.placement.gpus:
            _start(draft, lease.id)


def due(draft: Draft, at: Instant) -> None:
    """Everything whose time has come: overdue manifests, retries, ends after a notice, usage reports."""
    for lease in list(draft.state.leases.values()):
        if lease.ends_at is not None and lease.ends_at <= at:
            draft.put_lease(replace(lease, ends_at=None))
            end(draft, lease.id, CloseReason.OPERATOR_CLOSED, lease.ends_because, at)
        elif lease.due is not None and lease.due <= at:
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


# --- entering a phase


def _enter_starting(draft: Draft, lease_id: LeaseId, _at: Instant) -> None:
    _start(draft, lease_id)
    report(draft, lease_id)


def _start(draft: Draft, lease_id: LeaseId) -> None:
    """At once, or as soon as the idle job has left its GPUs."""
    lease = draft.state.leases[lease_id]
    is_held_up = idling.occupies(draft.state, lease.placement.gpus)
    draft.put_lease(replace(lease, is_held_up=is_held_up, detail=HELD_UP if is_held_up else lease.detail))
    if not is_held_up:
        launch = launching.launch(lease, draft.state.policy)
        draft.want(StartWorkload(id=draft.lease_effect_id(lease_id), launch=launch))


def _enter_updating(draft: Draft, lease_id: LeaseId, at: Instant) -> None:
    """What ran before runs on, and is billed as long as it is seen to."""
    lease = draft.state.leases[lease_id]
    if not lease.restarting:
        _enter_starting(draft, lease_id, at)
        return
    draft.want(
        RestartService(
            id=draft.lease_effect_id(lease_id),
            lease=lease_id,
            service=lease.restarting,
            generation=lease.generation,
            grace_s=draft.state.policy.stop_grace_s,
        )
    )
    report(draft, lease_id)


def _enter_running(draft: Draft, lease_id: LeaseId, at: Instant) -> None:
    lease = draft.state.leases[lease_id]
    since = lease.started_at if lease.started_at is not None else at
    meter = metering.reopened(lease.meter, since, draft.state.policy.usage_interval)
    draft.put_lease(replace(lease, meter=meter))
    report(draft, lease_id)


def _enter_repairing(draft: Draft, lease_id: LeaseId, at: Instant) -> None:
    lease, policy = draft.state.leases[lease_id], draft.state.policy
    wait = 0
    if lease.failures > 1:
        wait = min(policy.retry_first * 2 ** min(lease.failures - 2, 30), policy.retry_most)
    draft.put_lease(replace(lease, due=after(at, Span(wait))))
    report(draft, lease_id)


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


def _enter_closed(draft: Draft, lease_id: LeaseId, at: Instant) -> None:
    lease = draft.state.leases[lease_id]
    assert lease.reason is not None, "a lease ends for a reason"
    ran_ms = lease.meter.ran_ms
    draft.note(
        LeaseClosed(lease=lease_id, reason=lease.reason, ran_ms=ran_ms, earned=earned(lease.rate, ran_ms))
    )
    draft.drop_lease(lease_id)
    gpu_records.left(draft, lease, at)


def _enter_awarded(_draft: Draft, _lease_id: LeaseId, _at: Instant) -> None:
    raise AssertionError("no move leads to awarded: begin() makes a lease so")


ON_ENTER: Mapping[Phase, Callable[[Draft, LeaseId, Instant], None]] = {
    Phase.AWARDED: _enter_awarded,
    Phase.STARTING: _enter_starting,
    Phase.RUNNING: _enter_running,
    Phase.UPDATING: _enter_updating,
    Phase.REPAIRING: _enter_repairing,
    Phase.STOPPING: _enter_stopping,
    Phase.CLOSED: _enter_closed,
}


def report(draft: Draft, lease_id: LeaseId) -> None:
    """Tell the market how it is."""
    lease = draft.state.leases[lease_id]
    draft.want(
        ReportLease(
            id=draft.lease_effect_id(lease_id),
            lease=lease_id,
            health=health(lease),
            ports=lease.ports if lease.phase in {Phase.RUNNING, Phase.UPDATING} else (),
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
