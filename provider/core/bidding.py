"""From an open order to an award or a loss: bids and the reservations behind them.

Invariant: what a bid stands for is held from the moment it is wanted until its outcome is known, and
given back on every losing path in the same step.
"""

from __future__ import annotations

from dataclasses import replace

from provider.core import asking, leasing, pricing
from provider.core.admission import Accepted, decide
from provider.core.draft import Draft
from provider.core.effects import PlaceBid, RefuseLease, WithdrawBid
from provider.core.holdings import UNHELD
from provider.core.learning import WinCurve, learned
from provider.core.order_rules import CURED_BY_TIME, again_at, bid_times
from provider.core.policy import Policy
from provider.core.room import Room
from provider.core.space import is_overdrawn
from provider.core.state import OpenBid, WaitingOrder, holdings
from provider.core.step import BidEnded, OrderConsidered
from provider.domain.gpu import GpuHealth
from provider.domain.ids import EffectId, LeaseId, OrderId
from provider.domain.market import Award, Order, Refusal, Refused
from provider.domain.moment import Instant, after
from provider.domain.money import Rate


def order_opened(draft: Draft, order: Order, at: Instant) -> None:
    """Bid, or say why not. What was lost once cannot be won again: a lease's name is used once."""
    bid = order.id.lease(draft.state.policy.name_in(order.id.market))
    if bid in draft.state.bids or bid in draft.state.leases:
        return
    version = draft.state.market(order.id.market).version
    draft.drop_order(order.id)
    considered = OrderConsidered(order=order, decision=decide(order, draft.state, at), version=version)
    verdict = considered.decision.verdict
    if isinstance(verdict, Refused):
        draft.put_order(WaitingOrder(order=order, refused=verdict, version=considered.version))
        _mind(draft, verdict, at)
        draft.note(considered)
    else:
        _bid(draft, considered, verdict, at)


def reconsider(draft: Draft, at: Instant) -> None:
    """Look again, oldest first, at orders that were refused: at all of them where what there is has changed,
    at those that could fit now where something was given back."""
    everything, room = draft.capacity_changed, Room.of(draft.state)
    for waiting in list(draft.state.orders.values()):
        is_time = draft.lapsed and _is_time(draft, waiting, at)
        if not everything and not is_time and not room.may_have(waiting):
            continue
        considered = OrderConsidered(
            order=waiting.order,
            decision=decide(waiting.order, draft.state, at),
            version=waiting.version,
            is_again=True,
        )
        verdict = considered.decision.verdict
        if isinstance(verdict, Accepted):
            draft.drop_order(waiting.order.id)
            _bid(draft, considered, verdict, at, issued=waiting.effects_issued)
            room = Room.of(draft.state)
            continue
        _mind(draft, verdict, at)
        if verdict.why is not waiting.refused.why:
            draft.put_order(replace(waiting, refused=verdict, again_at=None))
            draft.note(considered)


def _is_time(draft: Draft, waiting: WaitingOrder, at: Instant) -> bool:
    """Whether what it was refused for may be over by now; one whose time is to come is woken for then."""
    if waiting.again_at is None or waiting.again_at <= at:
        return waiting.again_at is not None or waiting.refused.why in CURED_BY_TIME
    draft.wake_at(waiting.again_at)
    return False


def _mind(draft: Draft, refused: Refused, at: Instant) -> None:
    """Where it is a matter of time, look again in time."""
    due = again_at(refused.why, draft.state, at)
    if due is not None:
        draft.wake_at(due)


def look_again(draft: Draft, at: Instant) -> None:
    """What time had to cure, it has."""
    if draft.state.look_again_at is not None and draft.state.look_again_at <= at:
        draft.state = replace(draft.state, look_again_at=None)
        draft.lapsed = True


def _bid(
    draft: Draft, considered: OrderConsidered, accepted: Accepted, at: Instant, *, issued: int = 0
) -> None:
    bid = OpenBid(
        bid=accepted.bid,
        order=considered.order,
        placement=accepted.placement,
        expires_at=after(at, draft.state.policy.bid_lifetime),
        version=considered.version,
        effects_issued=issued + 1,
        lesson=accepted.lesson,
    )
    if draft.state.policy.bids.bids_per_minute:
        draft.state = replace(draft.state, bid_times=bid_times(draft.state, at))
    if accepted.is_asking:
        asking.ask(draft, bid, accepted)
        return
    draft.put_bid(bid)
    draft.want(PlaceBid(id=asking.latest(bid), bid=accepted.bid))
    draft.note(considered)


def order_closed(draft: Draft, order: OrderId, won_at: Rate | None = None) -> None:
    """A bid on it, if it is still open, is lost; to one at ``won_at``, where the market tells."""
    draft.drop_order(order)
    bid = order.lease(draft.state.policy.name_in(order.market))
    if bid in draft.state.bids:
        _learn(draft, draft.state.bids[bid], is_won=False, rival=won_at)
        _end(draft, bid, "lost")


def bid_rejected(draft: Draft, effect: PlaceBid, what: str) -> None:
    """The market did not take it. An answer to an earlier bid on the same order says nothing of this one."""
    bid = draft.state.bids.get(effect.bid.id)
    if bid is not None and not bid.is_asking and effect.id.startswith(f"{bid.bid.id}@{bid.version}#"):
        _end(draft, bid.bid.id, "rejected", what)


