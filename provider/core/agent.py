"""The one transition function: what the agent does about each event. Pure, total, deterministic.

``transition(state, event, at) -> Step``. ``at`` travels with the event; nothing in the core reads a
clock or rolls dice, so the same events give the same steps, on every machine, after every crash.

Bids are ``bidding``'s, leases ``leasing``'s, the operator's idle job is ``idling``'s; this file only says
which event goes where, and when the core wants to be woken (``next_due``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from provider.core import asking, bidding, drift, gpu_upkeep, idling, leasing, markets, requests
from provider.core.draft import Draft
from provider.core.effects import (
    AskPrice,
    ConfirmLease,
    EndLease,
    PlaceBid,
    RefuseLease,
    ReportLease,
    ReportUsage,
    RestartService,
    StartWorkload,
    StopWorkload,
    WithdrawBid,
)
from provider.core.events import (
    CoordinatorConnected,
    CoordinatorLost,
    DrainSet,
    Event,
    Failed,
    GpuCordoned,
    GpuFaultSeen,
    GpuSignalsChanged,
    GpuUncordoned,
    LeaseAwarded,
    LeaseEnded,
    LeaseUpdated,
    ManifestArrived,
    MigrationRequested,
    NodesRead,
    OperatorCloses,
    OrderClosed,
    OrderOpened,
    Performed,
    PolicyChanged,
    RestartRequested,
    TimeReached,
    WorkloadsListed,
)
from provider.core.markets import MarketEvent
from provider.core.state import NEVER, AgentState, earliest_due
from provider.core.step import EffectGaveUp, OrphanFound, Step
from provider.domain.ids import EffectId
from provider.domain.moment import Instant

Asked = ManifestArrived | RestartRequested | MigrationRequested | OperatorCloses | DrainSet | PolicyChanged


def transition(state: AgentState, event: Event, at: Instant) -> Step:
    """What ``event`` at ``at`` comes to. Raises only ``IllegalMove``, with nothing changed."""
    draft = Draft(state)
    _take_in(draft, event, at)
    if (draft.capacity_changed or draft.freed or draft.lapsed) and draft.state.orders:
        bidding.reconsider(draft, at)
    idling.settle(draft, state, at)
    return draft.step()


def _take_in(draft: Draft, event: Event, at: Instant) -> None:
    match event:
        case OrderOpened() | OrderClosed() | LeaseAwarded() | LeaseUpdated() | LeaseEnded():
            _market(draft, event, at)
        case CoordinatorConnected():
            markets.connected(draft, event, at)
        case CoordinatorLost():
            markets.lost(draft, event, at)
        case (
            ManifestArrived()
            | RestartRequested()
            | MigrationRequested()
            | OperatorCloses()
            | DrainSet()
            | PolicyChanged()
        ):
            _asked(draft, event, at)
        case NodesRead() | GpuSignalsChanged() | GpuFaultSeen() | GpuCordoned() | GpuUncordoned():
            gpu_upkeep.happened(draft, event, at)
        case WorkloadsListed():
            _listed(draft, event, at)
        case TimeReached():
            bidding.expire(draft, at)
            bidding.look_again(draft, at)
            leasing.due(draft, at)
            draft.is_due_unknown = True
        case Performed():
            draft.settle(event.effect.id)
            _performed(draft, event, at)
        case Failed():
            draft.settle(event.effect.id)
            _failed(draft, event, at)
        case _:
            assert_never(event)


def _asked(draft: Draft, event: Asked, at: Instant) -> None:
    match event:
        case ManifestArrived():
            requests.manifest_arrived(draft, event, at)
        case RestartRequested():
            requests.restart_requested(draft, event, at)
        case MigrationRequested():
            requests.migration_requested(draft, event)
        case OperatorCloses():
            requests.operator_closes(draft, event, at)
        case DrainSet():
            bidding.set_drain(draft, is_draining=event.is_draining)
        case PolicyChanged():
            bidding.change_policy(draft, event.policy)
        case _:
            assert_never(event)


def next_due(state: AgentState) -> Instant | None:
    """When ``TimeReached`` is wanted next; None for never."""
    dues = [earliest_due(state) if state.due_at is None else state.due_at]
    dues += [each for each in (state.look_again_at, idling.next_due(state)) if each is not None]
    due = min(dues)
    return due if due < NEVER else None


def _market(draft: Draft, event: MarketEvent, at: Instant) -> None:
    """The market's changes come in order and may come again: one that was taken in changes nothing."""
    if not markets.is_news(draft, event):
        return
    match event:
        case OrderOpened():
            bidding.order_opened(draft, event.order, at)
        case OrderClosed():
            bidding.order_closed(draft, event.order, event.won_at)
        case LeaseAwarded():
            bidding.awarded(draft, event.award, at)
        case LeaseUpdated():
            requests.lease_updated(draft, event)
        case LeaseEnded():
            bidding.award_ended(draft, event.lease)
            leasing.end(draft, event.lease, event.reason, "the market closed it", at)
        case _:
            assert_never(event)


