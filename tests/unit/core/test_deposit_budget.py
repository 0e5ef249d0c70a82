"""The operator's limit of money that markets hold for bids: open ones and those that are leases."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from provider.core.bid_deposits import locked
from provider.core.bid_policy import BidPolicy
from provider.core.effects import PlaceBid, StopWorkload
from provider.core.events import CoordinatorConnected
from provider.core.ledger import Seen
from provider.core.step import OrderConsidered, Step
from provider.domain.ids import HOME
from provider.domain.market import Refusal, Refused
from provider.domain.money import Denom
from provider.domain.resources import GpuAsk
from tests.agents import POLICY, Agent, gpu, group, resources, settle, sole, unit
from tests.unit.core.test_replay import decisions, replayed

DEPOSIT = 500_000
LIMITED = replace(POLICY, bids=BidPolicy(deposit_budget=Decimal(1_200_000)))
SMALL = group(unit(resources(gpus=GpuAsk())))


def connected(agent: Agent, deposit: int = DEPOSIT) -> Step:
    return agent.take(CoordinatorConnected(market="test", epoch=1, bid_deposit=deposit))


def agent_of(policy: object = LIMITED, deposit: int = DEPOSIT) -> Agent:
    agent = Agent(gpu(0), policy=policy)  # type: ignore[arg-type]
    connected(agent, deposit)
    return agent


def refused(step: Step) -> Refused | None:
    return sole(step.notes, OrderConsidered).decision.refused


def test_so_many_bids_as_the_budget_pays_and_no_more() -> None:
    agent = agent_of()
    assert [refused(agent.opens(number, SMALL)) for number in (1, 2)] == [None, None]
    assert refused(agent.opens(3, SMALL)) == Refused(
        why=Refusal.DEPOSIT_BUDGET_SPENT, required="0.5 in deposits", available="0.2 left of 1.2"
    )
    assert locked(agent.state) == 2 * DEPOSIT


def test_what_a_lost_bid_gives_back_is_bid_with_at_once() -> None:
    agent = agent_of()
    for number in (1, 2, 3):
        agent.opens(number, SMALL)
    step = agent.closes(1)
    assert [effect.bid.id.dseq for effect in step.effects if isinstance(effect, PlaceBid)] == [3]
    assert decisions(replayed(agent.records, LIMITED)) == decisions(agent.records)


def test_what_a_bid_that_has_won_holds_comes_back_with_the_end_of_its_lease() -> None:
    agent = agent_of()
    for number in (1, 2, 3):
        agent.opens(number, SMALL)
    settle(agent, PlaceBid)
    assert "PlaceBid" not in agent.kinds(agent.awards(1))
    assert locked(agent.state) == 2 * DEPOSIT
    agent.ends(1)
    assert "PlaceBid" in agent.kinds(agent.done(agent.last(StopWorkload)))
    assert decisions(replayed(agent.records, LIMITED)) == decisions(agent.records)


@pytest.mark.parametrize(("policy", "deposit"), [(LIMITED, 0), (POLICY, DEPOSIT)])
def test_without_deposits_or_without_a_budget_there_is_no_limit(policy: object, deposit: int) -> None:
    agent = agent_of(policy, deposit)
    assert [refused(agent.opens(number, SMALL)) for number in (1, 2, 3)] == [None] * 3


def test_a_market_that_asks_for_less_by_now_is_bid_in_again() -> None:
    agent = agent_of()
    for number in (1, 2, 3):
        agent.opens(number, SMALL)
    assert agent.kinds(connected(agent)) == [], "the same terms change nothing"
    assert agent.kinds(connected(agent, 300_000)) == ["PlaceBid"]
    told = [each.deposits for each in agent.records if isinstance(each, Seen)]
    assert told[-2:] == [{HOME: DEPOSIT}, {HOME: 300_000}]
    assert decisions(replayed(agent.records, LIMITED)) == decisions(agent.records)


def test_it_is_counted_in_the_operators_currency() -> None:
    agent = agent_of(replace(LIMITED, worth={Denom.UACT: Decimal(3)}))
    assert refused(agent.opens(1, SMALL)) == Refused(
        why=Refusal.DEPOSIT_BUDGET_SPENT, required="1.5 in deposits", available="1.2 left of 1.2"
    )


def test_other_prices_are_simulated_under_the_deposits_that_there_were() -> None:
    agent = agent_of(POLICY)
    for number in (1, 2, 3):
        agent.opens(number, SMALL)
    found = [each.decision.refused for each in decided(agent)]
    assert [each.why if each else None for each in found] == [None, None, Refusal.DEPOSIT_BUDGET_SPENT]


def decided(agent: Agent) -> list[OrderConsidered]:
    return decisions(replayed(agent.records, LIMITED))  # type: ignore[return-value]
