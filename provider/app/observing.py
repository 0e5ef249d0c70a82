"""``ports.Observer``: steps become log events, metrics and records of the ledger, here and nowhere else.

Also the state as telemetry is shown it. Invariant: nothing here may fail the loop; it reads values and
counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import assert_never

import structlog

from provider.adapters.telemetry.metrics import BidOutcome, BidStage, Metrics
from provider.adapters.telemetry.view import IdleView, LeaseView, MarketView, TelemetryView
from provider.app.lease_news import LeaseNews
from provider.core import metering
from provider.core.effects import PlaceBid
from provider.core.events import (
    CoordinatorConnected,
    CoordinatorLost,
    Event,
    Failed,
    NodesRead,
    Performed,
    PolicyChanged,
    WorkloadsListed,
)
from provider.core.ledger import Seen, records, seen
from provider.core.state import AgentState, Market
from provider.core.step import (
    BidEnded,
    ContainerEnded,
    EffectGaveUp,
    GpuFaulted,
    GpuNote,
    GpuSignalMoved,
    IdleMoved,
    LeaseClosed,
    LeaseMoved,
    LeaseNamed,
    LeaseNote,
    Note,
    NoticeGiven,
    OrderConsidered,
    OrphanFound,
    Step,
    UpdateTakenBack,
)
from provider.domain.idle import IdlePhase
from provider.domain.ids import LeaseId, MarketId
from provider.domain.moment import Instant
from provider.domain.money import earned
from provider.domain.usage import LeaseUsage
from provider.domain.workload import RuntimeCapabilities, Unfit, Workload
from provider.ports import Clock, Ledger

log = structlog.get_logger()


class Observing:
    """Logs, counts, and keeps."""

    def __init__(
        self, metrics: Metrics, clock: Clock, news: LeaseNews | None = None, ledger: Ledger | None = None
    ) -> None:
        """``news`` passes a lease's part of it on to its tenant; ``ledger`` keeps what was decided."""
        self._log = log.bind()  # once: the lazy logger of the module makes one anew for each event
        self._metrics = metrics
        self._clock = clock
        self._news = news
        self._ledger = ledger
        self._seen: Seen | None = None
        self._told_unfit: tuple[Unfit, ...] = ()
        self.on_workloads: Callable[[tuple[Workload, ...]], None] = lambda _: None
        """Told what each look at the engine found; quick, and fails never."""
        self._markets: Mapping[MarketId, Market] = {}

    def step(self, event: Event, step: Step, at: Instant, took_us: int) -> None:
        """One step, after its commit."""
        self._markets = step.state.markets
        self._event(event)
        for note in step.notes:
            self._note(note, at)
            if self._news is not None:
                self._news.note(note, at)
        if self._ledger is not None:
            self._keep(self._ledger, event, step, at, took_us)

    def _keep(self, ledger: Ledger, event: Event, step: Step, at: Instant, took_us: int) -> None:
        there_is = seen(event, step, at, self._seen)
        if there_is is not None:
            self._seen = there_is
            ledger.keep(there_is)
        for record in records(event, step, at, took_us):
            ledger.keep(record)

    def _event(self, event: Event) -> None:
        match event:
            case CoordinatorConnected():
                self._log.info("coordinator_connected", market=event.market, epoch=event.epoch)
            case NodesRead():
                self._unfit(event.runtime)
            case WorkloadsListed():
                self.on_workloads(event.workloads)
            case PolicyChanged():
                self._log.info("policy_changed", changes=list(event.changes))
            case CoordinatorLost():
                market = self._markets[event.market_id].name
                self._log.warning("coordinator_lost", market=market, problem=event.why)
                self._metrics.coordinator_lost(market)
            case Performed(effect=PlaceBid(bid=bid)):
                self._log.info("bid_placed", lease=str(bid.id), rate=str(bid.rate))
                self._metrics.bid(BidOutcome.SUBMITTED)
            case Failed() if event.is_final:
                self._log.warning("effect_failed", effect=event.effect.id, problem=event.what)
            case _:
                pass

    def _unfit(self, runtime: RuntimeCapabilities) -> None:
        if runtime.unfit == self._told_unfit:
            return
        self._told_unfit = runtime.unfit
        for each in runtime.unfit:
            self._log.warning(
                "engine_unfit", problem=str(each), bids="allowed" if each.is_allowed else "none"
            )

    def _note(self, note: Note, at: Instant) -> None:
        if isinstance(note, OrderConsidered | BidEnded):
            self._market_note(note, at)
        elif isinstance(note, GpuFaulted | GpuSignalMoved):
            self._gpu_note(note, at)
        elif isinstance(note, IdleMoved):
            self._log.info(
                "idle_job_moved", gpu=note.gpu, before=note.before, after=note.after, detail=note.detail
            )
        else:
            self._lease_note(note, at)

    def _gpu_note(self, note: GpuNote, at: Instant) -> None:
        match note:
            case GpuFaulted():
                lease = str(note.lease) if note.lease else None
                self._log.warning("gpu_faulted", gpu=note.gpu, xid=note.xid, kind=note.kind, lease=lease)
                self._metrics.gpu_faulted(note.gpu, note.xid, note.kind, note.count, at)
            case GpuSignalMoved(line=line) if line.is_raised:
                self._log.warning("gpu_signal_raised", gpu=note.gpu, signal=line.signal, detail=line.detail)
            case GpuSignalMoved(line=line):
                self._log.info("gpu_signal_cleared", gpu=note.gpu, signal=line.signal, detail=line.detail)
            case _:
                assert_never(note)

    def _market_note(self, note: OrderConsidered | BidEnded, at: Instant) -> None:
        match note:
            case OrderConsidered(decision=decision) if decision.refused is not None:
                self._log.info("order_refused", order=str(note.order.id), reason=str(decision.refused))
                self._metrics.order_seen(decision.refused.why)
            case OrderConsidered(decision=decision):
                self._log.info("order_matched", order=str(note.order.id), rate=str(decision.rate))
                self._metrics.order_seen(None)
                self._metrics.bid_waited(BidStage.DECIDE, (self._clock.now() - at) / 1000)
            case BidEnded():
                self._log.info("bid_ended", lease=str(note.bid), outcome=note.outcome, detail=note.detail)
                self._metrics.bid(BidOutcome(note.outcome))

    def _lease_note(self, note: LeaseNote, at: Instant) -> None:
        match note:
            case LeaseMoved():
                self._log.info(
                    "lease_moved",
                    lease=str(note.lease),
                    before=note.before,
                    after=note.after,
                    detail=note.detail,
                )
            case ContainerEnded():
                self._log.warning(
                    "container_ended",
                    lease=str(note.lease),
                    service=note.service,
                    replica=note.replica,
                    cause=note.cause,
                    detail=note.detail,
                )
                self._metrics.container_ended(note.cause)
            case UpdateTakenBack():
                self._log.warning("update_taken_back", lease=str(note.lease), reason=note.why)
            case NoticeGiven():
                self._log.info("notice_given", lease=str(note.lease), ends_at=note.ends_at, reason=note.why)
            case LeaseNamed():
                self._log.info("lease_named", lease=str(note.lease), hostnames=list(note.hostnames))
            case LeaseClosed():
                self._log.info(
                    "lease_closed",
                    lease=str(note.lease),
                    reason=note.reason,
                    fault=note.reason.fault,
                    ran_ms=note.ran_ms,
                    earned=str(note.earned),
                )
                self._metrics.lease_closed(
                    note.reason,
                    key=note.lease.key,
                    ran_s=note.ran_ms / 1000,
                    earned=note.earned,
                    market=self._markets[note.lease.market].name,
                )
            case OrphanFound():
                self._log.warning("orphan_found", lease=str(note.lease))
            case EffectGaveUp():
                self._log.warning("effect_given_up", effect=note.effect, problem=note.what, at=at)
            case _:
                assert_never(note)