def award_ended(draft: Draft, bid: LeaseId) -> None:
    """The market gave up an award of it that we never heard of."""
    if bid in draft.state.bids:
        _end(draft, bid, "lost")


def awarded(draft: Draft, award: Award, at: Instant) -> None:
    """The bid won: the reservation becomes a lease, or the market is told that it cannot.

    Whether our word comes in time is for the market's clock to say: ours may differ.
    """
    if award.id in draft.state.leases:
        return  # a market that was away asks again, and our word is on its way
    open_bid = draft.state.bids.get(award.id)
    if open_bid is None or open_bid.is_asking or open_bid.bid.rate != award.rate:
        why = Refused(why=Refusal.BID_GONE, required=str(award.rate), available="no reservation")
        version = draft.state.market(award.id.market).version
        # Of the award and of no bid, whose ids end in a count: one could be of the same version.
        draft.want(RefuseLease(id=EffectId(f"{award.id}@{version}#refused"), lease=award.id, why=why))
        if open_bid is not None:
            _end(draft, award.id, "rejected", "the award names another price")
        return
    _learn(draft, open_bid, is_won=True)
    _end(draft, award.id, "won")
    leasing.begin(draft, open_bid, award, at)
    _withdraw_overtaken(draft, open_bid)


def _withdraw_overtaken(draft: Draft, won: OpenBid) -> None:
    """Where bids may stand for the same things: those that cannot be delivered beside the new lease."""
    node, gpus = won.placement.node, frozenset(won.placement.gpus)
    if not gpus.isdisjoint(holdings(draft.state).get(node, UNHELD).bids.gpus):
        for bid in list(draft.state.bids.values()):
            if not gpus.isdisjoint(bid.placement.gpus):
                withdraw(draft, bid.bid.id, "withdrawn", f"{won.bid.id} has won a GPU that it stands for")
    if draft.state.policy.bids.overbid > 1:
        for bid in reversed(list(draft.state.bids.values())):
            if bid.placement.node == node and is_overdrawn(draft.state, bid.order.group, node):
                withdraw(draft, bid.bid.id, "withdrawn", f"{won.bid.id} has won what it stands for")


def _learn(draft: Draft, bid: OpenBid, *, is_won: bool, rival: Rate | None = None) -> None:
    """What its outcome says of prices. A bid that nobody decided on says nothing."""
    lesson, state = bid.lesson, draft.state
    if lesson is None or bid.is_asking:
        return
    rival_hour = None if rival is None else pricing.highest_hour(rival, state.policy.worth_of(rival.denom))
    curve = state.curves.get(lesson.kind, WinCurve())
    after_it = learned(curve, lesson, is_won=is_won, rival_hour=rival_hour)
    draft.state = replace(state, curves={**state.curves, lesson.kind: after_it})


def withdraw(draft: Draft, bid: LeaseId, outcome: str, detail: str = "") -> None:
    """Take an open bid back and give its reservation back now, whatever the market answers."""
    if not draft.state.bids[bid].is_asking:
        draft.want(WithdrawBid(id=draft.bid_effect_id(bid), bid=bid))
    _end(draft, bid, outcome, detail)


def expire(draft: Draft, at: Instant) -> None:
    """Withdraw every bid that nothing was heard of."""
    for bid in list(draft.state.bids.values()):
        if bid.expires_at <= at:
            withdraw(draft, bid.bid.id, "expired")


def set_drain(draft: Draft, *, is_draining: bool) -> None:
    """Take every open bid back and make no other, or look at the orders again."""
    draft.state = replace(draft.state, is_draining=is_draining)
    draft.capacity_changed = True
    if is_draining:
        for bid in list(draft.state.bids):
            withdraw(draft, bid, "withdrawn", "the operator drains this provider")


def change_policy(draft: Draft, policy: Policy) -> None:
    """Other prices, other wishes: what was refused is looked at again, what was bid stays as it was bid."""
    assert policy.provider == draft.state.policy.provider, "a provider does not change its name"
    draft.state = replace(draft.state, policy=policy)
    draft.capacity_changed = True


def withdraw_undeliverable(draft: Draft) -> None:
    """Withdraw every bid that stands for a GPU which is gone or no longer healthy."""
    sound = {gpu.uuid for node in draft.state.nodes for gpu in node.gpus if gpu.health is GpuHealth.HEALTHY}
    for bid in list(draft.state.bids.values()):
        lost = [uuid for uuid in bid.placement.gpus if uuid not in sound]
        if lost:
            withdraw(draft, bid.bid.id, "withdrawn", f"{', '.join(lost)} can no longer be delivered")


def _end(draft: Draft, bid: LeaseId, outcome: str, detail: str = "") -> None:
    if draft.state.bids[bid].is_asking:
        asking.give_up(draft, bid, detail or f"{outcome} before a price was known")
        return
    draft.drop_bid(bid, is_won=outcome == "won")
    draft.note(BidEnded(bid=bid, outcome=outcome, detail=detail))
