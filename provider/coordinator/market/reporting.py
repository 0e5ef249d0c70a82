"""What a provider says of its leases: how they do, what they used, that one ends."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from provider.coordinator.denial import Denial, Denied
from provider.coordinator.market import deployments, leases, orders
from provider.coordinator.market.draft import Draft
from provider.coordinator.market.requests import EndLease, Reply, ReportLease, ReportUsage, Settled
from provider.coordinator.rows import BidState, Done, LeaseState
from provider.domain.market import CloseReason, LeaseHealth
from provider.domain.money import Money

NOT_A_PROVIDERS = frozenset(
    {CloseReason.TENANT_CLOSED, CloseReason.FUNDS_EXHAUSTED, CloseReason.NOT_CONFIRMED}
)
"""Reasons that only the market itself gives."""
ACCRUES = frozenset({LeaseHealth.RUNNING, LeaseHealth.UPDATING})
"""In which it may use more than is settled: what is being updated runs on as long as it can."""


def decide(draft: Draft, request: ReportLease | EndLease | ReportUsage) -> tuple[Draft, Reply] | Denied:
    match request:
        case ReportLease():
            return report(draft, request)
        case EndLease():
            return end(draft, request)
        case ReportUsage():
            return bill(draft, request)
        case _:
            assert_never(request)


def report(draft: Draft, request: ReportLease) -> tuple[Draft, Reply] | Denied:
    """How it does, for its tenant to see. Changes nothing in what is owed."""
    row = draft.book.lease(request.lease)
    if row is None or request.lease.provider != request.provider:
        return leases.unknown(draft, request.lease, request.provider)
    if row.state is LeaseState.CLOSED:
        return draft, Done()
    runs = request.health in ACCRUES
    since = (row.accrues_from if row.accrues_from is not None else draft.at) if runs else None
    told = replace(row, health=request.health, ports=request.ports, detail=request.detail, accrues_from=since)
    return draft.put(told), Done()


def end(draft: Draft, request: EndLease) -> tuple[Draft, Reply] | Denied:
    """Its provider ends it. The first reason stays."""
    if request.reason in NOT_A_PROVIDERS:
        return Denied(why=Denial.REASON_INVALID, what=f"a provider cannot end a lease as {request.reason}")
    row = draft.book.lease(request.lease)
    if row is not None and request.lease.provider == request.provider:
        told = replace(row, detail=request.detail) if row.state is LeaseState.ACTIVE else row
        return deployments.ended_by_provider(draft, told, request.reason), Done()
    bid = draft.book.bid(request.lease)
    if bid is None or request.lease.provider != request.provider:
        return leases.unknown(draft, request.lease, request.provider)
    if bid.state is BidState.AWARDED:
        return orders.award_lost(draft, bid, None), Done()
    return draft, Done()


def bill(draft: Draft, request: ReportUsage) -> tuple[Draft, Reply] | Denied:
    """Settle what a report adds. An older report, or one after the settlement, adds nothing."""
    usage = request.usage
    row = draft.book.lease(usage.lease)
    if row is None or usage.lease.provider != request.provider:
        return Denied(
            why=Denial.LEASE_UNKNOWN, what=f"{request.provider} has no lease {usage.lease} in this market"
        )
    if row.state is LeaseState.CLOSED or usage.number <= row.usage_number:
        return draft, Settled(paid=Money(amount=row.settled, denom=row.rate.denom))
    draft = leases.settled(draft, row, usage)
    row = draft.book.leases[usage.lease.order]
    paid = Settled(paid=Money(amount=row.settled, denom=row.rate.denom))
    if row.state is LeaseState.CLOSING and row.usage_final:
        draft = leases.closed(draft, row)
    elif row.state is LeaseState.ACTIVE and leases.is_spent(draft, row):
        deployment = draft.book.deployments[row.id.deployment]
        draft = deployments.ended(draft, deployment, CloseReason.FUNDS_EXHAUSTED)
    return deployments.finished(draft, row.id.deployment), paid
