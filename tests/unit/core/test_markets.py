"""Several markets and one set of GPUs: ids, counters, links, and the words that each market is told."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from provider.core import markets
from provider.core.effects import (
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
    LeaseAwarded,
    LeaseEnded,
    LeaseUpdated,
    OrderClosed,
    OrderOpened,
)
from provider.core.markets import as_told, lease_of, within
from provider.core.state import ORDERS_MOST
from provider.core.step import OrderConsidered
from provider.domain.ids import HOME, EffectId, LeaseId, MarketId, OrderId, ProviderId
from provider.domain.market import Award, Bid, CloseReason, LeaseHealth, Refusal, Refused, Usage
from provider.domain.workload import Launch
from tests.agents import HASH, POLICY, PROVIDER, START, Agent, healthy, order, rate
from tests.agents import lease_of as lease_at_home

ACME = MarketId("acme.example")
ELSEWHERE = ProviderId("gpu-7")
IN_ACME = replace(POLICY, names={ACME: ELSEWHERE})
THEIRS = order().id.lease(ELSEWHERE)
"""A lease in acme's own words: but for the provider the same as the first market's."""
AWARD = Award(id=THEIRS, rate=rate(), manifest_hash=HASH, confirm_by=START)
KEY = EffectId("k")

SAID = (
    OrderOpened(order=order(), version=1),
    OrderClosed(order=order().id, version=1),
    LeaseAwarded(award=AWARD, version=1),
    LeaseUpdated(lease=THEIRS, manifest_hash=HASH, version=1),
    LeaseEnded(lease=THEIRS, reason=CloseReason.TENANT_CLOSED, version=1),
    CoordinatorConnected(market="acme.example", epoch=1),
    CoordinatorLost(why="cut"),
)


def told(lease: LeaseId) -> tuple[markets.Told, ...]:
    return (
        PlaceBid(id=KEY, bid=Bid(id=lease, rate=rate())),
        WithdrawBid(id=KEY, bid=lease),
        ConfirmLease(id=KEY, lease=lease),
        RefuseLease(id=KEY, lease=lease, why=Refused(why=Refusal.BID_GONE)),
        ReportLease(id=KEY, lease=lease, health=LeaseHealth.RUNNING),
        ReportUsage(id=KEY, usage=Usage(lease=lease, number=1, running_ms=1, at=START)),
        EndLease(id=KEY, lease=lease, reason=CloseReason.GPU_FAILED),
    )


class InBoth(Agent):
    """An agent of the first market that is in acme too."""

    def __init__(self, gpus: int) -> None:
        super().__init__(*healthy(*range(gpus)), policy=IN_ACME)
        self.heard = 0

    def acme_says(self, event: markets.MarketEvent) -> None:
        self.heard += 1
        self.take(within(replace(event, version=self.heard), ACME))


def acme_lease(number: int = 1) -> LeaseId:
    return order(number).id.lease(ELSEWHERE).within(ACME)


def test_an_id_of_another_market_says_which_and_reads_back() -> None:
    lease = THEIRS.within(ACME)
    assert str(lease) == f"alice@acme.example/1/1/1/{ELSEWHERE}"
    assert (lease.market, lease.order.market, THEIRS.market) == (ACME, ACME, HOME)
    assert (LeaseId.parse(str(lease)), OrderId.parse(str(lease.order))) == (lease, lease.order)
    assert (lease.as_told, lease.order.as_told, THEIRS.as_told) == (THEIRS, THEIRS.order, THEIRS)
    assert THEIRS.within(HOME) is THEIRS
    assert lease.key != THEIRS.key


@pytest.mark.parametrize("owner", ["alice@", "@acme", "alice@ac@me", "alice@ACME", "al ice@acme", "alice@-"])
def test_an_owner_of_no_market_is_no_owner(owner: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        LeaseId.parse(f"{owner}/1/1/1/north")


def test_everything_that_a_market_says_is_taken_in_under_its_own_name() -> None:
    assert {type(event) for event in SAID} == set(get_args(markets.Heard))
    for event in SAID:
        assert within(event, HOME) is event
        match within(event, ACME):
            case CoordinatorConnected(market_id=market_id) | CoordinatorLost(market_id=market_id):
                assert market_id == ACME
            case heard:
                assert markets.market_of(heard) == ACME


def test_everything_that_a_market_is_told_is_in_its_own_words() -> None:
    assert {type(effect) for effect in told(THEIRS)} == set(get_args(markets.Told))
    for ours, theirs in zip(told(THEIRS.within(ACME)), told(THEIRS), strict=True):
        assert as_told(ours) == theirs
        assert as_told(theirs) is theirs
        assert lease_of(ours) == THEIRS.within(ACME)


def test_what_is_done_to_the_engine_is_about_a_lease_too() -> None:
    launch = Launch(lease=THEIRS, generation=1, replicas=())
    for effect in (
        StartWorkload(id=KEY, launch=launch),
        RestartService(id=KEY, lease=THEIRS, service="web", generation=1, grace_s=1),
        StopWorkload(id=KEY, lease=THEIRS, grace_s=1),
    ):
        assert lease_of(effect) == THEIRS


def test_orders_of_the_same_name_are_two_and_get_a_bid_each_under_the_name_we_have_there() -> None:
    agent = InBoth(gpus=2)
    agent.opens(1)
    agent.acme_says(OrderOpened(order=order(1), version=0))
    assert set(agent.state.bids) == {lease_at_home(1), acme_lease(1)}
    assert agent.last(PlaceBid).bid.id == acme_lease(1)
    assert acme_lease(1).provider == ELSEWHERE
    assert lease_at_home(1).provider == PROVIDER


def test_the_last_gpu_is_offered_to_one_market_only_and_to_the_other_once_it_is_free() -> None:
    agent = InBoth(gpus=1)
    agent.acme_says(OrderOpened(order=order(1), version=0))
    agent.opens(1)
    refused = agent.notes[-1]
    assert isinstance(refused, OrderConsidered)
    assert isinstance(refused.decision.verdict, Refused)
    assert refused.decision.verdict.why is Refusal.GPU_BUSY
    assert set(agent.state.bids) == {acme_lease(1)}
    agent.acme_says(OrderClosed(order=order(1).id, version=0))
    assert set(agent.state.bids) == {lease_at_home(1)}


def test_an_award_of_one_market_is_nothing_to_the_others_bid_of_the_same_name() -> None:
    agent = InBoth(gpus=1)
    agent.opens(1)
    agent.acme_says(LeaseAwarded(award=AWARD, version=0))
    assert agent.state.leases == {}
    assert lease_of(agent.last(RefuseLease)) == acme_lease(1)
    agent.awards(1)
    assert set(agent.state.leases) == {lease_at_home(1)}
    agent.acme_says(LeaseEnded(lease=THEIRS, reason=CloseReason.TENANT_CLOSED, version=0))
    assert agent.lease(1).reason is None


def test_each_market_counts_for_itself() -> None:
    agent = InBoth(gpus=2)
    for number in range(1, 6):
        agent.opens(number)
    agent.acme_says(OrderOpened(order=order(1), version=0))
    assert (agent.state.market().version, agent.state.market(ACME).version) == (5, 1)
    again = within(OrderClosed(order=order(1).id, version=1), ACME)
    assert agent.take(again).state is agent.state, "a change that was taken in changes nothing"


def test_one_market_that_goes_does_not_make_the_other_go() -> None:
    agent = InBoth(gpus=1)
    agent.take(CoordinatorConnected(market="first", epoch=1))
    agent.passes(10)
    agent.take(within(CoordinatorConnected(market="acme.example", epoch=4), ACME))
    agent.passes(10)
    agent.take(within(CoordinatorLost(why="it was cut"), ACME))
    agent.passes(10)
    agent.take(within(CoordinatorLost(why="still away"), ACME))
    home, acme = agent.state.market(), agent.state.market(ACME)
    assert (home.connected, home.since, acme.connected, acme.since) == (True, START, False, START + 20)
    assert agent.state.connected
    assert agent.state.link_problem == "acme.example: still away"


def test_a_market_that_closes_nothing_pushes_out_no_order_of_another() -> None:
    agent = Agent(policy=IN_ACME)  # with nothing to offer
    agent.opens(1)
    for number in range(1, ORDERS_MOST + 3):
        agent.take(within(OrderOpened(order=order(number), version=number), ACME))
    waiting = list(agent.state.orders)
    assert waiting[0] == order(1).id
    assert waiting[1] == order(3).id.within(ACME)
    assert len(waiting) == ORDERS_MOST + 1
