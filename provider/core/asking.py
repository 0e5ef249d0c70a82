"""A price that is made outside: what is held while it is asked for, and what its answer comes to.

The core waits for nobody: asking is an effect and the answer an event, and between the two the bid is there
already with everything it holds, only that no market has heard of it. So it is lost, expires and is withdrawn
like any other; an answer that comes after that says nothing any more. It is asked again after a crash, and
some time after a failure.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from provider.core import pricing, quoting
from provider.core.admission import ALL_NAMES, PLACED, PRICE, Accepted, Decision
from provider.core.draft import Draft
from provider.core.effects import AskPrice, PlaceBid
from provider.core.events import Failed
from provider.core.policy import Policy
from provider.core.state import OpenBid, WaitingOrder
from provider.core.step import OrderConsidered
from provider.domain.ids import EffectId, LeaseId
from provider.domain.market import Refusal, Refused
from provider.domain.moment import Instant, Span, after
from provider.domain.money import Rate
from provider.domain.price import PricePart, PriceQuestion


def ask(draft: Draft, bid: OpenBid, accepted: Accepted) -> None:
    """Hold what ``bid`` stands for and have it priced."""
    state, order = draft.state, bid.order
    chosen = frozenset(bid.placement.gpus)
    worth = state.policy.worth_of(order.group.max_rate.denom)
    question = PriceQuestion(
        order=order,
        placement=bid.placement,
        gpus=tuple(gpu for node in state.nodes for gpu in node.gpus if gpu.uuid in chosen),
        worth=worth,
        least_hour=max(pricing.total(accepted.costs), state.policy.price.minimum_hour),
        most_hour=pricing.highest_hour(order.group.max_rate, worth),
        costs=accepted.costs,
        picked=accepted.picked,
    )
    draft.put_bid(replace(bid, is_asking=True))
    draft.want(AskPrice(id=latest(bid), bid=bid.bid.id, question=question))


def answered(draft: Draft, effect: AskPrice, price: Rate) -> None:
    """Bid at ``price``, within what it costs and what the order allows."""
    bid = draft.state.bids.get(effect.bid)
    if bid is None or not bid.is_asking or effect.id != latest(bid):
        return
    policy, question = draft.state.policy, effect.question
    asked = PricePart(
        what=asked_by(policy),
        amount=Decimal(1),
        cost=pricing.highest_hour(price, question.worth),
    )
    quote = quoting.settle(bid.order.group.max_rate, policy, (asked,), question.costs)
    if isinstance(quote, Refused):
        _refuse(draft, bid, quote)
        return
    made = replace(bid.bid, rate=quote.rate)
    placed = replace(bid, bid=made, is_asking=False, effects_issued=bid.effects_issued + 1)
    draft.put_bid(placed)
    draft.want(PlaceBid(id=latest(placed), bid=made))
    accepted = Accepted(
        bid=made,
        placement=bid.placement,
        parts=quote.parts,
        floor=quote.floor,
        costs=quote.costs,
        picked=question.picked,
    )
    _note(draft, bid, Decision(verdict=accepted, passed=ALL_NAMES))


def failed(draft: Draft, event: Failed, effect: AskPrice, at: Instant) -> None:
    """There is no price. A refusal stands until something changes; whoever failed to answer is asked again,
    after twice as long each time."""
    bid = draft.state.bids.get(effect.bid)
    if bid is None or not bid.is_asking or effect.id != latest(bid):
        return
    policy, again_at = draft.state.policy, None
    if not event.is_final:
        wait = min(policy.retry_first * 2 ** min(bid.effects_issued - 1, 30), policy.retry_most)
        again_at = after(at, Span(wait))
        draft.wake_at(again_at)
    refused = Refused(why=Refusal.PRICE_NOT_GIVEN, required="a price", available=event.what)
    _refuse(draft, bid, refused, again_at)


def give_up(draft: Draft, bid: LeaseId, why: str) -> None:
    """What was held for it is free; its order is not looked at again."""
    asking = draft.state.bids[bid]
    draft.drop_bid(bid)
    refused = Refused(why=Refusal.PRICE_NOT_GIVEN, required="a price", available=why)
    _note(draft, asking, Decision(verdict=refused, passed=PLACED, rule=PRICE))


def asked_by(policy: Policy) -> str:
    """The one part of a price that was made outside."""
    return f"asked by the {policy.strategy if policy.strategy.is_asked else 'operator'}"


def latest(bid: OpenBid) -> EffectId:
    """Of the effect that a bid wanted last."""
    return EffectId(f"{bid.bid.id}@{bid.version}#{bid.effects_issued}")


def _refuse(draft: Draft, bid: OpenBid, refused: Refused, again_at: Instant | None = None) -> None:
    draft.drop_bid(bid.bid.id)
    waiting = WaitingOrder(
        order=bid.order,
        refused=refused,
        version=bid.version,
        effects_issued=bid.effects_issued,
        again_at=again_at,
    )
    draft.put_order(waiting)
    _note(draft, bid, Decision(verdict=refused, passed=PLACED, rule=PRICE))


def _note(draft: Draft, bid: OpenBid, decision: Decision) -> None:
    draft.note(OrderConsidered(order=bid.order, decision=decision, version=bid.version))
