"""Recorded orders decided again, under another policy: the very core, fed with what the ledger kept.

Owns the way back from records to events, and what may be said of bids that were never made. Does not own the
decisions: those are ``agent.transition``'s. Invariant: under the policy and the inventory that there were,
the decisions are those that were recorded, all of them, in their order.

What becomes of a bid is known only where the market was asked. One that won still wins at the same price or
a lower one; one that was lost is still lost at the same price or a higher one; where the market tells at
which price an order went, a cheaper bid would have won it. All else is ``Fate.UNKNOWN``. A lease that is won
runs as long as the real one did; where there was none nobody knows how long, so it holds and earns nothing.

Prices that were asked for outside are those that the ledger has (``replay_prices``), and are there at once:
what was held while somebody thought is not recorded, so with such prices the invariant holds where no order
came while another was being priced.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import assert_never

from provider.core.agent import transition
from provider.core.effects import AskPrice, PlaceBid, StopWorkload
from provider.core.events import (
    DrainSet,
    Event,
    Failed,
    LeaseAwarded,
    LeaseEnded,
    NodesRead,
    OrderClosed,
    OrderOpened,
    Performed,
    PolicyChanged,
    TimeReached,
)
from provider.core.ledger import (
    LIVE,
    Began,
    Decided,
    Drained,
    Fate,
    Held,
    Named,
    OrderGone,
    Record,
    Seen,
    Settled,
    Turned,
    Woke,
    records,
)
from provider.core.policy import Policy
from provider.core.replay_prices import NOBODY, NOT_ASKED, Answers
from provider.core.standing import NEVER, Real, Standing
from provider.core.state import AgentState, Lease, OpenBid
from provider.domain.ids import EffectId, LeaseId, MarketId, OrderId
from provider.domain.market import Award, CloseReason
from provider.domain.moment import MINUTE, Instant, after
from provider.domain.money import Rate, earned


class Replay:
    """Of one run of records, in their order. ``made`` are the records of what would have been."""

    def __init__(self, policy: Policy, *, inventory: Seen | None = None, said: Answers = NOBODY) -> None:
        """``inventory`` was there all the time, in place of what was recorded. ``said``: by whoever makes the
        prices, where that is somebody outside."""
        self._inventory = inventory
        self._said = said
        self.not_asked: set[OrderId] = set()
        """Orders of which nobody knows what would have been said: they are refused."""
        self.state = AgentState(policy=policy)
        self.made: list[Record] = []
        self._real: dict[OrderId, Real] = {}
        self._placed: dict[LeaseId, PlaceBid] = {}

    def begin(self, before: Iterable[Record]) -> None:
        """Take what was held, waited for and there at the end of ``before``, without deciding anything:
        orders that waited then are looked at again when something changes."""
        past = Standing()
        for record in before:
            past.take(record)
        policy = self.state.policy
        self.state = past.state(policy)
        self._real = dict(past.real)
        if past.seen is not None:
            waiting = self.state.orders
            self.state = replace(self.state, orders={})
            self._see(past.seen)
            self.state = replace(self.state, orders=waiting)
            self.made.clear()

    def take(self, record: Record) -> None:
        """What was recorded next."""
        self._withdraw_overdue(record.at)
        match record:
            case Decided():
                self._decided(record)
            case Turned():
                self._turned(record)
            case OrderGone():
                self._gone(record)
            case Seen():
                self._see(record)
            case Named():
                self._named(record)
            case Drained(is_draining=is_draining):
                self._happens(DrainSet(is_draining=is_draining), record.at)
            case Woke():
                self._happens(TimeReached(), record.at)
            case Settled():
                self._happens(PolicyChanged(policy=self.state.policy), record.at)
            case Began():
                self._began(record)
            case _:
                assert_never(record)

    # --- what was recorded, as events

    def _decided(self, record: Decided) -> None:
        order = record.order
        known = self._real.get(order.id)
        rate = record.decision.rate or (known.rate if known else None)
        self._real[order.id] = Real(order=order, rate=rate, fate=record.fate)
        if not record.is_again:
            version = self._next_version(order.id)
            self._happens(OrderOpened(order=order, version=version), record.at)

    def _turned(self, record: Turned) -> None:
        real = self._real.get(record.order)
        if real is not None:
            self._real[record.order] = replace(real, fate=record.fate)
        lease = self._lease_id(record.order)
        bid = self.state.bids.get(lease)
        match record.fate:
            case Fate.WON if bid is not None:
                self._won(bid, real, record.at)
            case Fate.LOST | Fate.REJECTED if bid is not None:
                self._lost(bid, real, record)
            case Fate.EXPIRED if bid is not None and bid.expires_at == NEVER:
                self._expires(bid, record.at)
            case Fate.ENDED if lease in self.state.leases:
                self._ended(self.state.leases[lease], record)
            case Fate.SUBMITTED if bid is not None:
                self.made.append(record)
            case _:
                pass  # what the core does by itself, or what was never held here

    def _won(self, bid: OpenBid, real: Real | None, at: Instant) -> None:
        if real is None or real.rate is None or not _at_most(bid.bid.rate, real.rate):
            self._is_unknown(bid, at)
            return
        award = Award(
            id=bid.bid.id,
            rate=bid.bid.rate,
            manifest_hash=bid.order.manifest_hash,
            confirm_by=after(at, MINUTE),
        )
        self._happens(LeaseAwarded(award=award, version=self._next_version(bid.order.id)), at)
        self._let_it_run(bid.bid.id)

    def _lost(self, bid: OpenBid, real: Real | None, record: Turned) -> None:
        """Without the order being closed: not taken, or the market gave up an award that we never heard
        of."""
        lease, placed = bid.bid.id, self._placed.get(bid.bid.id)
        if real is None or real.rate is None or not _at_most(real.rate, bid.bid.rate):
            self._is_unknown(bid, record.at)
        elif record.fate is Fate.REJECTED and placed is not None:
            self._happens(Failed(effect=placed, what=record.detail, is_final=True), record.at)
        else:
            version = self._next_version(bid.order.id)
            ended = LeaseEnded(lease=lease, reason=CloseReason.NOT_CONFIRMED, version=version)
            self._happens(ended, record.at)

    def _expires(self, bid: OpenBid, at: Instant) -> None:
        """It was there before the first record that counts; when it would expire was not written."""
        bids = {**self.state.bids, bid.bid.id: replace(bid, expires_at=at)}
        self.state = replace(self.state, bids=bids)
        self._happens(TimeReached(), at)

    def _gone(self, record: OrderGone) -> None:
        order, won_at = record.order, record.won_at
        bid = self.state.bids.get(self._lease_id(order))
        if bid is None or self._is_lost(bid, won_at):
            version = self._next_version(order)
            self._happens(OrderClosed(order=order, version=version, won_at=won_at), record.at)
        elif won_at is not None and won_at.denom == bid.bid.rate.denom:
            self._gives_back(bid, Turned(at=record.at, order=order, fate=Fate.WON, detail="cheaper"))
        else:
            self._is_unknown(bid, record.at)

    def _is_lost(self, bid: OpenBid, won_at: Rate | None) -> bool:
        """Surely: no cheaper than the bid that won, or than our own that was lost."""
        if won_at is not None:
            return _at_most(won_at, bid.bid.rate)
        real = self._real.get(bid.order.id)
        return (
            real is not None
            and real.rate is not None
            and real.fate in LIVE
            and _at_most(real.rate, bid.bid.rate)
        )

    def _ended(self, lease: Lease, record: Turned) -> None:
        ran_ms = record.ran_ms or 0
        version = self._next_version(lease.id.order)
        reason = next((each for each in CloseReason if each == record.detail), CloseReason.TENANT_CLOSED)
        self._happens(LeaseEnded(lease=lease.id, reason=reason, version=version), record.at, quietly=True)
        if lease.id not in self.state.leases:
            return
        self.made.append(replace(record, ran_ms=ran_ms, earned=earned(lease.rate, ran_ms)))
        self._happens(Performed(effect=_removal(lease.id)), record.at, without=Fate.ENDED)

    def _named(self, record: Named) -> None:
        """A lease's manifest is not recorded; its order has the names that it asks for in its stead."""
        lease = self.state.leases.get(self._lease_id(record.order))
        if lease is None or lease.group.hostnames == record.hostnames:
            return
        freed = set(lease.group.hostnames) - set(record.hostnames)
        named = replace(lease, group=replace(lease.group, hostnames=record.hostnames))
        self.state = replace(self.state, leases={**self.state.leases, lease.id: named})
        if freed and self.state.runtime is not None:
            read = NodesRead(nodes=self.state.nodes_as_read, runtime=self.state.runtime)
            self._happens(read, record.at)

    def _see(self, record: Seen) -> None:
        there_is = self._inventory or record
        self._hold(record.deposits)
        self.state = replace(self.state, gpu_records=dict(there_is.gpu_records))
        read = NodesRead(nodes=there_is.nodes, runtime=there_is.runtime)
        self._happens(read, record.at)

    def _hold(self, deposits: Mapping[MarketId, int]) -> None:
        """The markets' terms, which are not the machine's: as recorded, also with another inventory."""
        markets = {
            market: replace(self.state.market(market), bid_deposit=deposits.get(market, 0))
            for market in self.state.markets.keys() | deposits.keys()
        }
        self.state = replace(self.state, markets=markets)

    def _began(self, record: Began) -> None:
        """A restart: nothing is known of the machine until it is read. What was held is held on; of what was
        not any more the end was not written."""
        held = {each.order.id: each for each in record.held}
        for order, real in list(self._real.items()):
            if real.fate in LIVE and order not in held:
                self._real[order] = replace(real, fate=Fate.UNKNOWN)
                self._end_unseen(order, record.at)
        for order, each in held.items():
            if order not in self._real:
                self._lost_record(each, record.at)
            elif each.is_lease and self._real[order].fate is not Fate.WON:
                self._turned(Turned(at=record.at, order=order, fate=Fate.WON))
        self._hold({})  # until the link is up again
        self.state = replace(
            self.state,
            nodes=(),
            nodes_as_read=(),
            runtime=None,
            is_draining=record.is_draining,
            curves=self.state.curves or dict(record.curves),
        )

    def _end_unseen(self, order: OrderId, at: Instant) -> None:
        lease_id = self._lease_id(order)
        if lease_id in self.state.bids:
            self._is_unknown(self.state.bids[lease_id], at)
        elif lease_id in self.state.leases:
            version = self._next_version(order)
            ended = LeaseEnded(lease=lease_id, reason=CloseReason.LEASE_FORGOTTEN, version=version)
            self._happens(ended, at, quietly=True)
            self._happens(Performed(effect=_removal(lease_id)), at, without=Fate.ENDED)
            self.made.append(Turned(at=at, order=order, fate=Fate.UNKNOWN))

    def _lost_record(self, held: Held, at: Instant) -> None:
        """The decision behind it was not written: it is made as if it had come just now."""
        self._real[held.order.id] = Real(order=held.order, rate=held.bid.rate, fate=Fate.DECIDED)
        version = self._next_version(held.order.id)
        self._happens(OrderOpened(order=held.order, version=version), at)
        if held.is_lease:
            self._turned(Turned(at=at, order=held.order.id, fate=Fate.WON))

    # --- the core

    def _happens(
        self, event: Event, at: Instant, *, quietly: bool = False, without: Fate | None = None
    ) -> None:
        step = transition(self.state, event, at)
        self.state = step.state
        for effect in step.effects:
            if isinstance(effect, PlaceBid):
                self._placed[effect.bid.id] = effect
        if not quietly:
            made = records(event, step, at, 0)
            self.made += [each for each in made if not (isinstance(each, Turned) and each.fate is without)]
        for effect in step.effects:
            if isinstance(effect, AskPrice):
                self._happens(self._answer(effect), at)

    def _answer(self, effect: AskPrice) -> Performed | Failed:
        """At once: how long it took then is not recorded."""
        order = effect.question.order.id
        price = self._said.prices.get(order)
        if price is not None:
            return Performed(effect=effect, price=price)
        why = self._said.refusals.get(order)
        if why is None:
            self.not_asked.add(order)
        return Failed(effect=effect, what=NOT_ASKED if why is None else why, is_final=True)

    def _withdraw_overdue(self, at: Instant) -> None:
        """Bids that were never made expire, too; of those that were, a record says when."""
        made_up = (
            bid
            for bid in self.state.bids.values()
            if bid.expires_at < at
            and (real := self._real.get(bid.order.id)) is not None
            and real.fate not in LIVE
        )
        if any(made_up):
            self._happens(TimeReached(), at)

    def _is_unknown(self, bid: OpenBid, at: Instant) -> None:
        """Nobody asked the market at this price."""
        self._gives_back(bid, Turned(at=at, order=bid.order.id, fate=Fate.UNKNOWN))

    def _gives_back(self, bid: OpenBid, turned: Turned) -> None:
        """It holds nothing from now on: how long it would have, nobody knows."""
        self.made.append(turned)
        version = self._next_version(bid.order.id)
        ended = LeaseEnded(lease=bid.bid.id, reason=CloseReason.NOT_CONFIRMED, version=version)
        self._happens(ended, turned.at, without=Fate.LOST)  # which, unlike a loss, teaches nothing of prices

    def _let_it_run(self, lease_id: LeaseId) -> None:
        """Until the real one ended: its tenant's doings are not recorded, so nothing of it is ever due."""
        lease = self.state.leases.get(lease_id)
        if lease is not None:
            leases = {**self.state.leases, lease_id: replace(lease, due=None)}
            self.state = replace(self.state, leases=leases)

    def _lease_id(self, order: OrderId) -> LeaseId:
        return order.lease(self.state.policy.name_in(order.market))

    def _next_version(self, order: OrderId) -> int:
        return self.state.market(order.market).version + 1


def _removal(lease: LeaseId) -> StopWorkload:
    return StopWorkload(id=EffectId(f"{lease}#replay"), lease=lease, grace_s=0)


def _at_most(rate: Rate, other: Rate) -> bool:
    """Whether it is no dearer; not to be said where the denoms differ."""
    return rate.denom == other.denom and rate.amount <= other.amount