@lru_cache(maxsize=1024)
def _key_and_market(lease: LeaseId) -> tuple[str, MarketId]:
    """The same at every scrape; the key is a hash."""
    return lease.key, lease.market


def telemetry_view(
    state: AgentState,
    clock: Clock,
    names: Mapping[MarketId, str],
    usages: Mapping[LeaseId, LeaseUsage] | None = None,
) -> TelemetryView:
    """The agent's state as metrics tell it. ``names`` are of all markets, those never heard of too."""
    at = clock.now()
    leases = []
    for name, lease in state.leases.items():
        key, market = _key_and_market(name)
        ran_ms = metering.total_ms(lease.meter, at)
        leases.append(
            LeaseView(
                key=key,
                phase=lease.phase,
                gpus=lease.placement.gpus,
                rate=lease.rate,
                earned=earned(lease.rate, ran_ms),
                ran_ms=ran_ms,
                usage=usages.get(name) if usages else None,
                market=names.get(market, market),
            )
        )
    return TelemetryView(
        nodes=state.nodes,
        leases=tuple(leases),
        signals=tuple(
            (uuid, each.signal) for uuid, record in state.gpu_records.items() for each in record.active
        ),
        idle=tuple(
            IdleView(gpu=uuid, is_running=run.phase is IdlePhase.RUNNING, ran_ms=run.total_ms(at))
            for uuid, run in state.idle.items()
            if run.is_on or state.policy.idle is not None
        ),
        bids_open=len(state.bids),
        markets=tuple(
            MarketView(name=name, is_connected=state.market(market).connected)
            for market, name in names.items()
        ),
        blocked=tuple(_blocked(state)),
        prices=tuple(_prices(state)),
    )


def _blocked(state: AgentState) -> Iterator[str]:
    """Why no order at all would get a bid; the rules are ``core.admission``'s."""
    if not state.nodes or state.runtime is None:
        yield "engine"
    if state.is_draining:
        yield "draining"
    unfit = state.runtime.unfit if state.runtime else ()
    if any(not each.is_allowed and not each.only_for_gpus for each in unfit):
        yield "unfit"
    if not state.connected:
        yield "market"


def _prices(state: AgentState) -> Iterator[tuple[str, str, float]]:
    """Of the models that are here and have a price."""
    prices = state.policy.price.gpu_hour
    for model in sorted({gpu.model for node in state.nodes for gpu in node.gpus}):
        price = prices.get(model, prices.get("*"))
        if price is not None:
            yield from ((model, denom, float(price)) for denom in sorted(state.policy.denoms))
