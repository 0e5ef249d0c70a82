"""What a provider says of its leases, and what it is paid for."""

from __future__ import annotations

import pytest

from provider.coordinator.denial import Denial
from provider.coordinator.market.requests import (
    ConfirmLease,
    EndLease,
    RefuseLease,
    ReportLease,
    ReportUsage,
    Request,
    Settled,
)
from provider.coordinator.rows import Done, LeaseState, LeaseUnknown
from provider.domain.ids import LeaseId
from provider.domain.market import CloseReason, LeaseHealth, Usage
from tests.market import NORTH, SOUTH, Market, order_of, uact

MINUTE = 60_000


@pytest.fixture
def market() -> Market:
    made = Market()
    made.populate()
    return made


def reason(market: Market, lease: LeaseId) -> CloseReason | None:
    return market.book.leases[lease.order].reason


def test_usage_is_paid_from_the_total_and_rounded_down_once(market: Market) -> None:
    lease = market.lease(price="0.7")
    market.later(10 * MINUTE)
    paid = [
        market.used(lease, number, running_ms) for number, running_ms in enumerate((6_000, 12_000, 18_000), 1)
    ]
    assert paid == [Settled(paid=uact(amount)) for amount in (0, 1, 2)]
    assert market.balance("provider:north") == 2


def test_nothing_is_paid_beyond_the_time_since_the_confirmation(market: Market) -> None:
    lease = market.lease(price=100)
    market.later(60_000)
    assert market.used(lease, 1, 10**12) == Settled(paid=uact(1_000))
    assert market.used(lease, 2, 2**62) == Settled(paid=uact(1_000))
    market.end(lease)
    market.later(30_000)
    assert market.used(lease, 3, 90_000) == Settled(paid=uact(1_000))


def test_an_older_report_and_a_lower_total_change_nothing(market: Market) -> None:
    lease = market.lease(price=100)
    market.later(MINUTE)
    market.used(lease, 5, 30_000)
    assert market.used(lease, 5, 60_000) == Settled(paid=uact(500))
    assert market.used(lease, 4, 60_000) == Settled(paid=uact(500))
    assert market.used(lease, 6, 1_000) == Settled(paid=uact(500))
    assert market.book.leases[lease.order].running_ms == 30_000


def test_a_report_after_the_settlement_is_answered_with_it(market: Market) -> None:
    lease = market.lease(price=100)
    market.later(MINUTE)
    market.end(lease)
    market.used(lease, 1, 30_000, final=True)
    market.later(MINUTE)
    assert market.used(lease, 2, 60_000, final=True) == Settled(paid=uact(500))


def test_a_final_report_that_comes_before_the_end_closes_the_lease_with_it(market: Market) -> None:
    lease = market.lease()
    market.later(MINUTE)
    market.used(lease, 1, MINUTE, final=True)
    assert market.book.leases[lease.order].state is LeaseState.ACTIVE
    market.end(lease, CloseReason.WORKLOAD_UNSTABLE)
    row = market.book.leases[lease.order]
    assert (row.state, row.reason) == (LeaseState.CLOSED, CloseReason.WORKLOAD_UNSTABLE)
    assert market.book.deployments[lease.deployment].closed_at == market.at


def test_the_first_reason_stays(market: Market) -> None:
    lease = market.lease()
    market.end(lease, CloseReason.GPU_FAILED)
    market.end(lease, CloseReason.OPERATOR_CLOSED)
    assert reason(market, lease) is CloseReason.GPU_FAILED


@pytest.mark.parametrize(
    "theirs", [CloseReason.TENANT_CLOSED, CloseReason.FUNDS_EXHAUSTED, CloseReason.NOT_CONFIRMED]
)
def test_a_provider_cannot_give_the_markets_reasons(market: Market, theirs: CloseReason) -> None:
    lease = market.lease()
    request = EndLease(provider=NORTH, key="k", lease=lease, reason=theirs, detail="")
    assert market.denied(request) is Denial.REASON_INVALID


def test_a_provider_that_forgot_its_lease_and_refuses_it_has_ended_it(market: Market) -> None:
    lease = market.lease()
    market.ask(RefuseLease(provider=NORTH, key="k", lease=lease, reason="bid_gone", detail="no such bid"))
    assert reason(market, lease) is CloseReason.OPERATOR_CLOSED
    assert market.book.leases[lease.order].detail == "bid_gone: no such bid"


def test_an_award_that_ends_before_it_was_confirmed_opens_the_order_again(market: Market) -> None:
    order = order_of(market.deploy())
    bid = market.bid(order)
    market.accept(bid)
    market.end(bid)
    assert market.book.orders[order].state == "open"


def test_whoever_speaks_of_a_lease_that_is_none_is_told_so(market: Market) -> None:
    stray = order_of(market.deploy()).lease(NORTH)
    version = market.book.version
    told: list[Request] = [
        ConfirmLease(provider=NORTH, key="1", lease=stray),
        ReportLease(provider=NORTH, key="2", lease=stray, health=LeaseHealth.RUNNING, ports=(), detail=""),
        EndLease(provider=NORTH, key="3", lease=stray, reason=CloseReason.OPERATOR_CLOSED, detail=""),
    ]
    assert [market.ask(request) for request in told] == [Done()] * 3
    found = [row for row in market.rows if isinstance(row, LeaseUnknown)]
    assert found == [LeaseUnknown(lease=stray, version=version + number) for number in (1, 2, 3)]
    usage = Usage(lease=stray, number=1, running_ms=1, at=market.at)
    assert market.denied(ReportUsage(provider=NORTH, usage=usage)) is Denial.LEASE_UNKNOWN


def test_nobody_reports_for_somebody_else(market: Market) -> None:
    lease = market.lease()
    usage = Usage(lease=lease, number=1, running_ms=1, at=market.at)
    assert market.denied(ReportUsage(provider=SOUTH, usage=usage)) is Denial.LEASE_UNKNOWN
    end = EndLease(provider=SOUTH, key="k", lease=lease, reason=CloseReason.GPU_FAILED, detail="")
    assert market.denied(end) is Denial.LEASE_UNKNOWN
    assert reason(market, lease) is None
