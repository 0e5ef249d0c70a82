"""A deployment from deposit to refund: what it takes to open one, what ends it, what time does to it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import assert_never

from provider.coordinator.book import Book
from provider.coordinator.denial import Denial, Denied
from provider.coordinator.escrow import Transfer, escrow_account, exhausted_at, tenant_account
from provider.coordinator.market import leases, orders
from provider.coordinator.market.draft import Draft, Rules, must
from provider.coordinator.market.requests import CloseDeployment, CreateDeployment, Reply, UpdateDeployment
from provider.coordinator.rows import (
    BidState,
    Created,
    DeploymentRow,
    Done,
    LeaseRow,
    LeaseState,
    OrderRow,
    OrderState,
    Role,
)
from provider.domain.ids import DeploymentId, OrderId
from provider.domain.market import CloseReason, GroupSpec, Order
from provider.domain.moment import Instant, after
from provider.domain.money import Denom, Money

HASH = re.compile(r"[0-9a-f]{64}")


def decide(draft: Draft, request: CreateDeployment | CloseDeployment) -> tuple[Draft, Reply] | Denied:
    match request:
        case CreateDeployment():
            return create(draft, request)
        case CloseDeployment():
            return close(draft, request)
        case _:
            assert_never(request)


def create(draft: Draft, request: CreateDeployment) -> tuple[Draft, Reply] | Denied:
    """Hold the deposit and open an order for each group."""
    denied = _check(request, draft.rules)
    if denied is not None:
        return denied
    member = draft.book.member(Role.TENANT, request.owner)
    assert member is not None, "only members get here"
    member = replace(member, deployments=member.deployments + 1)
    deployment = DeploymentId(owner=request.owner, dseq=member.deployments)
    held = draft.moved(
        Transfer(
            subject=f"deposit:{deployment}",
            source=tenant_account(request.owner, request.deposit.denom),
            target=escrow_account(deployment, request.deposit.denom),
            amount=request.deposit.amount,
            at=draft.at,
        )
    )
    if isinstance(held, Denied):
        return replace(held, remedy="ask the market's owner to fund the account, or deposit less")
    ids = tuple(
        OrderId(owner=request.owner, dseq=deployment.dseq, gseq=gseq, oseq=1)
        for gseq in range(1, len(request.groups) + 1)
    )
    row = DeploymentRow(
        id=deployment,
        manifest_hash=request.manifest_hash,
        deposit=request.deposit,
        orders=ids,
        created_at=draft.at,
    )
    draft = held.put(member, row)
    for order, group in zip(ids, request.groups, strict=True):
        opened = Order(id=order, group=group, manifest_hash=request.manifest_hash)
        version = draft.next_version
        draft = draft.put(
            OrderRow(order=opened, state=OrderState.OPEN, opened_version=version, version=version)
        )
    return draft, Created(deployment=deployment)


def owned(draft: Draft, request: CloseDeployment | UpdateDeployment) -> DeploymentRow | Denied:
    """The deployment that its owner means; to everybody else there is none."""
    row = draft.book.deployments.get(request.deployment)
    if row is None or row.id.owner != request.owner:
        return Denied(
            why=Denial.DEPLOYMENT_UNKNOWN,
            what=f"{request.owner} has no deployment {request.deployment.dseq}",
            remedy="list them with `tenant status`",
        )
    return row


def close(draft: Draft, request: CloseDeployment) -> tuple[Draft, Reply] | Denied:
    """End everything of it. Fine when it is closed already."""
    row = owned(draft, request)
    if isinstance(row, Denied):
        return row
    return finished(ended(draft, row, CloseReason.TENANT_CLOSED), row.id), Done()


def ended(draft: Draft, row: DeploymentRow, reason: CloseReason) -> Draft:
    """The same with every order closed and every lease ending for ``reason``."""
    for order in row.orders:
        if draft.book.orders[order].state is not OrderState.CLOSED:
            draft = orders.closed(draft, order, reason)
        lease = draft.book.leases.get(order)
        if lease is not None:
            draft = leases.closing(draft, lease, reason)
    return draft


def ended_by_provider(draft: Draft, row: LeaseRow, reason: CloseReason) -> Draft:
    """The same with the lease ending, and with its deployment closed if that was all of it."""
    return finished(leases.closing(draft, row, reason), row.id.deployment)


def finished(draft: Draft, deployment: DeploymentId) -> Draft:
    """The same, with the deployment closed and the rest refunded if nothing of it is open any more."""
    row = draft.book.deployments[deployment]
    if row.closed_at is not None or not is_over(draft.book, row):
        return draft
    account = escrow_account(row.id, row.deposit.denom)
    rest = draft.book.ledger.balance(account)
    if rest:
        owner = tenant_account(row.id.owner, row.deposit.denom)
        refund = Transfer(subject=f"refund:{row.id}", source=account, target=owner, amount=rest, at=draft.at)
        draft = must(draft.moved(refund))
    return draft.put(replace(row, closed_at=draft.at, refunded=rest))


def is_over(book: Book, row: DeploymentRow) -> bool:
    """Whether no order is open and every lease is settled."""
    found = (book.leases.get(order) for order in row.orders)
    return all(book.orders[order].state is OrderState.CLOSED for order in row.orders) and all(
        lease is None or lease.state is LeaseState.CLOSED for lease in found
    )


def time_passed(draft: Draft, deployment: DeploymentId) -> Draft:
    """The same after all that is overdue in ``deployment`` at the draft's instant."""
    row = draft.book.deployments.get(deployment)
    if row is None or row.closed_at is not None:
        return draft
    for order in row.orders:
        for bid in draft.book.bids.get(order) or ():
            if bid.state is BidState.AWARDED and bid.confirm_by is not None and bid.confirm_by <= draft.at:
                draft = orders.award_lost(draft, bid, CloseReason.NOT_CONFIRMED)
        lease = draft.book.leases.get(order)
        if lease is not None and lease.settle_by is not None and lease.settle_by <= draft.at:
            draft = leases.closed(draft, lease)
    out = funds_end(draft.book, row)
    if out is not None and out <= draft.at:
        draft = ended(draft, row, CloseReason.FUNDS_EXHAUSTED)
    return finished(draft, deployment)


