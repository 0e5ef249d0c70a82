"""A market in a test's hand: builders of what is asked of it, and what must hold after every step."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from functools import reduce

from provider.coordinator import market
from provider.coordinator.book import Book, with_row
from provider.coordinator.denial import Denial, Denied
from provider.coordinator.escrow import BID
from provider.coordinator.market.draft import RULES, Rules
from provider.coordinator.market.requests import (
    AcceptBid,
    ConfirmLease,
    CreateDeployment,
    EndLease,
    Enrol,
    Fund,
    Invite,
    PlaceBid,
    Reply,
    ReportLease,
    ReportUsage,
    Request,
    UpdateDeployment,
)
from provider.coordinator.rows import (
    BidRow,
    BidState,
    Created,
    LeaseRow,
    LeaseState,
    MemberId,
    OrderRow,
    OrderState,
    Role,
    Row,
)
from provider.domain.ids import DeploymentId, LeaseId, OrderId, Owner, ProviderId
from provider.domain.market import Bid, CloseReason, GroupSpec, LeaseHealth, Usage
from provider.domain.moment import HOUR, Instant
from provider.domain.money import Denom, Money, Rate, earned
from provider.domain.resources import Resources, ResourceUnit

ALICE, BOB = Owner("alice"), Owner("bob")
NORTH, SOUTH = ProviderId("north"), ProviderId("south")
HASH = "ab" * 32
OTHER_HASH = "cd" * 32
START = Instant(1_700_000_000_000)
UACT = Denom.UACT


def uact(amount: int) -> Money:
    return Money(amount=amount, denom=UACT)


def rate(amount: str | int, denom: Denom = UACT) -> Rate:
    return Rate(amount=Decimal(amount), denom=denom)


def group(name: str = "web", *, price: str | int = 1000, count: int = 1, denom: Denom = UACT) -> GroupSpec:
    resources = Resources(id=1, cpu_millis=500, memory_bytes=2**27)
    unit = ResourceUnit(resources=resources, count=count, price=rate(price, denom))
    return GroupSpec(name=name, units=(unit,))


class Market:
    """A book, a clock that only tests turn, and everything that was ever written."""

    def __init__(self, name: str = "test", rules: Rules = RULES) -> None:
        self.rules = rules
        self.begun = Book(market=name, salt=b"salt")
        self.book = self.begun
        self.at = START
        self.rows: tuple[Row, ...] = ()
        self._keys = 0

    def ask(self, request: Request) -> Reply:
        """The reply, once every invariant holds in the book that it leads to."""
        step = market.transition(self.book, request, self.at, self.rules)
        if isinstance(step.reply, Denied):
            assert step.book is self.book
            assert step.rows == ()
        assert reduce(with_row, step.rows, self.book) == replace(step.book, at=self.book.at)
        check(self.book, step.book, self.at)
        _check_deposits(step.book, self.rules)
        self.book = step.book
        self.rows += step.rows
        return step.reply

    def denied(self, request: Request) -> Denial | None:
        reply = self.ask(request)
        return reply.why if isinstance(reply, Denied) else None

    def key(self) -> str:
        self._keys += 1
        return f"key-{self._keys}"

    def later(self, span: int) -> None:
        self.at = Instant(self.at + span)

    def enrol(self, role: Role, *names: str) -> None:
        for name in names:
            member = MemberId(role=role, name=name)
            self.ask(Invite(key=self.key(), member=member, digest=digest(name), ttl=HOUR))
            self.ask(Enrol(key=self.key(), digest=digest(name), csr="csr"))

    def populate(self, funds: int = 10_000_000) -> None:
        """Two tenants with money, two providers."""
        self.enrol(Role.TENANT, ALICE, BOB)
        self.enrol(Role.PROVIDER, NORTH, SOUTH)
        for owner in (ALICE, BOB):
            self.ask(Fund(key=f"fund-{owner}", owner=owner, amount=uact(funds)))

    def deploy(self, *groups: GroupSpec, deposit: int = 1_000_000, owner: Owner = ALICE) -> DeploymentId:
        reply = self.ask(
            CreateDeployment(
                owner=owner,
                key=self.key(),
                groups=groups or (group(),),
                manifest_hash=HASH,
                deposit=uact(deposit),
            )
        )
        assert isinstance(reply, Created), reply
        return reply.deployment

    def update(
        self, deployment: DeploymentId, manifest_hash: str = OTHER_HASH, *groups: GroupSpec
    ) -> Denial | None:
        """Order another manifest; the groups are those ordered unless others are given."""
        row = self.book.deployments.get(deployment)
        ordered = tuple(self.book.orders[order].order.group for order in row.orders) if row else (group(),)
        return self.denied(
            UpdateDeployment(
                owner=deployment.owner,
                key=self.key(),
                deployment=deployment,
                groups=groups or ordered,
                manifest_hash=manifest_hash,
            )
        )

    def bid(self, order: OrderId, provider: ProviderId = NORTH, price: str | int = 100) -> LeaseId:
        bid = Bid(id=order.lease(provider), rate=rate(price))
        assert self.denied(PlaceBid(provider=provider, key=self.key(), bid=bid)) is None
        return bid.id

    def accept(self, bid: LeaseId) -> Reply:
        return self.ask(AcceptBid(owner=bid.owner, key=self.key(), bid=bid))

    def confirm(self, lease: LeaseId) -> Reply:
        return self.ask(ConfirmLease(provider=lease.provider, key=self.key(), lease=lease))

    def lease(self, *, price: str | int = 100, deposit: int = 1_000_000) -> LeaseId:
        """A deployment of alice's with one group, won and confirmed by north."""
        lease = self.bid(order_of(self.deploy(deposit=deposit)), price=price)
        self.accept(lease)
        self.confirm(lease)
        return lease

    def runs(self, lease: LeaseId, health: LeaseHealth = LeaseHealth.RUNNING) -> None:
        report = ReportLease(
            provider=lease.provider, key=self.key(), lease=lease, health=health, ports=(), detail=""
        )
        assert self.denied(report) is None

    def used(self, lease: LeaseId, number: int, running_ms: int, *, final: bool = False) -> Reply:
        usage = Usage(lease=lease, number=number, running_ms=running_ms, at=self.at, is_final=final)
        return self.ask(ReportUsage(provider=lease.provider, usage=usage))

    def end(self, lease: LeaseId, reason: CloseReason = CloseReason.OPERATOR_CLOSED) -> None:
        request = EndLease(provider=lease.provider, key=self.key(), lease=lease, reason=reason, detail="")
        assert self.denied(request) is None

    def balance(self, account: str) -> int:
        return sum(
            amount
            for key in self.book.ledger.balances
            if key.name == account and (amount := self.book.ledger.balances[key])
        )


