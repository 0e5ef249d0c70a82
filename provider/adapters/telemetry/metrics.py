"""Facts to counters: one method for each thing that happens, and the registry that holds them all.

Owns what only ever grows and cannot be read off the state. Methods are called on the event loop, cost about a
microsecond, and raise nothing. State (GPUs, leases, connections) is ``collector``'s.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import StrEnum

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from provider.adapters.telemetry import table
from provider.adapters.telemetry.collector import StateCollector, groups
from provider.adapters.telemetry.counted import Count, Counted, Spread
from provider.adapters.telemetry.renderer import Encode, Renderer
from provider.adapters.telemetry.table.metric import Metric
from provider.adapters.telemetry.totals import GpuTotals
from provider.adapters.telemetry.view import GpuProcesses, Snapshot, TelemetryView
from provider.adapters.telemetry.xids import CardXids, GpuXids
from provider.domain.gpu import GpuReading
from provider.domain.gpu_health import XidClass
from provider.domain.ids import GpuUuid
from provider.domain.market import CloseReason, Refusal
from provider.domain.moment import Instant
from provider.domain.money import Denom, Money
from provider.domain.workload import ExitCause


class BidOutcome(StrEnum):
    """What became of a bid."""

    SUBMITTED = "submitted"
    WON = "won"
    LOST = "lost"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    REJECTED = "rejected"
    """The market did not take it."""
    ERROR = "error"


class BidStage(StrEnum):
    """Which wait of a bid was measured."""

    DECIDE = "decide"
    """From the order's arrival to the committed bid."""
    SUBMIT = "submit"
    """From there until the market has it."""
    CONFIRM = "confirm"
    """From the award until the market has its confirmation."""


ORDER_RESULTS = ("matched", "filtered", "no_capacity", "price", "invalid")
LOOPS = ("machine", "workloads", "capabilities", "ports")
"""What is looked at again and again, as ``shell.sources`` names it."""
_INVALID = frozenset({Refusal.ENDPOINT_KIND_UNSUPPORTED})
_FILTERED = frozenset(
    {
        Refusal.NOT_BIDDING,
        Refusal.RUNTIME_UNFIT,
        Refusal.DENOM_NOT_ACCEPTED,
        Refusal.ATTRIBUTES_NOT_MET,
        Refusal.AUDITORS_NOT_MET,
        Refusal.GPU_UNKNOWN,
    }
)


def order_result(refusal: Refusal | None) -> str:
    """The coarse result of an order: matched, filtered, no_capacity, price or invalid."""
    if refusal is None:
        return "matched"
    if refusal is Refusal.PRICE_TOO_LOW:
        return "price"
    if refusal in _INVALID:
        return "invalid"
    return "filtered" if refusal in _FILTERED else "no_capacity"