def _listed(draft: Draft, event: WorkloadsListed, at: Instant) -> None:
    leased = [each for each in event.workloads if not each.lease.is_idle]
    idling.listed(draft, [each for each in event.workloads if each.lease.is_idle], event.as_of, at)
    found = drift.compare(draft.state, leased, event.as_of)
    for lease_id in found.alive:
        leasing.seen(draft, lease_id, event.as_of)
    for death in found.deaths:
        leasing.died(draft, death, at)
    for orphan in found.orphans:
        if orphan in draft.state.orphans:
            continue
        draft.state = replace(draft.state, orphans=draft.state.orphans | {orphan})
        effect_id = EffectId(f"{orphan}#orphan-{event.as_of}")
        draft.want(StopWorkload(id=effect_id, lease=orphan, grace_s=draft.state.policy.stop_grace_s))
        draft.note(OrphanFound(lease=orphan))


def _performed(draft: Draft, event: Performed, at: Instant) -> None:
    match event.effect:
        case StartWorkload(launch=launch) if launch.lease.is_idle:
            idling.started(draft, event, launch, at)
        case StartWorkload(launch=launch):
            leasing.started(draft, event, launch.lease, launch.generation, at)
        case RestartService(lease=lease, generation=generation):
            leasing.started(draft, event, lease, generation, at)
        case StopWorkload(lease=lease):
            leasing.stopped(draft, lease, at)
            freed = idling.stopped(draft, event, lease, at)
            if freed is not None:
                leasing.gpu_freed(draft, freed)
        case ReportUsage(usage=usage):
            leasing.usage_taken(draft, usage.lease)
        case AskPrice():
            assert event.price is not None, "whoever makes none has failed"
            asking.answered(draft, event.effect, event.price)
        case PlaceBid() | WithdrawBid() | ConfirmLease() | RefuseLease() | ReportLease() | EndLease():
            pass  # the market's answer, if there is one, is an event of its own
        case _:
            assert_never(event.effect)


def _failed(draft: Draft, event: Failed, at: Instant) -> None:
    match event.effect:
        case AskPrice():
            asking.failed(draft, event, event.effect, at)
        case PlaceBid():
            bidding.bid_rejected(draft, event.effect, event.what)
        case StartWorkload(launch=launch) if launch.lease.is_idle:
            idling.start_failed(draft, event, launch, at)
        case StartWorkload(launch=launch):
            leasing.start_failed(draft, event, launch.lease, launch.generation, at)
        case RestartService(lease=lease, generation=generation):
            leasing.start_failed(draft, event, lease, generation, at)
        case ReportUsage(usage=usage):
            leasing.usage_taken(draft, usage.lease)
            draft.note(EffectGaveUp(effect=event.effect.id, what=event.what))
        case WithdrawBid() | ConfirmLease() | RefuseLease() | ReportLease() | EndLease() | StopWorkload():
            draft.note(EffectGaveUp(effect=event.effect.id, what=event.what))
        case _:
            assert_never(event.effect)
