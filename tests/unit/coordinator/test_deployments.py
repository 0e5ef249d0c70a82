"""A deployment from deposit to refund."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provider.coordinator.denial import Denial
from provider.coordinator.market.deployments import due_at
from provider.coordinator.market.requests import CloseDeployment, CreateDeployment, Resumed, TimePassed
from provider.coordinator.rows import BidState, Created, LeaseState, OrderState
from provider.domain.ids import Owner
from provider.domain.market import CloseReason, LeaseHealth
from provider.domain.money import Denom, Money
from tests.market import ALICE, BOB, HASH, NORTH, SOUTH, Market, group, order_of, uact


@pytest.fixture
def market() -> Market:
    made = Market()
    made.populate()
    return made


GOOD = CreateDeployment(owner=ALICE, key="k", groups=(group(),), manifest_hash=HASH, deposit=uact(500_000))


def test_the_deposit_is_held_and_an_order_opened_for_each_group(market: Market) -> None:
    deployment = market.deploy(group("a"), group("b"), deposit=600_000)
    assert str(deployment) == "alice/1"
    assert market.balance("escrow:alice/1") == 600_000
    assert market.balance("tenant:alice") == 10_000_000 - 600_000
    opened = [market.book.orders[order_of(deployment, gseq)] for gseq in (1, 2)]
    assert [row.state for row in opened] == [OrderState.OPEN, OrderState.OPEN]
    assert [row.order.group.name for row in opened] == ["a", "b"]
    assert str(market.deploy()) == "alice/2"
    assert str(market.deploy(owner=BOB)) == "bob/1"


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (replace(GOOD, deposit=uact(499_999)), Denial.DEPOSIT_SMALL),
        (replace(GOOD, deposit=uact(10_000_001)), Denial.FUNDS_SHORT),
        (replace(GOOD, deposit=Money(amount=500_000, denom=Denom.UUSDC)), Denial.DENOM_DIFFERS),
        (replace(GOOD, manifest_hash="AB" * 32), Denial.HASH_INVALID),
        (replace(GOOD, groups=()), Denial.GROUPS_INVALID),
        (replace(GOOD, groups=(group(), group())), Denial.GROUPS_INVALID),
        (replace(GOOD, groups=(group(count=51),)), Denial.GROUPS_INVALID),
        (replace(GOOD, groups=(group(price="9" * 27),)), Denial.GROUPS_INVALID),
        (replace(GOOD, groups=(replace(group(), units=()),)), Denial.GROUPS_INVALID),
        (replace(GOOD, owner=Owner("carol")), Denial.MEMBER_UNKNOWN),
    ],
)
def test_what_cannot_be_is_refused(market: Market, request_: CreateDeployment, why: Denial) -> None:
    assert market.denied(request_) is why
    assert market.ask(GOOD) == Created(deployment=order_of(market.deploy()).deployment.parse("alice/1"))


def test_a_repeat_with_the_same_key_is_the_same_deployment_and_another_content_is_denied(
    market: Market,
) -> None:
    first = market.ask(GOOD)
    market.later(3_600_000)
    assert market.ask(GOOD) == first
    assert market.balance("escrow:alice/1") == 500_000
    assert market.denied(replace(GOOD, deposit=uact(500_001))) is Denial.KEY_REUSED
    assert market.ask(replace(GOOD, owner=BOB)) != first, "keys are everybody's own"


def close(market: Market, owner: Owner, dseq: int) -> CloseDeployment:
    deployment = order_of(market.deploy(owner=owner)).deployment
    return CloseDeployment(owner=owner, key=market.key(), deployment=replace(deployment, dseq=dseq))


def test_closing_an_unleased_deployment_refunds_all_of_it_at_once(market: Market) -> None:
    deployment = market.deploy()
    bid = market.bid(order_of(deployment))
    market.ask(CloseDeployment(owner=ALICE, key="c", deployment=deployment))
    assert market.balance("tenant:alice") == 10_000_000
    row = market.book.bid(bid)
    assert row is not None
    assert row.state is BidState.LOST
    assert market.book.deployments[deployment].closed_at == market.at
    assert market.denied(CloseDeployment(owner=ALICE, key="c2", deployment=deployment)) is None
    assert market.denied(CloseDeployment(owner=BOB, key="c", deployment=deployment)) is (
        Denial.DEPLOYMENT_UNKNOWN
    )


def test_closing_while_an_award_waits_tells_its_provider_why(market: Market) -> None:
    deployment = market.deploy()
    bid = market.bid(order_of(deployment))
    market.accept(bid)
    market.ask(CloseDeployment(owner=ALICE, key="c", deployment=deployment))
    row = market.book.bid(bid)
    assert row is not None
    assert (row.state, row.ended) == (BidState.LOST, CloseReason.TENANT_CLOSED)
    market.confirm(bid)
    assert market.book.lease(bid) is None


def test_a_closed_deployment_waits_for_the_last_usage_and_then_refunds(market: Market) -> None:
    lease = market.lease(price=100)
    market.later(60_000)
    market.ask(CloseDeployment(owner=ALICE, key="c", deployment=lease.deployment))
    assert market.book.leases[lease.order].state is LeaseState.CLOSING
    assert market.book.deployments[lease.deployment].closed_at is None
    market.later(5_000)
    market.used(lease, 1, 60_000, final=True)
    assert market.book.leases[lease.order].state is LeaseState.CLOSED
    assert market.balance("provider:north") == 1_000
    assert market.balance("tenant:alice") == 10_000_000 - 1_000
    assert market.book.deployments[lease.deployment].refunded == 999_000


def test_the_last_usage_is_awaited_for_a_minute(market: Market) -> None:
    lease = market.lease()
    market.later(60_000)
    market.used(lease, 1, 6_000)
    market.end(lease)
    due = market.at + 60_000
    assert due_at(market.book, lease.deployment) == due
    market.later(59_999)
    market.ask(TimePassed(deployment=lease.deployment))
    assert market.book.leases[lease.order].state is LeaseState.CLOSING
    market.later(1)
    market.ask(TimePassed(deployment=lease.deployment))
    assert market.book.leases[lease.order].state is LeaseState.CLOSED
    assert market.balance("provider:north") == 100
    assert market.balance("tenant:alice") == 10_000_000 - 100


def test_leases_that_run_end_when_the_escrow_may_be_used_up(market: Market) -> None:
    deployment = market.deploy(group("a"), group("b"), deposit=500_000)
    slow, fast = (
        market.bid(order_of(deployment, 1), NORTH, 100),
        market.bid(order_of(deployment, 2), SOUTH, 900),
    )
    for lease in (slow, fast):
        market.accept(lease)
        market.confirm(lease)
    assert due_at(market.book, deployment) is None, "what does not run uses nothing"
    market.runs(fast)
    market.later(6_000)
    market.runs(slow)
    # 900 of the 500,000 are gone; both together use 1,000 every 6 s.
    assert due_at(market.book, deployment) == market.at + 499_100 * 6
    market.runs(fast, LeaseHealth.REPAIRING)
    assert due_at(market.book, deployment) == market.at + 5_000 * 6_000
    market.runs(fast, LeaseHealth.UPDATING)
    assert due_at(market.book, deployment) == market.at + 500_000 * 6, "what is being updated runs on"
    market.runs(fast)
    due = due_at(market.book, deployment)
    assert due is not None
    market.later(due - market.at)
    market.ask(TimePassed(deployment=deployment))
    ended = [market.book.leases[lease.order] for lease in (slow, fast)]
    assert [lease.reason for lease in ended] == [CloseReason.FUNDS_EXHAUSTED] * 2


def test_usage_that_takes_the_last_of_the_escrow_ends_everything(market: Market) -> None:
    lease = market.lease(price=1000, deposit=500_000)
    market.later(3_000_000 + 6_000)
    market.used(lease, 1, 3_000_000 + 6_000)
    row = market.book.leases[lease.order]
    assert (row.state, row.reason) == (LeaseState.CLOSING, CloseReason.FUNDS_EXHAUSTED)
    assert market.balance("provider:north") == 500_000
    market.used(lease, 2, 3_000_000 + 6_000, final=True)
    assert market.book.deployments[lease.deployment].refunded == 0


def test_after_an_absence_everybody_gets_the_whole_time_again(market: Market) -> None:
    closing = market.lease()
    market.end(closing)
    awarded = market.bid(order_of(market.deploy()))
    market.accept(awarded)
    market.later(3_600_000)
    market.ask(Resumed())
    assert market.book.leases[closing.order].settle_by == market.at + 60_000
    bid = market.book.bid(awarded)
    assert bid is not None
    assert bid.confirm_by == market.at + 10_000
    market.later(9_000)
    market.confirm(awarded)
    assert market.book.lease(awarded) is not None
