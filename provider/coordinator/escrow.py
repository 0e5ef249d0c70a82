"""The ledger: who has how much, and the only two ways in which that changes.

Owns balances and the rule by which a transfer is taken or denied. Does not own why money moves (the
``market`` decides that) nor how much a lease earned (``domain.money`` rounds, in one place).

**Invariant:** no account is negative, and the balances of a denom add up to what was ever issued in it.
Funding is the only issue: a transfer without a source.

A transfer is named by a subject and a number (``settle:alice/1/1/1/p1`` and the usage report's number). The
last one of each subject is remembered, so a repeat is harmless and a late one is denied, for ever.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal

from provider.coordinator.denial import Denial
from provider.coordinator.table import Table
from provider.domain.ids import DeploymentId, LeaseId, Owner, ProviderId
from provider.domain.moment import Instant
from provider.domain.money import Denom, Money, Rate, earned, lasts_ms

AMOUNT_MAX = 2**63 - 1
"""What an SQLite INTEGER and a protobuf int64 hold: more than this is never issued in one denom."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Account:
    """``tenant:<name>``, ``provider:<name>``, ``escrow:<owner>/<dseq>`` or ``bid:<lease>``, in one denom."""

    name: str
    denom: Denom


BID = "bid:"
"""What the names of bids' accounts begin with."""


def tenant_account(owner: Owner, denom: Denom) -> Account:
    return Account(name=f"tenant:{owner}", denom=denom)


def provider_account(provider: ProviderId, denom: Denom) -> Account:
    return Account(name=f"provider:{provider}", denom=denom)


def bid_account(bid: LeaseId, denom: Denom) -> Account:
    """Holds the deposit of a bid, until it is over or its lease is settled."""
    return Account(name=f"{BID}{bid}", denom=denom)


def escrow_account(deployment: DeploymentId, denom: Denom) -> Account:
    return Account(name=f"escrow:{deployment}", denom=denom)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Moves ``amount`` micro-denom. Two with equal names must be equal but for the instant."""

    subject: str
    number: int = 1
    source: Account | None
    """None: issued, the money is new."""
    target: Account
    amount: int
    at: Instant = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    balances: Table[Account, int] = field(default_factory=Table)
    issued: Table[Denom, int] = field(default_factory=Table)
    latest: Table[str, Transfer] = field(default_factory=Table)
    """By subject."""

    def balance(self, account: Account) -> int:
        """Micro-denom; an account that was never used has none."""
        return self.balances.get(account) or 0


def apply(ledger: Ledger, transfer: Transfer) -> Ledger | Denial:
    """The ledger after ``transfer``; the same ledger when it was made before."""
    source, target, amount = transfer.source, transfer.target, transfer.amount
    last = ledger.latest.get(transfer.subject)
    issued = ledger.issued.get(target.denom) or 0
    if amount <= 0:
        return Denial.AMOUNT_INVALID
    if source is not None and (source.denom != target.denom or source == target):
        return Denial.ACCOUNTS_INVALID
    if last is not None and transfer.number == last.number:
        return ledger if transfer == last else Denial.TRANSFER_DIFFERS
    if last is not None and transfer.number < last.number:
        return Denial.TRANSFER_OUTDATED
    if source is None and issued + amount > AMOUNT_MAX:
        return Denial.AMOUNT_INVALID
    if source is not None and ledger.balance(source) < amount:
        return Denial.FUNDS_SHORT
    balances = ledger.balances.put(target, ledger.balance(target) + amount)
    if source is not None:
        balances = balances.put(source, ledger.balance(source) - amount)
    return replace(
        ledger,
        balances=balances,
        issued=ledger.issued.put(target.denom, issued + amount) if source is None else ledger.issued,
        latest=ledger.latest.put(transfer.subject, transfer),
    )


def due(rate: Rate, running_ms: int, settled: int, held: int) -> int:
    """What is to be paid now: earned in all, less what was settled, and never more than is ``held``."""
    return min(earned(rate, running_ms).amount - settled, held)


def exhausted_at(held: Money, accruing: Iterable[tuple[Rate, Instant]]) -> Instant | None:
    """When ``held`` is used up if every rate goes on accruing since its instant; None if it never is."""
    running = tuple(accruing)
    if not running:
        return None
    base = max(since for _, since in running)
    behind = sum(earned(rate, base - since).amount for rate, since in running)
    if behind >= held.amount:
        return base
    rates = Rate(amount=sum((rate.amount for rate, _ in running), start=Decimal(0)), denom=held.denom)
    lasts = lasts_ms(rates, Money(amount=held.amount - behind, denom=held.denom))
    return None if lasts is None else Instant(base + lasts)