class Metrics:
    """One for a daemon. ``registry`` holds all that is exported, the process's own figures included."""

    def __init__(self, *, version: str, revision: str = "") -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a series beside each counter, unread
        self.registry = CollectorRegistry()
        self.state = StateCollector()
        self._counting, self._process = CollectorRegistry(), CollectorRegistry()
        for each in (self.state, self._counting, self._process):
            self.registry.register(each)
        self._counted: list[Counted] = []
        """What is in ``_counting``."""
        self._renderer = Renderer()
        self._sweep = self._spread(table.nvml.SWEEP)
        self._orders = self._count(table.market.ORDERS_SEEN)
        self._refusals = self._count(table.market.ORDER_REFUSALS)
        self._bids = self._count(table.market.BIDS)
        self._bid_latency = self._spread(table.market.BID_LATENCY)
        self._closed = self._count(table.market.LEASES_CLOSED)
        self._duration = self._spread(table.market.LEASE_DURATION)
        self._revenue = self._count(table.market.REVENUE)
        self._start = self._spread(table.runtime.CONTAINER_START)
        self._stop = self._spread(table.runtime.CONTAINER_STOP)
        self._effects = self._count(table.daemon.EFFECTS)
        self._reconnects = self._count(table.daemon.COORDINATOR_RECONNECTS)
        self._ledger_lost = self._count(table.daemon.LEDGER_LOST)
        self._store = self._spread(table.daemon.STORE)
        self._lag = self._spread(table.daemon.LOOP_LAG)
        self._scrape = self._spread(table.daemon.SCRAPE)
        self._restarts = self._count(table.runtime.CONTAINER_RESTARTS)
        self._pull = self._spread(table.runtime.IMAGE_PULL)
        self._pull_bytes = self._count(table.runtime.IMAGE_PULL_BYTES)
        self._request = self._spread(table.runtime.REQUEST)
        self._request_errors = self._count(table.runtime.REQUEST_ERRORS)
        self._store_errors = self._count(table.daemon.STORE_ERRORS)
        self._reconcile = self._spread(table.daemon.RECONCILE)
        self._reconcile_errors = self._count(table.daemon.RECONCILE_ERRORS)
        self._totals = GpuTotals()
        self._xids = GpuXids()
        self._expected: dict[bool, int] = {}
        self._processes: Mapping[GpuUuid, GpuProcesses] = {}
        self._begin_at_zero()
        self._earned: dict[str, int] | None = None
        build = Gauge(
            table.daemon.BUILD_INFO.name,
            table.daemon.BUILD_INFO.help,
            table.daemon.BUILD_INFO.labels,
            registry=self._process,
        )
        build.labels(version, revision, platform.python_version()).set(1)
        ProcessCollector(registry=self._process)
        PlatformCollector(registry=self._process)
        GCCollector(registry=self._process)

    def _begin_at_zero(self) -> None:
        """Where it is known what can happen, the first time has to be seen as a rise."""
        known: tuple[tuple[Count, Iterable[tuple[str, ...]]], ...] = (
            (self._orders, ((result,) for result in ORDER_RESULTS)),
            (self._bids, ((outcome,) for outcome in BidOutcome)),
            (self._closed, ((reason, reason.fault) for reason in CloseReason)),
            (self._restarts, ((cause,) for cause in ExitCause)),
            (self._store_errors, (("write",),)),
            (self._reconcile_errors, ((loop,) for loop in LOOPS)),
        )
        for counter, children in known:
            for labels in children:
                counter.begin(*labels)

    def nvml_sweep(self, seconds: float) -> None:
        """One sample of all cards was taken."""
        self._sweep.observe(seconds)

    def gpu_faulted(self, uuid: GpuUuid, xid: int, kind: XidClass, count: int, at: Instant) -> None:
        """The driver reported ``count`` errors of a card."""
        self._xids.note(uuid, xid, kind, count, at)

    def order_seen(self, refusal: Refusal | None) -> None:
        """An order was looked at; None: it gets a bid."""
        self._orders.inc(order_result(refusal))
        if refusal is not None:
            self._refusals.inc(refusal)

    def bid(self, outcome: BidOutcome) -> None:
        """A bid was submitted, or something became of one."""
        self._bids.inc(outcome)

    def bid_waited(self, stage: BidStage, seconds: float) -> None:
        """A stage of a bid is over."""
        self._bid_latency.observe(seconds, stage)

    def lease_closed(
        self, reason: CloseReason, *, key: str, ran_s: float, earned: Money, market: str = ""
    ) -> None:
        """A lease of ``market`` ended, after having run and earned that much in all."""
        self._closed.inc(reason, reason.fault)
        self._duration.observe(ran_s)
        more = self._note_earned(key, earned.amount)
        if more:
            self._revenue.inc(market, earned.denom, by=more)
        if self._earned is not None:
            self._earned.pop(key, None)

    def effect_done(self, kind: str, seconds: float, *, ok: bool, is_leases: bool = True) -> None:
        """An effect was tried; ``kind`` is its class's name. Only leases' starts and stops are timed."""
        result = "ok" if ok else "failed"
        self._effects.inc(kind, result)
        match kind:
            case "StartWorkload" if is_leases:
                self._start.observe(seconds, result)
            case "StopWorkload" if is_leases:
                self._stop.observe(seconds, result)
            case _:
                pass

    def coordinator_lost(self, market: str = "") -> None:
        """A session with the market is over."""
        self._reconnects.inc(market)

    def ledger_lost(self, records: int) -> None:
        """They are not in the ledger. Called on any thread."""
        self._ledger_lost.inc(by=records)

    def store_commit(self, seconds: float) -> None:
        """A transaction was committed."""
        self._store.observe(seconds, "write")

    def store_load(self, seconds: float) -> None:
        """The state was read, once, at the start."""
        self._store.observe(seconds, "read")

    def store_refused(self) -> None:
        """A transaction could not be taken; it is tried again."""
        self._store_errors.inc("write")

    def looked(self, loop: str, seconds: float, /, *, ok: bool) -> None:
        """One of ``LOOPS`` looked at what there is, or could not."""
        if ok:
            self._reconcile.observe(seconds, loop)
        else:
            self._reconcile_errors.inc(loop)

    def container_ended(self, cause: ExitCause) -> None:
        """A container that should run does not."""
        self._restarts.inc(cause)

    def image_pulled(self, seconds: float, transferred_bytes: int) -> None:
        """An image is here."""
        self._pull.observe(seconds, "ok")
        self._pull_bytes.inc(by=transferred_bytes)

    def image_failed(self, seconds: float) -> None:
        """A pull failed, or was called off."""
        self._pull.observe(seconds, "failed")

    def engine_asked(self, op: str, seconds: float, /, *, ok: bool) -> None:
        """A request to the engine was answered, or failed there. From any thread."""
        self._request.observe(seconds, op)
        if not ok:
            self._request_errors.inc(op)

    def loop_lag(self, seconds: float) -> None:
        """The event loop woke a sleeper so late."""
        self._lag.observe(seconds)

    def rendered(self, seconds: float) -> None:
        """An exposition was made."""
        self._scrape.observe(seconds)

    def sampled(
        self, readings: Iterable[GpuReading], processes: Mapping[GpuUuid, GpuProcesses] | None = None
    ) -> None:
        """The newest samples, as often as one likes; ``processes`` where they were looked for."""
        self._totals.note(readings)
        if processes is not None:
            self._processes = processes

    def render(self, encode: Encode, content_type: str) -> list[bytes]:
        """What ``encode`` makes of ``registry``, sooner, in pieces."""
        snapshot, renderer = self.state.snapshot, self._renderer
        return [
            *([] if snapshot is None else renderer.render(groups(snapshot), encode, content_type)),
            renderer.render_counted(self._counted, encode, content_type),
            renderer.render_families(self._process.collect(), encode, content_type),
        ]

    def xids(self) -> Mapping[GpuUuid, CardXids]:
        """What the driver reported of each card so far."""
        return self._xids.now()

    def show(self, snapshot: Snapshot) -> None:
        """What the next rendering shows of the state."""
        self._note_view(snapshot.view)
        gpus = [gpu for node in snapshot.view.nodes for gpu in node.gpus]
        for simulated in (False, True):
            there = sum(gpu.simulated is simulated for gpu in gpus)
            self._expected[simulated] = max(there, self._expected.get(simulated, 0))
        self.sampled(snapshot.readings)
        self._totals.keep_only({gpu.uuid for gpu in gpus})
        self._xids.keep_only({gpu.uuid for gpu in gpus})
        self.state.snapshot = replace(
            snapshot,
            totals=self._totals.now(),
            gpus_expected=dict(self._expected),
            processes=self._processes,
            xids=self._xids.now(),
        )

    def _note_view(self, view: TelemetryView) -> None:
        """Take revenue up from what live leases have earned, but not what a restart found there already."""
        if self._earned is None:
            self._earned = {lease.key: lease.earned.amount for lease in view.leases}
        grown: dict[tuple[str, Denom], int] = {}
        for lease in view.leases:
            more = self._note_earned(lease.key, lease.earned.amount)
            if more:
                whose = lease.market, lease.earned.denom
                grown[whose] = grown.get(whose, 0) + more
        for whose, amount in grown.items():
            self._revenue.inc(*whose, by=amount)

    def _note_earned(self, key: str, earned: int) -> int:
        """How much more that is than last time."""
        if self._earned is None:
            return earned
        grown = max(earned - self._earned.get(key, 0), 0)
        self._earned[key] = earned
        return grown

    def _count(self, metric: Metric) -> Count:
        count = Count(metric, self._counting)
        self._counted.append(count)
        return count

    def _spread(self, metric: Metric) -> Spread:
        spread = Spread(metric, self._counting)
        self._counted.append(spread)
        return spread
