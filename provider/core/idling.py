"""The operator's idle job: on each card that nobody rents, and off it before a lease's containers start.

Owns what is started and stopped on which card, and when what ended is started again. It is no lease: it holds
nothing, nobody is told of it, and what it does or fails to do changes no bid and no lease but for the grace
that a lease waits until its card is free.

Invariant: what may be on the engine is on in ``state.idle``, which is committed before it gets there; a card
that a lease has is not started on, and no lease starts on a card where it is on (``occupies``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from provider.core import drift
from provider.core.cards import fits
from provider.core.choosing import numbers
from provider.core.draft import Draft
from provider.core.effects import StartWorkload, StopWorkload
from provider.core.events import Failed, Performed
from provider.core.gpu_records import parts_of, put, record_of
from provider.core.health import host_problem
from provider.core.holdings import UNHELD
from provider.core.policy import Policy
from provider.core.state import AgentState, holdings
from provider.core.step import IdleMoved, OrphanFound
from provider.core.topology import topology
from provider.domain.gpu import Gpu
from provider.domain.idle import IdleJob, IdlePhase, IdleRun, idle_id
from provider.domain.ids import EffectId, GpuUuid, LeaseId
from provider.domain.manifest import Service
from provider.domain.moment import Instant, Span, after
from provider.domain.workload import GpuAttachment, Launch, ReplicaLaunch, Workload

GENERATIONS = 2**31 - 1


def job_of(service: Service, grace_s: int) -> IdleJob:
    """``service`` as the idle job. What it runs makes its generation, so that a change replaces what runs."""
    resources, params = service.resources, service.params
    runs = [
        [service.image, service.command, service.args, service.env],
        [resources.cpu_millis, resources.memory_bytes],
        [[volume.name, volume.size_bytes, volume.storage_class] for volume in resources.storage],
        [[point.name, point.mount, point.read_only] for point in (params.storage if params else None) or ()],
    ]
    digest = hashlib.sha256(json.dumps(runs).encode()).digest()
    return IdleJob(service=service, generation=int.from_bytes(digest[:8]) % GENERATIONS + 1, grace_s=grace_s)


def occupies(state: AgentState, gpus: Iterable[GpuUuid]) -> bool:
    """Whether it is on any of ``gpus``, or may be."""
    return any(uuid in state.idle and state.idle[uuid].is_on for uuid in gpus)


def uses(state: AgentState, gpu: GpuUuid, at: Instant) -> bool:
    """Whether what was in use of ``gpu``, or an instance of it, at ``at``, now or a moment ago, may have been
    its."""
    if not state.idle:
        return False
    runs = (state.idle[uuid] for uuid in parts_of(state, gpu) if uuid in state.idle)
    return any(run.is_on or at <= run.since for run in runs)


def is_stopping(state: AgentState, gpu: GpuUuid) -> bool:
    """Whether we end it on ``gpu``, or on an instance of it."""
    stopping = {uuid for uuid, run in state.idle.items() if run.phase is IdlePhase.STOPPING}
    return not stopping.isdisjoint(parts_of(state, gpu)) if stopping else False


def next_due(state: AgentState) -> Instant | None:
    """When one that ended is started again; None for never, and while no card is known to start it on."""
    dues = (run.due for run in state.idle.values() if run.due is not None and state.nodes)
    return min(dues, default=None)


def settle(draft: Draft, before: AgentState, at: Instant) -> None:
    """On every card what should be on it, at the end of a step that began with ``before``."""
    state = draft.state
    if state.policy.idle is None and not state.idle:
        return
    due = next_due(state)
    if _is_as(before, state) and (due is None or due > at):
        return
    wanted = {gpu.uuid: gpu for gpu in _free_cards(state)}
    for uuid in [*wanted, *(uuid for uuid in state.idle if uuid not in wanted)]:
        if uuid in wanted or not _may_stay(state, uuid):
            _settle_card(draft, uuid, wanted.get(uuid), at)


def _is_as(before: AgentState, now: AgentState) -> bool:
    """Whether nothing changed that it depends on."""
    return (
        before.idle is now.idle
        and before.gpu_records is now.gpu_records
        and before.leases is now.leases
        and before.nodes is now.nodes
        and before.policy is now.policy
        and before.runtime is now.runtime
        and before.is_draining is now.is_draining
    )


def _free_cards(state: AgentState) -> Iterator[Gpu]:
    """Cards that it is for: those that could be sold and are not. Open bids on them are no hindrance."""
    job = state.policy.idle
    attachment = state.runtime.gpu_attachment if state.runtime else GpuAttachment.NONE
    if job is None or state.is_draining or attachment is GpuAttachment.NONE:
        return
    for node in state.nodes:
        if host_problem(node, state.gpu_records) is not None:
            continue
        leased = holdings(state).get(node.name, UNHELD).leases.gpus
        cards = topology(node.inventory, state.policy.price.gpu_hour)
        for number in numbers(cards.sound):
            gpu = cards.cards[number]
            if gpu.uuid not in leased and fits(gpu, job.service.resources.gpu):
                yield gpu


def _may_stay(state: AgentState, uuid: GpuUuid) -> bool:
    """Until the cards are read after a start, it runs on where it is in nobody's way."""
    leased = any(uuid in node.leases.gpus for node in holdings(state).values())
    return not state.nodes and state.policy.idle is not None and not state.is_draining and not leased


