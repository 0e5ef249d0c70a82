"""From an order to a lease, rule by rule."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provider.coordinator.denial import Denial
from provider.coordinator.market.requests import (
    AcceptBid,
    ConfirmLease,
    PlaceBid,
    RefuseLease,
    TimePassed,
    WithdrawBid,
)
from provider.coordinator.rows import Accepted, BidState, Done, LeaseState, OrderState, Role
from provider.domain.ids import LeaseId, Owner, ProviderId
from provider.domain.market import Bid, CloseReason, GpuOffer
from provider.domain.moment import Span, after
from provider.domain.money import Denom
from provider.domain.resources import GpuAlternative, GpuAsk
from tests.market import ALICE, BOB, NORTH, SOUTH, Market, group, order_of, rate


@pytest.fixture
def market() -> Market:
    made = Market()
    made.populate()
    return made


def states(market: Market, bid: LeaseId) -> tuple[OrderState, BidState, LeaseState | None]:
    row, lease = market.book.bid(bid), market.book.lease(bid)
    assert row is not None
    return market.book.orders[bid.order].state, row.state, lease.state if lease else None


def test_an_accepted_bid_becomes_a_lease_when_its_provider_confirms(market: Market) -> None:
    order = order_of(market.deploy())
    north, south = market.bid(order, NORTH), market.bid(order, SOUTH, 90)
    assert market.accept(north) == Accepted(confirm_by=after(market.at, Span(10_000)))
    assert states(market, north) == (OrderState.AWARDED, BidState.AWARDED, None)
    assert states(market, south) == (OrderState.AWARDED, BidState.OPEN, None)
    market.confirm(north)
    assert states(market, north) == (OrderState.CLOSED, BidState.WON, LeaseState.ACTIVE)
    assert states(market, south) == (OrderState.CLOSED, BidState.LOST, None)


def test_a_confirmation_on_the_last_millisecond_counts_and_one_later_does_not(market: Market) -> None:
    for late in (0, 1):
        bid = market.bid(order_of(market.deploy()))
        market.accept(bid)
        market.later(10_000 + late)
        market.confirm(bid)
        assert (market.book.lease(bid) is None) == bool(late)


def test_a_refused_award_goes_to_the_cheapest_of_the_earliest_bids(market: Market) -> None:
    market.enrol(Role.PROVIDER, "east", "west")
    order = order_of(market.deploy())
    dear = market.bid(order, NORTH, 50)
    first, second = market.bid(order, ProviderId("east"), 70), market.bid(order, ProviderId("west"), 70)
    market.bid(order, SOUTH, 80)
    market.accept(dear)
    refusal = RefuseLease(provider=NORTH, key="r", lease=dear, reason="gpu_busy", detail="")
    assert market.denied(refusal) is None
    assert states(market, dear)[1] is BidState.LOST
    assert states(market, first)[:2] == (OrderState.AWARDED, BidState.AWARDED)
    assert states(market, second)[1] is BidState.OPEN


def test_an_overdue_award_without_another_bid_opens_the_order_again(market: Market) -> None:
    order = order_of(market.deploy())
    bid = market.bid(order)
    version = market.book.version
    market.accept(bid)
    market.later(10_000)
    market.ask(TimePassed(deployment=order.deployment))
    assert states(market, bid) == (OrderState.OPEN, BidState.LOST, None)
    lost = market.book.bid(bid)
    assert lost is not None
    assert lost.ended is CloseReason.NOT_CONFIRMED
    assert market.book.orders[order].version > version


def test_a_provider_that_lost_its_award_cannot_bid_on_that_order_again(market: Market) -> None:
    order = order_of(market.deploy())
    bid = market.bid(order)
    market.accept(bid)
    market.later(10_001)
    market.confirm(bid)
    again = PlaceBid(provider=NORTH, key="again", bid=Bid(id=bid, rate=rate(1)))
    assert market.denied(again) is Denial.BID_ENDED


def test_a_withdrawn_bid_can_be_placed_again_and_an_awarded_one_gives_the_order_back(market: Market) -> None:
    order = order_of(market.deploy())
    bid = market.bid(order)
    assert market.denied(WithdrawBid(provider=NORTH, key="w1", bid=bid)) is None
    assert states(market, bid)[1] is BidState.WITHDRAWN
    market.bid(order, NORTH, 99)
    market.accept(bid)
    assert market.denied(WithdrawBid(provider=NORTH, key="w2", bid=bid)) is None
    assert states(market, bid)[:2] == (OrderState.OPEN, BidState.LOST)


def test_a_lease_cannot_be_withdrawn_as_a_bid(market: Market) -> None:
    lease = market.lease()
    assert market.denied(WithdrawBid(provider=NORTH, key="w", bid=lease)) is Denial.BID_WON


def test_bids_are_refused_for_one_reason_each(market: Market) -> None:
    order = order_of(market.deploy(group(price=100)))
    good = Bid(id=order.lease(NORTH), rate=rate(100))
    stranger = replace(good, id=order.lease(ProviderId("stranger")))
    cases = {
        Denial.PRICE_ABOVE_MAX: (NORTH, replace(good, rate=rate("100.000000000000000001"))),
        Denial.DENOM_DIFFERS: (NORTH, replace(good, rate=rate(1, Denom.UUSDC))),
        Denial.GPUS_DIFFER: (NORTH, replace(good, gpus=(GpuOffer(model="h100", count=1),))),
        Denial.MEMBER_UNKNOWN: (ProviderId("stranger"), stranger),
        Denial.ORDER_UNKNOWN: (SOUTH, good),
    }
    found = {
        why: market.denied(PlaceBid(provider=provider, key=f"k-{why}", bid=bid))
        for why, (provider, bid) in cases.items()
    }
    assert found == {why: why for why in cases}
    market.bid(order, NORTH, 100)
    other = replace(good, rate=rate(99))
    assert market.denied(PlaceBid(provider=NORTH, key="k2", bid=other)) is Denial.BID_EXISTS
    assert market.ask(PlaceBid(provider=NORTH, key="k3", bid=good)) == Done()
    market.accept(good.id)
    late = Bid(id=order.lease(SOUTH), rate=rate(1))
    assert market.denied(PlaceBid(provider=SOUTH, key="k4", bid=late)) is Denial.ORDER_NOT_OPEN


def test_an_order_takes_twenty_bids(market: Market) -> None:
    names = [f"p{number}" for number in range(21)]
    market.enrol(Role.PROVIDER, *names)
    order = order_of(market.deploy())
    for name in names[:20]:
        market.bid(order, ProviderId(name))
    last = Bid(id=order.lease(ProviderId(names[20])), rate=rate(1))
    refused = PlaceBid(provider=ProviderId(names[20]), key="last", bid=last)
    assert market.denied(refused) is Denial.BIDS_FULL
    assert (
        market.denied(WithdrawBid(provider=ProviderId("p3"), key="w", bid=order.lease(ProviderId("p3"))))
        is None
    )
    assert market.denied(refused) is None


def test_a_bid_offers_as_many_gpus_as_the_group_asks_for(market: Market) -> None:
    unit = group().units[0]
    ask = GpuAsk(units=2, alternatives=(GpuAlternative(vendor="nvidia"),))
    asked = replace(group(), units=(replace(unit, count=2, resources=replace(unit.resources, gpu=ask)),))
    order = order_of(market.deploy(asked))
    offers = {3: Denial.GPUS_DIFFER, 4: None}
    for count, outcome in offers.items():
        gpus = (GpuOffer(model="h100", count=1), GpuOffer(model="a100", count=count - 1))
        bid = Bid(id=order.lease(NORTH), rate=rate(1), gpus=gpus)
        assert market.denied(PlaceBid(provider=NORTH, key=f"k{count}", bid=bid)) is outcome


def test_only_the_owner_accepts_and_only_one_bid(market: Market) -> None:
    order = order_of(market.deploy())
    north, south = market.bid(order, NORTH), market.bid(order, SOUTH)
    assert market.denied(_accept(market, north, BOB)) is Denial.BID_UNKNOWN
    first = market.accept(north)
    market.later(1_000)
    assert market.accept(north) == first
    assert market.denied(_accept(market, south)) is Denial.ORDER_NOT_OPEN
    market.confirm(north)
    assert market.accept(north) == first


def test_an_award_of_somebody_elses_lease_is_none_of_ones_business(market: Market) -> None:
    bid = market.bid(order_of(market.deploy()))
    market.accept(bid)
    stolen = ConfirmLease(provider=SOUTH, key="k", lease=bid)
    assert market.denied(stolen) is Denial.LEASE_UNKNOWN


def test_nothing_is_accepted_on_an_empty_escrow(market: Market) -> None:
    deployment = market.deploy(group("a"), group("b"), deposit=500_000)
    first = market.bid(order_of(deployment, 1), NORTH, 1000)
    second = market.bid(order_of(deployment, 2), NORTH, 1000)
    market.accept(first)
    market.confirm(first)
    market.later(6_000 * 500)
    market.used(first, 1, 6_000 * 500)
    assert market.denied(_accept(market, second)) is Denial.ORDER_NOT_OPEN, "the whole deployment ended"


def _accept(market: Market, bid: LeaseId, owner: Owner = ALICE) -> AcceptBid:
    return AcceptBid(owner=owner, key=market.key(), bid=bid)
