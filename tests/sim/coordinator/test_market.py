"""The market under any sequence of requests, late, doubled or out of place, with restarts between.

``tests.market.check`` holds after every step: one lease an order, billed at most rate x wall time, one reason
for every end, money conserved, denials without effect. Here come the promises that span several steps.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from provider.coordinator.market.deployments import due_at
from provider.coordinator.market.draft import RULES
from provider.coordinator.market.notices import LeaseAwarded, LeaseEnded, LeaseUpdated, Notice, notice
from provider.coordinator.market.requests import (
    AcceptBid,
    CloseDeployment,
    ConfirmLease,
    CreateDeployment,
    EndLease,
    ForgetAnswers,
    Fund,
    Hello,
    PlaceBid,
    RefuseLease,
    ReportLease,
    ReportUsage,
    Request,
    Resumed,
    TimePassed,
    UpdateDeployment,
    WithdrawBid,
)
from provider.coordinator.record import RecordEntry, verify
from provider.coordinator.rows import BidRow, LeaseRow, LeaseState, LeaseUnknown, OrderRow, Role
from provider.coordinator.store import BookStore
from provider.domain.ids import DeploymentId, LeaseId, OrderId, Owner, ProviderId
from provider.domain.market import Bid, CloseReason, LeaseHealth, Usage
from provider.domain.moment import HOUR, MINUTE
from tests.market import ALICE, BOB, HASH, NORTH, SOUTH, Market, group, order_of, rate, uact

owners = st.sampled_from([ALICE, ALICE, ALICE, BOB])
providers = st.sampled_from([NORTH, SOUTH])
dseqs = st.sampled_from([1, 1, 1, 2])
orders = st.builds(OrderId, owner=owners, dseq=dseqs, gseq=st.integers(1, 2), oseq=st.just(1))
leases = st.builds(lambda order, provider: order.lease(provider), orders, providers)
hashes = st.sampled_from([HASH, "cd" * 32, "ef" * 32])
running = st.sampled_from([0, 5_000, MINUTE, 10 * MINUTE])


@dataclass
class Told:
    """What a provider knows that hears everything in order."""

    version: int = 0
    hashes: dict[LeaseId, str] = field(default_factory=dict)


class MarketMachine(RuleBasedStateMachine):
    terms = RULES
    provider_funds = 0

    def __init__(self) -> None:
        super().__init__()
        self.market = Market(rules=self.terms)
        self.folder = tempfile.TemporaryDirectory()
        self.store = BookStore.open(Path(self.folder.name) / "market.db")
        self.written = 0
        self.asked: list[Request] = []
        self.agents = {provider: Told() for provider in (NORTH, SOUTH)}

    @initialize()
    def begin(self) -> None:
        self.market.book = self.store.load("test", b"salt")
        self.market.populate(9_000_000)
        if self.provider_funds:
            for name in (NORTH, SOUTH):
                fund = Fund(key=name, owner=name, amount=uact(self.provider_funds), role=Role.PROVIDER)
                self.market.ask(fund)
        for owner in (ALICE, BOB):
            deployment = self.market.deploy(group("a", price=500_000), group("b", price=500_000), owner=owner)
            first, second = order_of(deployment, 1), order_of(deployment, 2)
            self.wins(first.lease(NORTH))
            self.bids(second.lease(NORTH), "100")
            self.bids(second.lease(SOUTH), "100")
            self.accepts(second.lease(SOUTH))

    def teardown(self) -> None:
        self.restart()
        for provider in (NORTH, SOUTH):
            self.hears(provider)
        self.everything_ends()
        self.store.close()
        self.folder.cleanup()

    def ask(self, request: Request) -> None:
        self.asked.append(request)
        self.market.ask(request)

    @rule(owner=owners, dseq=dseqs, manifest_hash=hashes, price=st.sampled_from([500_000, 500_000, 1]))
    def updates(self, owner: Owner, dseq: int, manifest_hash: str, price: int) -> None:
        deployment = DeploymentId(owner=owner, dseq=dseq)
        row = self.market.book.deployments.get(deployment)
        ordered = [self.market.book.orders[order].order.group.name for order in row.orders] if row else ["a"]
        before = self.market.book
        self.ask(
            UpdateDeployment(
                owner=owner,
                key=self.market.key(),
                deployment=deployment,
                groups=tuple(group(name, price=price) for name in ordered),
                manifest_hash=manifest_hash,
            )
        )
        assert self.market.book.ledger == before.ledger
        is_changed = row is not None and self.market.book.deployments[deployment] != row
        assert not is_changed or price == 500_000

    @rule(provider=providers)
    def hears(self, provider: ProviderId) -> None:
        """A provider that hears all in order, however late, and of an award only the first time, knows the
        manifest of each of its leases."""
        agent = self.agents[provider]
        for told in self.notices(provider, agent.version):
            agent.version = told.version
            match told:
                case LeaseAwarded(award=award):
                    agent.hashes.setdefault(award.id, award.manifest_hash)
                case LeaseUpdated(lease=updated, manifest_hash=manifest_hash):
                    assert updated in agent.hashes, "an update comes after its award"
                    agent.hashes[updated] = manifest_hash
                case _:
                    pass
        for lease in self.market.book.leases.values():
            if lease.id.provider == provider and lease.state is LeaseState.ACTIVE:
                ordered = self.market.book.orders[lease.id.order].order.manifest_hash
                assert agent.hashes[lease.id] == ordered

    @rule(
        owner=owners,
        groups=st.integers(1, 2),
        deposit=st.sampled_from([499_999, 500_000, 1_500_000, 90_000_000]),
    )
    def deploys(self, owner: Owner, groups: int, deposit: int) -> None:
        specs = tuple(group(f"g{number}", price=500_000) for number in range(groups))
        self.ask(
            CreateDeployment(
                owner=owner, key=self.market.key(), groups=specs, manifest_hash=HASH, deposit=uact(deposit)
            )
        )

    @rule(lease=leases, price=st.sampled_from(["0", "0.5", "1000", "100000", "500000.1"]))
    def bids(self, lease: LeaseId, price: str) -> None:
        self.ask(
            PlaceBid(provider=lease.provider, key=self.market.key(), bid=Bid(id=lease, rate=rate(price)))
        )

    @rule(bid=leases, provider=providers)
    def withdraws(self, bid: LeaseId, provider: ProviderId) -> None:
        self.ask(WithdrawBid(provider=provider, key=self.market.key(), bid=bid))

    @rule(bid=leases)
    def accepts(self, bid: LeaseId) -> None:
        self.ask(AcceptBid(owner=bid.owner, key=self.market.key(), bid=bid))

    @rule(lease=leases)
    def confirms(self, lease: LeaseId) -> None:
        self.ask(ConfirmLease(provider=lease.provider, key=self.market.key(), lease=lease))

    @rule(lease=leases)
    def wins(self, lease: LeaseId) -> None:
        """The usual way in one go, so that later rules find leases."""
        self.bids(lease, "100000")
        self.accepts(lease)
        self.confirms(lease)

    @rule(lease=leases, span=running)
    def works(self, lease: LeaseId, span: int) -> None:
        """It runs for a while and says so."""
        self.reports(lease, LeaseHealth.RUNNING)
        self.time_passes(span)
        row = self.market.book.lease(lease)
        if row is not None:
            self.bills(lease, row.usage_number + 1, row.running_ms + span, False)

    @rule(lease=leases)
    def refuses(self, lease: LeaseId) -> None:
        self.ask(
            RefuseLease(
                provider=lease.provider, key=self.market.key(), lease=lease, reason="gpu_busy", detail=""
            )
        )

    @rule(lease=leases, health=st.sampled_from(LeaseHealth))
    def reports(self, lease: LeaseId, health: LeaseHealth) -> None:
        self.ask(
            ReportLease(
                provider=lease.provider,
                key=self.market.key(),
                lease=lease,
                health=health,
                ports=(),
                detail="",
            )
        )

    @rule(lease=leases, reason=st.sampled_from(CloseReason))
    def ends(self, lease: LeaseId, reason: CloseReason) -> None:
        self.ask(
            EndLease(provider=lease.provider, key=self.market.key(), lease=lease, reason=reason, detail="")
        )

    @rule(lease=leases, number=st.integers(1, 20), running_ms=running, final=st.booleans())
    def bills(self, lease: LeaseId, number: int, running_ms: int, final: bool) -> None:
        usage = Usage(lease=lease, number=number, running_ms=running_ms, at=self.market.at, is_final=final)
        self.ask(ReportUsage(provider=lease.provider, usage=usage))

    @rule(owner=owners, dseq=dseqs)
    def closes(self, owner: Owner, dseq: int) -> None:
        self.ask(
            CloseDeployment(
                owner=owner, key=self.market.key(), deployment=DeploymentId(owner=owner, dseq=dseq)
            )
        )

    @rule(span=st.sampled_from([0, 1, 5_000, 10_000, 61_000, 600_000, -3_000]))
    def time_passes(self, span: int) -> None:
        self.market.later(span)
        for deployment in sorted(self.market.book.live):
            due = due_at(self.market.book, deployment)
            if due is not None and due <= self.market.at:
                self.market.ask(TimePassed(deployment=deployment))
                later = due_at(self.market.book, deployment)
                assert later is None or later > self.market.at, "what was due is done"

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def repeats(self, data: st.DataObject) -> None:
        """A message that was delivered twice, however late, changes nothing that was carried out."""
        request = data.draw(st.sampled_from(self.asked[-20:]))
        first = self.market.ask(request)
        book = self.market.book
        assert self.market.ask(request) == first
        assert (self.market.book.orders, self.market.book.leases) == (book.orders, book.leases)
        assert self.market.book.ledger == book.ledger

    @rule(provider=providers, known=st.integers(0, 200))
    def greets(self, provider: ProviderId, known: int) -> None:
        epoch = self.market.book.provider(provider)
        assert epoch is not None
        self.market.ask(
            Hello(
                provider=provider,
                instance="i",
                market="test",
                last_version=min(known, self.market.book.version),
                lease_address="",
                software="",
            )
        )
        row = self.market.book.provider(provider)
        assert row is not None
        assert row.epoch == epoch.epoch + 1

    @rule(provider=providers, known=st.integers(0, 200))
    def a_provider_that_catches_up_knows_its_leases(self, provider: ProviderId, known: int) -> None:
        """From any version on, the notices end in the state that the book is in."""
        told = self.notices(provider, known)
        versions = [each.version for each in told]
        assert versions == sorted(set(versions))
        awarded = {each.award.id for each in told if isinstance(each, LeaseAwarded)}
        ended = {each.lease for each in told if isinstance(each, LeaseEnded)}
        updated = {each.lease for each in told if isinstance(each, LeaseUpdated)}
        assert not (awarded | updated) & ended
        for lease in self.market.book.leases.values():
            if lease.id.provider == provider and lease.version > known:
                assert lease.id in (updated if lease.state is LeaseState.ACTIVE else ended)
            if known == 0 and lease.id.provider == provider and lease.state is LeaseState.ACTIVE:
                assert lease.id in awarded

    @rule()
    def restart(self) -> None:
        """What was committed is the book, to the last row."""
        rows = self.market.rows[self.written :]
        book = self.market.book
        if rows:
            self.store.commit(rows, version=book.version, at=book.at)
        self.written = len(self.market.rows)
        assert self.store.load("test", b"other") == book

    @rule()
    def resumes(self) -> None:
        self.market.ask(Resumed())

    def notices(self, provider: ProviderId, since: int) -> list[Notice]:
        book = self.market.book
        bids = (bid for row in book.bids.values() for bid in row)
        rows: list[OrderRow | BidRow | LeaseRow | LeaseUnknown] = [
            *book.orders.values(),
            *bids,
            *book.leases.values(),
        ]
        rows.sort(key=lambda row: row.version)
        told = (notice(book, row, provider, since=since) for row in rows)
        return [each for each in told if each is not None]

    def everything_ends(self) -> None:
        """Closed by their owners, all deployments settle in bounded time, and the money is back."""
        market = self.market
        for deployment in sorted(market.book.live):
            market.ask(CloseDeployment(owner=deployment.owner, key=market.key(), deployment=deployment))
        market.later(10 * MINUTE + 3_000)
        self.time_passes(0)
        market.later(25 * HOUR)
        market.ask(ForgetAnswers())
        assert market.book.live == frozenset()
        assert all(lease.state is LeaseState.CLOSED for lease in market.book.leases.values())
        names = {account.name for account in market.book.ledger.balances}
        assert all(market.balance(name) == 0 for name in names if name.startswith(("escrow:", "bid:")))
        earned = sum(lease.settled for lease in market.book.leases.values())
        theirs = market.balance("provider:north") + market.balance("provider:south")
        assert theirs == earned + 2 * self.provider_funds
        entries = [row for row in market.rows if isinstance(row, RecordEntry)]
        assert verify(entries) is None
        told = Counter(json.loads(entry.body_json)["event"] for entry in entries)
        for event in ("lease_opened", "lease_closed", "lease_settled"):
            assert told[event] == len(market.book.leases)


class DepositMachine(MarketMachine):
    """The same where bids take deposits, and providers have money for a few."""

    terms = replace(RULES, bid_deposit=300_000)
    provider_funds = 700_000


TestDeposits = DepositMachine.TestCase
TestDeposits.settings = settings(
    max_examples=12,
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow],
)
TestMarket = MarketMachine.TestCase
TestMarket.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow],
)
