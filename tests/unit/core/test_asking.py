"""A price that somebody else makes: what is held meanwhile, what may happen meanwhile, what the answer
comes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.core.admission import Accepted
from provider.core.agent import next_due
from provider.core.effects import AskPrice, PlaceBid, RefuseLease
from provider.core.events import DrainSet, Failed, Performed, PolicyChanged
from provider.core.floor import WEEK_HOURS
from provider.core.policy import PriceFloor, PriceStrategy
from provider.core.space import free
from provider.core.state import holdings
from provider.core.step import BidEnded, OrderConsidered, Step
from provider.domain.market import Refusal, Refused
from provider.domain.moment import MINUTE
from provider.domain.money import Rate
from provider.sim.store import MemoryStore
from tests.agents import POLICY, Agent, gpu, group, lease_of, node, nodes_read, rate, sick, sole, unit

SCRIPTED = replace(POLICY, strategy=PriceStrategy.SCRIPT)
COSTLY = replace(SCRIPTED, floor=PriceFloor(kwh_dearest=(Decimal(9_000),) * WEEK_HOURS))
HUNGRY = replace(gpu(0), power_limit_watts=1000.0)
LATER = rate("20.5")


def asking() -> Agent:
    agent = Agent(HUNGRY, policy=SCRIPTED)
    agent.opens()
    return agent


def answers(agent: Agent, price: Rate | None, why: str = "the script says no") -> Step:
    effect = agent.last(AskPrice)
    if price is None:
        return agent.take(Failed(effect=effect, what=why, is_final=True))
    return agent.take(Performed(effect=effect, price=price))


def why(step: Step) -> Refused | None:
    return sole(step.notes, OrderConsidered).decision.refused


def test_what_it_stands_for_is_held_while_it_is_asked_for() -> None:
    agent = Agent(HUNGRY, policy=SCRIPTED)
    step = agent.opens()
    assert agent.kinds(step) == ["AskPrice"]
    assert step.notes == (), "nothing is decided yet"
    question = agent.last(AskPrice).question
    assert question.gpus == (HUNGRY,)
    assert question.most_hour == 60_000
    assert free(agent.state, agent.state.nodes[0]).gpus == ()
    assert agent.kinds(agent.opens(2)) == []
    assert agent.state.orders[lease_of(2).order].refused.why is Refusal.GPU_BUSY


def test_the_answer_is_the_bid() -> None:
    agent = asking()
    step = answers(agent, LATER)
    placed = agent.last(PlaceBid)
    assert (placed.bid.rate, placed.id) == (LATER, f"{lease_of()}@1#2")
    verdict = sole(step.notes, OrderConsidered).decision.verdict
    assert isinstance(verdict, Accepted)
    assert [(each.what, each.cost) for each in verdict.parts] == [("asked by the script", Decimal(12_300))]
    assert not agent.state.bids[lease_of()].is_asking
    agent.done(placed)
    agent.awards()
    assert lease_of() in agent.state.leases


@pytest.mark.parametrize(
    ("price", "reason"),
    [
        (None, Refusal.PRICE_NOT_GIVEN),
        (rate("100.000000000000000001"), Refusal.PRICE_TOO_LOW),
    ],
)
def test_no_answer_and_one_above_the_orders_most_are_reasons(price: Rate | None, reason: Refusal) -> None:
    agent = asking()
    step = answers(agent, price)
    refused = why(step)
    assert refused is not None
    assert refused.why is reason
    assert agent.kinds(step) == [], "the market never heard of it, and it is not asked again at once"
    assert holdings(agent.state) == {}
    assert agent.state.orders[lease_of().order].refused == refused


def fails(agent: Agent) -> Step:
    return agent.take(Failed(effect=agent.last(AskPrice), what="no answer within 1 s", is_final=False))


def test_who_failed_to_answer_is_asked_again_after_twice_as_long_each_time() -> None:
    agent = asking()
    waits = []
    for _ in range(8):
        began = agent.at
        assert agent.kinds(fails(agent)) == []
        assert holdings(agent.state) == {}
        due = next_due(agent.state)
        assert due is not None
        assert agent.kinds(agent.later(due - began - 1)) == []
        assert agent.kinds(agent.later(1)) == ["AskPrice"]
        waits.append((due - began) // 1000)
    assert waits == [10, 20, 40, 80, 160, 300, 300, 300]
    answers(agent, LATER)
    assert agent.last(PlaceBid).bid.rate == LATER
    assert agent.state.look_again_at is None


def test_each_is_asked_again_in_its_own_time_and_a_refusal_is_not() -> None:
    agent = Agent(HUNGRY, gpu(1), gpu(2), policy=SCRIPTED)
    for number in (1, 2, 3):
        agent.opens(number)
    first, second, third = (each for each in agent.wanted if isinstance(each, AskPrice))
    agent.take(Failed(effect=first, what="it crashed", is_final=False))
    agent.passes(4_000)
    agent.take(Failed(effect=second, what="it crashed", is_final=False))
    agent.take(Failed(effect=third, what="not for this one", is_final=True))
    assert [asked(agent.later(each)) for each in (6_000, 4_000, 600_000)] == [[1], [2], []]


def asked(step: Step) -> list[int]:
    return [each.bid.dseq for each in step.effects if isinstance(each, AskPrice)]


def test_one_that_is_asked_again_because_of_a_change_is_not_asked_twice() -> None:
    agent = asking()
    fails(agent)
    assert agent.kinds(agent.take(nodes_read(node(HUNGRY, gpu(1))))) == ["AskPrice"]
    assert agent.kinds(agent.later(10_000)) == []
    fails(agent)
    agent.closes()
    assert agent.kinds(agent.later(600_000)) == []


def test_a_reason_is_kept_as_it_was_said() -> None:
    assert str(why(answers(asking(), None))) == (
        "price not given (required a price, available the script says no)"
    )


def test_a_price_below_cost_is_raised_to_it_and_an_order_that_cannot_pay_it_is_not_asked_about() -> None:
    agent = Agent(HUNGRY, policy=COSTLY)
    agent.opens(2, group(unit(price="14.9")))
    assert agent.state.orders[lease_of(2).order].refused.why is Refusal.BELOW_COST
    assert AskPrice not in map(type, agent.wanted)
    agent.opens()
    assert agent.last(AskPrice).question.least_hour == 9_000
    answers(agent, rate(1))
    assert agent.last(PlaceBid).bid.rate == rate(15)


Happening = Callable[[Agent], Step]


def drained(agent: Agent) -> Step:
    return agent.take(DrainSet(is_draining=True))


def card_lost(agent: Agent) -> Step:
    return agent.take(nodes_read(node(sick(0))))


def time_is_over(agent: Agent) -> Step:
    return agent.later(POLICY.bid_lifetime)


@pytest.mark.parametrize(
    "happens", [Agent.closes, drained, card_lost, time_is_over], ids=lambda each: each.__name__
)
def test_what_happens_meanwhile_gives_everything_back_and_the_answer_says_nothing_any_more(
    happens: Happening,
) -> None:
    agent = asking()
    step = happens(agent)
    assert agent.kinds(step) == [], "there is nothing to take back: the market never heard of it"
    assert not [note for note in step.notes if isinstance(note, BidEnded)]
    assert isinstance(why(step), Refused)
    assert holdings(agent.state) == {}
    assert agent.kinds(answers(agent, LATER)) == []
    assert agent.state.bids == {}


def test_an_award_of_what_was_never_bid_is_refused() -> None:
    agent = asking()
    least = agent.state.bids[lease_of()].bid.rate
    agent.awards(price=least)
    assert agent.last(RefuseLease).why.why is Refusal.BID_GONE
    assert (agent.state.bids, agent.state.leases) == ({}, {})


def test_an_answer_to_an_earlier_question_does_not_price_a_later_one() -> None:
    agent = asking()
    first = agent.last(AskPrice)
    agent.closes()
    agent.opens()
    assert agent.kinds(agent.take(Performed(effect=first, price=LATER))) == []
    assert agent.state.bids[lease_of()].is_asking
    answers(agent, rate(30))
    assert agent.last(PlaceBid).bid.rate == rate(30)


def test_after_a_crash_it_is_asked_again_and_what_was_held_is() -> None:
    agent = asking()
    store = MemoryStore(SCRIPTED)
    again = Agent(policy=SCRIPTED)
    step = again.take(nodes_read(node(HUNGRY)))
    store.commit([step])
    opened = again.opens()
    store.commit([opened])
    state, unfinished = store.restarted(SCRIPTED).load()
    assert state.bids == agent.state.bids
    assert [type(effect) for effect in unfinished] == [AskPrice]
    woken = Agent(policy=SCRIPTED)
    woken.state = state
    woken.take(Performed(effect=unfinished[0], price=LATER))
    assert woken.last(PlaceBid).bid.rate == LATER, "before the machine was read again, too"


def test_a_bid_that_the_market_does_not_take_is_over() -> None:
    agent = asking()
    answers(agent, LATER)
    agent.fails(agent.last(PlaceBid), final=True)
    assert agent.state.bids == {}


@given(
    price=st.decimals(min_value="0.000001", max_value=10**6, places=18),
    most=st.decimals(min_value="0.000001", max_value=10**6, places=6),
    kwh=st.integers(min_value=0, max_value=10**8),
)
def test_whatever_is_answered_a_bid_is_between_cost_and_the_orders_most(
    price: Decimal, most: Decimal, kwh: int
) -> None:
    floor = PriceFloor(kwh_dearest=(Decimal(kwh),) * WEEK_HOURS)
    agent = Agent(HUNGRY, policy=replace(SCRIPTED, floor=floor))
    agent.opens(of=group(unit(price=str(most))))
    if AskPrice in map(type, agent.wanted):
        answers(agent, rate(str(price)))
    for effect in agent.wanted:
        if isinstance(effect, PlaceBid):
            assert effect.bid.rate.amount <= most
            assert effect.bid.rate.amount * 600 >= kwh
            assert effect.bid.rate.amount >= price


def test_every_minute_counts() -> None:
    """The bid's lifetime begins with the question."""
    agent = asking()
    agent.passes(4 * MINUTE)
    answers(agent, LATER)
    assert agent.kinds(agent.later(MINUTE)) == ["WithdrawBid"]


def test_other_prices_leave_bids_alone_and_give_refused_orders_another_look() -> None:
    agent = Agent(HUNGRY, gpu(1), policy=SCRIPTED)
    agent.opens()
    answers(agent, LATER)
    agent.opens(2)
    answers(agent, None)
    agent.opens(3, group(unit(price=5)))
    answers(agent, LATER)
    step = agent.take(PolicyChanged(policy=POLICY))
    assert agent.state.bids[lease_of()].bid.rate == LATER
    assert agent.state.bids[lease_of(2)].bid.rate == rate("10.5"), "by the list now"
    assert agent.state.orders[lease_of(3).order].refused.why is not Refusal.PRICE_NOT_GIVEN
    assert agent.kinds(step) == ["PlaceBid"]


def test_what_was_asked_before_the_policy_changed_is_held_to_the_new_one() -> None:
    agent = asking()
    agent.take(
        PolicyChanged(policy=replace(POLICY, price=replace(POLICY.price, minimum_hour=Decimal(30_000))))
    )
    answers(agent, LATER)
    assert agent.last(PlaceBid).bid.rate == rate(50)