def _settle_card(draft: Draft, uuid: GpuUuid, wanted: Gpu | None, at: Instant) -> None:
    run, job = draft.state.idle.get(uuid), draft.state.policy.idle
    if wanted is None or job is None:
        # One that is off is kept: the ids of its effects count on, should the operator want it again.
        if run is not None and run.is_on and run.phase is not IdlePhase.STOPPING:
            _stop(draft, uuid, run, at)
        return
    if run is None:
        run = IdleRun(id=idle_id(draft.state.policy.provider, uuid), phase=IdlePhase.OFF, since=at)
    match run.phase:
        case IdlePhase.OFF:
            _start(draft, wanted, replace(run, failures=0), job, at)
        case IdlePhase.STARTING | IdlePhase.RUNNING | IdlePhase.WAITING if run.generation != job.generation:
            _start(draft, wanted, replace(run, failures=0), job, at)
        case IdlePhase.WAITING if run.due is not None and run.due <= at:
            _start(draft, wanted, run, job, at)
        case _:
            pass


def _start(draft: Draft, gpu: Gpu, run: IdleRun, job: IdleJob, at: Instant) -> None:
    effect, generation = _next_effect(run), job.generation
    starting = replace(run, generation=generation, effect=effect, issued=run.issued + 1)
    _move(draft, gpu.uuid, starting, IdlePhase.STARTING, at)
    replica = ReplicaLaunch(service=job.service, replica=0, generation=generation, gpus=(gpu.uuid,))
    launch = Launch(
        lease=run.id,
        generation=generation,
        replicas=(replica,),
        grace_s=job.grace_s,
        simulated_gpus=gpu.simulated,
    )
    draft.want(StartWorkload(id=effect, launch=launch))


def _stop(draft: Draft, uuid: GpuUuid, run: IdleRun, at: Instant) -> None:
    """It yields. The grace is the last job's, should there be none any more."""
    effect, policy = _next_effect(run), draft.state.policy
    grace_s = policy.idle.grace_s if policy.idle is not None else policy.stop_grace_s
    _move(draft, uuid, replace(run, effect=effect, issued=run.issued + 1), IdlePhase.STOPPING, at)
    draft.want(StopWorkload(id=effect, lease=run.id, grace_s=grace_s))


def _next_effect(run: IdleRun) -> EffectId:
    return EffectId(f"{run.id}#{run.issued + 1}")


def _move(draft: Draft, uuid: GpuUuid, run: IdleRun, phase: IdlePhase, at: Instant) -> IdleRun:
    """Into ``phase``, what it ran until now counted. Only one that waits has a reason, and an end of that."""
    known = draft.state.idle.get(uuid)
    before = IdlePhase.OFF if known is None else known.phase
    if phase is not IdlePhase.WAITING:
        run = replace(run, due=None, problem="")
    moved = replace(run, phase=phase, since=at, ran_ms=run.total_ms(at))
    draft.state = replace(draft.state, idle={**draft.state.idle, uuid: moved})
    draft.note(IdleMoved(gpu=uuid, before=before, after=phase, detail=moved.problem))
    if IdlePhase.STOPPING in (before, phase) and not _is_simulated(draft.state, uuid):
        # What the driver then says of a process that was ended in the middle of its work is our doing.
        put(draft, replace(record_of(draft.state, uuid), stopped_at=at))
    return moved


def _is_simulated(state: AgentState, uuid: GpuUuid) -> bool:
    return any(gpu.uuid == uuid and gpu.simulated for node in state.nodes for gpu in node.gpus)


# --- what comes of it