def resumed(draft: Draft) -> Draft:
    """The same with every wait begun anew: nobody could keep a time limit while the market was away."""
    for deployment in sorted(draft.book.live):
        for order in draft.book.deployments[deployment].orders:
            for bid in draft.book.bids.get(order) or ():
                if bid.state is BidState.AWARDED:
                    draft = orders.awarded(draft, bid)[0]
            lease = draft.book.leases.get(order)
            if lease is not None and lease.settle_by is not None:
                draft = draft.put(replace(lease, settle_by=after(draft.at, draft.rules.usage_within)))
    return draft


def due_at(book: Book, deployment: DeploymentId) -> Instant | None:
    """When time will next change something in ``deployment``; None if it never will."""
    row = book.deployments.get(deployment)
    if row is None or row.closed_at is not None:
        return None
    dues = [funds_end(book, row)]
    for order in row.orders:
        dues += [bid.confirm_by for bid in book.bids.get(order) or () if bid.state is BidState.AWARDED]
        lease = book.leases.get(order)
        dues += [lease.settle_by] if lease is not None else []
    return min((due for due in dues if due is not None), default=None)


def funds_end(book: Book, row: DeploymentRow) -> Instant | None:
    """When its running leases may have used up the escrow, if nobody reports before."""
    running = [lease for order in row.orders if (lease := book.leases.get(order)) is not None]
    return exhausted_at(
        held(book, row),
        (
            (lease.rate, lease.accrues_from)
            for lease in running
            if lease.state is LeaseState.ACTIVE and lease.accrues_from is not None
        ),
    )


def held(book: Book, row: DeploymentRow) -> Money:
    """What is left in its escrow."""
    denom: Denom = row.deposit.denom
    return Money(amount=book.ledger.balance(escrow_account(row.id, denom)), denom=denom)


def _check(request: CreateDeployment, rules: Rules) -> Denied | None:
    deposit = request.deposit
    if deposit.amount < rules.deposit_min:
        return Denied(
            why=Denial.DEPOSIT_SMALL,
            what=f"a deposit is at least {rules.deposit_min}{deposit.denom}, not {deposit}",
            remedy=f"deposit {rules.deposit_min}{deposit.denom} or more: what is left comes back",
        )
    if not HASH.fullmatch(request.manifest_hash):
        return Denied(why=Denial.HASH_INVALID, what="the manifest's hash is not 64 hex digits")
    if not 1 <= len(request.groups) <= rules.groups_max:
        return Denied(
            why=Denial.GROUPS_INVALID,
            what=f"a deployment has 1 to {rules.groups_max} groups, not {len(request.groups)}",
        )
    if len({group.name for group in request.groups}) != len(request.groups):
        return Denied(why=Denial.GROUPS_INVALID, what="two groups have the same name")
    problems = (_check_group(group, request.deposit.denom, rules) for group in request.groups)
    return next((problem for problem in problems if problem is not None), None)


def _check_group(group: GroupSpec, denom: Denom, rules: Rules) -> Denied | None:
    def invalid(what: str) -> Denied:
        return Denied(why=Denial.GROUPS_INVALID, what=f"group {group.name!r}: {what}")

    if not 1 <= len(group.units) <= rules.units_max:
        return invalid(f"it has 1 to {rules.units_max} resource units, not {len(group.units)}")
    for unit in group.units:
        if not 1 <= unit.count <= rules.count_max:
            return invalid(f"a unit has 1 to {rules.count_max} replicas, not {unit.count}")
        if unit.resources.cpu_millis <= 0 or unit.resources.memory_bytes <= 0 or unit.resources.gpu.units < 0:
            return invalid("every replica needs some cpu and some memory")
        if unit.price.denom != denom:
            return Denied(
                why=Denial.DENOM_DIFFERS,
                what=f"group {group.name!r} is priced in {unit.price.denom}, the deposit is in {denom}",
                remedy=f"deposit {unit.price.denom}, or price the group in {denom}",
            )
    if sum((int(unit.price.amount) + 1) * unit.count for unit in group.units) > rules.rate_max:
        return invalid(f"its price is above {rules.rate_max}{denom} a block")
    return None