def order_of(deployment: DeploymentId, gseq: int = 1) -> OrderId:
    return OrderId(owner=deployment.owner, dseq=deployment.dseq, gseq=gseq, oseq=1)


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def check(before: Book, book: Book, at: Instant) -> None:
    """What must hold after every step, whatever was asked."""
    assert book.at <= max(at, before.at)
    assert book.version >= before.version
    _check_money(book)
    _check_versions(book)
    for deployment in book.deployments.values():
        assert (deployment.id in book.live) == (deployment.closed_at is None)
        for order in deployment.orders:
            assert book.orders[order].order.manifest_hash == deployment.manifest_hash
            _check_same_order(before, book, order)
            _check_order(book, order)
            _check_lease(before, book, order, at)
        if deployment.closed_at is not None:
            assert all(book.orders[order].state is OrderState.CLOSED for order in deployment.orders)


def _check_money(book: Book) -> None:
    ledger = book.ledger
    assert all(amount >= 0 for amount in ledger.balances.values())
    for denom in Denom:
        held = sum(ledger.balances[account] for account in ledger.balances if account.denom is denom)
        assert held == (ledger.issued.get(denom) or 0)


def _check_deposits(book: Book, rules: Rules) -> None:
    """One of each bid that is open, awarded, or a lease that is not settled: no more, no less."""
    held = {
        account.name: amount
        for account in book.ledger.balances
        if account.name.startswith(BID) and (amount := book.ledger.balance(account))
    }
    living = {BidState.OPEN, BidState.AWARDED, BidState.WON} if rules.bid_deposit else set()
    assert held == {
        f"{BID}{bid.bid.id}": rules.bid_deposit
        for of_order in book.bids.values()
        for bid in of_order
        if bid.state in living
        and ((lease := book.lease(bid.bid.id)) is None or lease.state is not LeaseState.CLOSED)
    }


def _check_versions(book: Book) -> None:
    bids = (bid for order in book.bids.values() for bid in order)
    rows: Iterable[OrderRow | BidRow | LeaseRow] = (*book.orders.values(), *bids, *book.leases.values())
    versions = [row.version for row in rows if row.version]
    assert len(set(versions)) == len(versions), "two rows carry one version"
    assert max(versions, default=0) <= book.version


def _check_same_order(before: Book, book: Book, order: OrderId) -> None:
    """What was ordered never changes."""
    earlier = before.orders.get(order)
    assert earlier is None or earlier.order.group == book.orders[order].order.group


def _check_order(book: Book, order: OrderId) -> None:
    states = [bid.state for bid in book.bids.get(order) or ()]
    state, lease = book.orders[order].state, book.leases.get(order)
    assert states.count(BidState.AWARDED) == (state is OrderState.AWARDED)
    assert states.count(BidState.WON) == (lease is not None)
    if state is OrderState.CLOSED:
        assert BidState.OPEN not in states
    if lease is not None:
        assert state is OrderState.CLOSED


def _check_lease(before: Book, book: Book, order: OrderId, at: Instant) -> None:
    lease, earlier = book.leases.get(order), before.leases.get(order)
    if lease is None:
        assert earlier is None, "a lease is never forgotten"
        return
    wall = (lease.closed_at or max(at, before.at)) - lease.confirmed_at
    assert 0 <= lease.running_ms <= wall
    assert lease.settled <= earned(lease.rate, wall).amount, "billed at most rate x wall time"
    assert (lease.reason is None) == (lease.state is LeaseState.ACTIVE)
    if earlier is not None:
        assert earlier.id == lease.id
        assert earlier.settled <= lease.settled
        assert earlier.running_ms <= lease.running_ms
        assert earlier.usage_number <= lease.usage_number
        assert earlier.reason in {None, lease.reason}, "one reason, for good"