def started(draft: Draft, event: Performed, launch: Launch, at: Instant) -> None:
    """The engine started it; what has ended again by then did run."""
    found = _awaiting(draft.state, launch.lease, event.effect.id)
    if found is None:
        return
    uuid, run = found
    assert event.workload is not None, "a start that was performed says what runs"
    running = _move(draft, uuid, replace(run, effect=None), IdlePhase.RUNNING, at)
    if not _runs(running, event.workload):
        _ended(draft, uuid, running, event.workload, at)


def start_failed(draft: Draft, event: Failed, launch: Launch, at: Instant) -> None:
    """Now or for good: an operator mends what is wrong, so it is tried on."""
    found = _awaiting(draft.state, launch.lease, event.effect.id)
    if found is not None:
        uuid, run = found
        failed = replace(run, failures=run.failures + 1, problem=event.what)
        _wait(draft, uuid, failed, at, event.retry_after)


def stopped(draft: Draft, event: Performed, lease: LeaseId, at: Instant) -> GpuUuid | None:
    """Nothing of it is left; the GPU that is free now, where one was waited for."""
    found = _awaiting(draft.state, lease, event.effect.id)
    if found is None:
        return None
    uuid, run = found
    _move(draft, uuid, replace(run, effect=None), IdlePhase.OFF, at)
    return uuid


def listed(draft: Draft, workloads: Iterable[Workload], as_of: Instant, at: Instant) -> None:
    """A look at the engine: ``workloads`` are those of the idle job. What changed since is not judged."""
    there = {each.lease: each for each in workloads}
    for uuid, run in list(draft.state.idle.items()):
        workload = there.pop(run.id, None)
        if run.since > as_of:
            continue
        if run.phase is IdlePhase.RUNNING and not _runs(run, workload):
            _ended(draft, uuid, run, workload, at)
        elif run.phase is IdlePhase.OFF and workload is not None:
            _stop(draft, uuid, run, at)
    if there and draft.state.nodes:
        _take_up(draft, there, at)


def _take_up(draft: Draft, there: Mapping[LeaseId, Workload], at: Instant) -> None:
    """What nothing is known of, as after a store was put back: removed, and begun anew where it is wanted."""
    state = draft.state
    cards = {idle_id(state.policy.provider, gpu.uuid): gpu.uuid for node in state.nodes for gpu in node.gpus}
    for lease in sorted(there):
        if lease in cards:
            _stop(draft, cards[lease], IdleRun(id=lease, phase=IdlePhase.OFF, since=at), at)
        elif lease not in draft.state.orphans:
            draft.state = replace(draft.state, orphans=draft.state.orphans | {lease})
            grace_s = state.policy.stop_grace_s
            draft.want(StopWorkload(id=EffectId(f"{lease}#orphan-{at}"), lease=lease, grace_s=grace_s))
            draft.note(OrphanFound(lease=lease))


def _awaiting(state: AgentState, lease: LeaseId, effect: EffectId) -> tuple[GpuUuid, IdleRun] | None:
    """The card whose newest effect that is; None for an answer that has been overtaken."""
    found = ((uuid, run) for uuid, run in state.idle.items() if run.id == lease and run.effect == effect)
    return next(found, None)


def _runs(run: IdleRun, workload: Workload | None) -> bool:
    containers = workload.containers if workload is not None else ()
    return any(each.generation == run.generation and drift.does_run(each) for each in containers)


def _ended(draft: Draft, uuid: GpuUuid, run: IdleRun, workload: Workload | None, at: Instant) -> None:
    """It ran until the engine says that it ended, or until now."""
    containers = workload.containers if workload is not None else ()
    how = next((drift.describe(each) for each in containers), "its container is gone")
    until = min((each.finished_at for each in containers if each.finished_at is not None), default=at)
    ran = max(until - run.since, 0)
    failures = 1 if ran >= draft.state.policy.stable_after else run.failures + 1
    over = replace(run, failures=failures, ran_ms=run.total_ms(until), since=at, problem=how)
    _wait(draft, uuid, over, at)


def _wait(draft: Draft, uuid: GpuUuid, run: IdleRun, at: Instant, asked: Span | None = None) -> None:
    """Started again later and later, so that what cannot run costs the machine nothing."""
    due = after(at, _patience(draft.state.policy, run.failures, asked))
    _move(draft, uuid, replace(run, due=due, effect=None), IdlePhase.WAITING, at)


def _patience(policy: Policy, failures: int, asked: Span | None) -> Span:
    doubled = policy.retry_first * 2 ** min(failures - 1, 30)
    return Span(min(max(doubled, asked or 0), policy.retry_most))
