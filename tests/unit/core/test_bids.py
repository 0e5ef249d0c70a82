"""From an order to an award or a loss: what is held, and that every losing path gives it back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provider.core import state
from provider.core.admission import RULE_NAMES, Accepted
from provider.core.effects import PlaceBid, RefuseLease, WithdrawBid
from provider.core.events import CoordinatorConnected, CoordinatorLost, Failed
from provider.core.step import BidEnded, OrderConsidered, Step
from provider.domain.gpu import GpuHealth
from provider.domain.market import CloseReason, Refusal
from provider.domain.moment import MINUTE
from tests.agents import (
    Agent,
    ask,
    gpu,
    group,
    healthy,
    lease_of,
    node,
    nodes_read,
    order,
    rate,
    resources,
    sick,
    sole,
    unit,
)


def test_a_bid_names_its_price_and_its_cards() -> None:
    agent = Agent(*healthy(0, 1))
    step = agent.opens(of=group(unit(resources(gpus=ask(2)))))
    bid = agent.last(PlaceBid)
    assert isinstance(bid, PlaceBid)
    # half a core at 600 and two cards at 6000 an hour, over 600 blocks
    assert bid.bid.rate == rate("20.5")
    (offer,) = bid.bid.gpus
    assert (offer.model, offer.count, offer.interface) == ("h100", 2, "sxm")
    told = sole(step.notes, OrderConsidered)
    assert (told.order.id, told.version, told.is_again) == (order().id, 1, False)
    assert isinstance(told.decision.verdict, Accepted)
    assert told.decision.verdict.bid == bid.bid
    assert sum(part.cost for part in told.decision.verdict.parts) == 20.5 * 600
    assert told.decision.passed == (*RULE_NAMES, "capacity", "price")
    assert bid.id == f"{lease_of()}@1#1"


def test_an_order_is_bid_on_once() -> None:
    agent = Agent(*healthy(0, 1))
    agent.opens()
    assert agent.opens().effects == (), "it opened again, and our bid still stands"
    agent.awards()
    assert agent.opens().effects == (), "the market will not take a second lease of that name"


@pytest.mark.parametrize(
    "how", ["closed", "rejected", "expired", "undeliverable", "award ended", "other price"]
)
def test_every_loss_gives_back_what_was_held(how: str) -> None:
    agent = Agent(*healthy(0))
    agent.opens()
    agent.opens(2)
    assert agent.state.orders[order(2).id].refused.why is Refusal.GPU_BUSY
    step = lose(agent, how)
    assert lease_of() not in agent.state.bids
    assert [note.outcome for note in step.notes if isinstance(note, BidEnded)] == [OUTCOMES[how]]
    if how == "undeliverable":
        step = agent.take(nodes_read(node(gpu(0))))
    assert lease_of(2) in agent.state.bids, "the order that waited gets what came free, in the same step"
    assert "PlaceBid" in agent.kinds(step)


OUTCOMES = {
    "closed": "lost",
    "rejected": "rejected",
    "expired": "expired",
    "undeliverable": "withdrawn",
    "award ended": "lost",
    "other price": "rejected",
}


def lose(agent: Agent, how: str) -> Step:
    match how:
        case "closed":
            return agent.closes()
        case "rejected":
            return agent.fails(agent.last(PlaceBid), final=True)
        case "expired":
            return agent.later(5 * MINUTE)
        case "undeliverable":
            return agent.take(nodes_read(node(gpu(0, health=GpuHealth.DEGRADED))))
        case "award ended":
            return agent.ends(reason=CloseReason.NOT_CONFIRMED)
        case _:
            return agent.awards(price=rate("12"))


def test_a_bid_is_withdrawn_when_nothing_is_heard_of_it() -> None:
    agent = Agent(*healthy(0))
    agent.opens()
    assert agent.later(5 * MINUTE - 1).effects == ()
    assert agent.kinds(agent.later(1)) == ["WithdrawBid"]
    withdrawn = agent.last(WithdrawBid)
    assert withdrawn.id == f"{lease_of()}@1#2"
    assert agent.kinds(agent.awards()) == ["RefuseLease"], "the award crossed it"
    assert agent.last(RefuseLease).id == f"{lease_of()}@2#refused", "which no bid's id is, of any version"


@pytest.mark.parametrize("gone", [True, False])
def test_only_the_bids_on_a_lost_card_are_withdrawn(gone: bool) -> None:
    agent = Agent(*healthy(0, 1))
    agent.opens(1)
    agent.opens(2)
    agent.take(nodes_read(node(gpu(0)) if gone else node(gpu(0), sick(1))))
    assert set(agent.state.bids) == {lease_of(1)}


def test_an_award_is_taken_whatever_our_clock_says() -> None:
    """A machine whose clock is a minute ahead would otherwise never win anything."""
    agent = Agent(*healthy(0))
    agent.opens()
    assert agent.kinds(agent.awards(within=-60_000)) == ["ConfirmLease"]


def test_the_answer_to_an_earlier_bid_says_nothing_of_the_next() -> None:
    agent = Agent(*healthy(0))
    agent.opens()
    first = agent.last(PlaceBid)
    agent.later(5 * MINUTE)
    agent.opens()
    second = agent.last(PlaceBid)
    assert (first.id, second.id) == (f"{lease_of()}@1#1", f"{lease_of()}@2#1")
    agent.take(Failed(effect=first, what="the order was not open", is_final=True))
    assert lease_of() in agent.state.bids
    agent.take(Failed(effect=second, what="the order was not open", is_final=True))
    assert agent.state.bids == {}


def test_an_order_that_opens_again_is_remembered_once_and_as_new() -> None:
    agent = Agent(*healthy(0))
    agent.opens(1)
    agent.opens(2)
    agent.opens(3)
    agent.opens(2)
    assert [waiting.version for waiting in agent.state.orders.values()] == [3, 4]
    agent.closes(1)
    assert set(agent.state.bids) == {lease_of(3)}, "the one that waited longest"
    agent.closes(2)
    assert agent.state.orders == {}


def test_an_order_that_waited_and_opens_again_is_bid_on_once() -> None:
    """Its older self must not be reconsidered beside the bid."""
    agent = Agent(*healthy(0))
    agent.opens(1)
    agent.opens(2)
    agent.state = replace(agent.state, bids={}, holdings=None)
    agent.opens(2)
    assert agent.kinds(agent.take(nodes_read(node(*healthy(0, 1))))) == []
    assert agent.state.orders == {}


def test_a_refusal_is_told_again_only_when_its_reason_changes() -> None:
    agent = Agent(*healthy(0))
    agent.opens(1)
    agent.opens(2)
    assert agent.take(nodes_read(node(gpu(0)))).notes == ()
    step = agent.take(nodes_read(node(gpu(0, "a100"))))
    told = [note for note in step.notes if isinstance(note, OrderConsidered)]
    assert [note.decision.refused.why for note in told if note.decision.refused] == [Refusal.GPU_UNKNOWN]
    assert [note.is_again for note in told] == [True]


def test_orders_that_are_refused_are_remembered_up_to_a_limit() -> None:
    agent = Agent(gpu(0, "a100"))
    for number in range(1, state.ORDERS_MOST + 11):
        agent.opens(number)
    assert len(agent.state.orders) == state.ORDERS_MOST
    assert next(iter(agent.state.orders)) == order(11).id, "the oldest are forgotten"


def test_orders_that_opened_before_the_machine_was_read_are_bid_on_once_it_is() -> None:
    agent = Agent()
    step = agent.opens()
    decision = sole(step.notes, OrderConsidered).decision
    assert decision.refused is not None
    assert decision.refused.why is Refusal.NOT_BIDDING
    assert (decision.passed, decision.rule) == ((), RULE_NAMES[0])
    assert agent.kinds(agent.take(nodes_read(node(gpu(0))))) == ["PlaceBid"]


def test_a_link_that_comes_and_goes_changes_only_what_is_shown() -> None:
    agent = Agent(*healthy(0))
    agent.opens()
    before = agent.state
    agent.take(CoordinatorLost(why="it was cut"))
    assert (agent.state.connected, agent.state.link_problem) == (False, "it was cut")
    agent.take(CoordinatorConnected(market="m", epoch=2))
    assert (agent.state.connected, agent.state.link_problem, agent.state.market().name) == (True, "", "m")
    assert (agent.state.bids, agent.state.orders) == (before.bids, before.orders)
