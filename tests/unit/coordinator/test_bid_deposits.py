"""Deposits of bids: taken once, given back once, on every way that a bid can go. ``tests.market`` adds up all
money, and what is held, after every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from provider.coordinator.denial import Denial, Denied
from provider.coordinator.market import transition
from provider.coordinator.market.draft import RULES
from provider.coordinator.market.requests import (
    CloseDeployment,
    ConfirmLease,
    Fund,
    PlaceBid,
    RefuseLease,
    Resumed,
    TimePassed,
    WithdrawBid,
)
from provider.coordinator.rows import Done, Role
from provider.domain.ids import LeaseId, ProviderId
from provider.domain.market import Bid
from provider.domain.money import Denom
from tests.market import ALICE, NORTH, SOUTH, Market, group, order_of, rate, uact

DEPOSIT, FUNDS = 500_000, 1_200_000


@pytest.fixture
def market() -> Market:
    made = Market(rules=replace(RULES, bid_deposit=DEPOSIT))
    made.populate()
    for provider in (NORTH, SOUTH):
        made.ask(Fund(key=f"fund-{provider}", owner=provider, amount=uact(FUNDS), role=Role.PROVIDER))
    return made


def free(market: Market, provider: ProviderId = NORTH) -> int:
    return market.balance(f"provider:{provider}")


def placed(market: Market) -> LeaseId:
    bid = market.bid(order_of(market.deploy()))
    assert (free(market), market.balance(f"bid:{bid}")) == (FUNDS - DEPOSIT, DEPOSIT)
    return bid


def withdrawn(market: Market, bid: LeaseId) -> None:
    market.ask(WithdrawBid(provider=NORTH, key=market.key(), bid=bid))


def another_won(market: Market, bid: LeaseId) -> None:
    rival = market.bid(bid.order, SOUTH, 90)
    market.accept(rival)
    market.confirm(rival)
    assert free(market, SOUTH) == FUNDS - DEPOSIT, "the winner's is held on"


def closed(market: Market, bid: LeaseId) -> None:
    market.ask(CloseDeployment(owner=ALICE, key=market.key(), deployment=bid.deployment))


def awarded_and_closed(market: Market, bid: LeaseId) -> None:
    market.accept(bid)
    closed(market, bid)


def refused(market: Market, bid: LeaseId) -> None:
    market.accept(bid)
    market.ask(RefuseLease(provider=NORTH, key=market.key(), lease=bid, reason="bid_gone", detail=""))


def not_confirmed(market: Market, bid: LeaseId) -> None:
    market.accept(bid)
    market.later(10_001)
    market.ask(TimePassed(deployment=bid.deployment))


def confirmed_too_late(market: Market, bid: LeaseId) -> None:
    market.accept(bid)
    market.later(10_001)
    market.ask(ConfirmLease(provider=NORTH, key=market.key(), lease=bid))


@pytest.mark.parametrize(
    "over",
    [withdrawn, another_won, closed, awarded_and_closed, refused, not_confirmed, confirmed_too_late],
)
def test_a_bid_that_is_over_has_its_deposit_back(
    market: Market, over: Callable[[Market, LeaseId], None]
) -> None:
    bid = placed(market)
    over(market, bid)
    assert free(market) == FUNDS


def test_one_that_has_won_keeps_it_until_its_lease_is_settled(market: Market) -> None:
    bid = placed(market)
    market.accept(bid)
    market.ask(Resumed())
    market.confirm(bid)
    market.later(60_000)
    market.used(bid, 1, 60_000)
    assert free(market) == FUNDS - DEPOSIT + 1_000, "what it earns is its own"
    market.end(bid)
    assert free(market) == FUNDS - DEPOSIT + 1_000
    market.used(bid, 2, 60_000, final=True)
    assert free(market) == FUNDS + 1_000


def test_a_last_report_that_never_comes_does_not_keep_it(market: Market) -> None:
    bid = placed(market)
    market.accept(bid)
    market.confirm(bid)
    market.end(bid)
    market.later(60_001)
    market.ask(TimePassed(deployment=bid.deployment))
    assert free(market) == FUNDS


def test_a_bid_that_is_repeated_takes_it_once_and_one_that_is_made_anew_takes_it_anew(market: Market) -> None:
    bid = placed(market)
    again = PlaceBid(provider=NORTH, key=market.key(), bid=Bid(id=bid, rate=rate(100)))
    assert market.ask(again) == Done()
    assert free(market) == FUNDS - DEPOSIT
    for price in (90, 80, 70):
        withdrawn(market, bid)
        withdrawn(market, bid)
        assert free(market) == FUNDS
        market.bid(bid.order, price=price)
        assert free(market) == FUNDS - DEPOSIT


def test_who_cannot_pay_it_does_not_bid_and_is_told_what_to_do(market: Market) -> None:
    deployment = market.deploy(group("a"), group("b"), group("c"))
    for gseq in (1, 2):
        market.bid(order_of(deployment, gseq))
    bid = Bid(id=order_of(deployment, 3).lease(NORTH), rate=rate(100))
    denied = market.ask(PlaceBid(provider=NORTH, key=market.key(), bid=bid))
    assert denied == Denied(
        why=Denial.FUNDS_SHORT,
        what="a bid takes a deposit of 500000uact, and the account of north has less",
        remedy="ask the market's owner: coordinator fund --provider north 500000uact",
    )
    assert market.book.bid(bid.id) is None


def test_it_is_of_the_orders_currency(market: Market) -> None:
    assert (
        market.denied(
            PlaceBid(
                provider=NORTH,
                key=market.key(),
                bid=Bid(id=order_of(market.deploy()).lease(NORTH), rate=rate(1, Denom.UAKT)),
            )
        )
        is Denial.DENOM_DIFFERS
    )
    assert free(market) == FUNDS


def test_other_rules_change_nothing_of_what_is_held(market: Market) -> None:
    bid = placed(market)
    withdraw = WithdrawBid(provider=NORTH, key=market.key(), bid=bid)
    market.book = transition(market.book, withdraw, market.at, replace(RULES, bid_deposit=7)).book
    assert (free(market), market.balance(f"bid:{bid}")) == (FUNDS, 0)


def test_a_market_without_deposits_needs_no_money_of_providers() -> None:
    market = Market()
    market.populate()
    bid = market.bid(order_of(market.deploy()))
    assert free(market) == market.balance(f"bid:{bid}") == 0
