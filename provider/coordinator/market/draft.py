"""A step in the making: the book as it would be, and the rows that made it so.

Also the few things that every rule does: take the next version, move money, write into the record.
A draft is a value; one that is denied is simply dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from provider.coordinator import escrow, record
from provider.coordinator.book import Book, with_row
from provider.coordinator.denial import Denial, Denied
from provider.coordinator.escrow import Transfer
from provider.coordinator.market.requests import Reply
from provider.coordinator.rows import BalanceRow, Row
from provider.domain.moment import HOUR, MINUTE, SECOND, Instant, Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The market's own numbers."""

    confirm_within: Span = Span(10 * SECOND)
    """From an acceptance to the provider's word."""
    usage_within: Span = MINUTE
    """From a lease's end to its last usage report."""
    deposit_min: int = 500_000
    """Micro-denom; Akash's minimum for uact and uakt."""
    bid_deposit: int = 0
    """Micro-denom held of a provider's account while its bid is open, and until the lease that it becomes is
    settled; 0: none. Akash holds 500000."""
    bids_max: int = 20
    """Open ones on one order; Akash's ``order_max_bids``."""
    groups_max: int = 20
    units_max: int = 20
    """Of one group."""
    count_max: int = 50
    """Replicas of one unit, as Akash allows."""
    rate_max: int = 1_000_000_000
    """Micro-denom a block for a whole group: a thousand dollars every six seconds is a mistake."""
    invite_ttl_max: Span = Span(30 * 24 * HOUR)
    answers_kept: Span = Span(24 * HOUR)
    """A repeat comes within this, or finds that what it asks is done."""


RULES = Rules()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One decision. ``book`` is the old one where ``reply`` is ``Denied``."""

    book: Book
    rows: tuple[Row, ...] = ()
    """In the order in which they were put; the last one of a key counts."""
    reply: Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    book: Book
    at: Instant
    rules: Rules
    rows: tuple[Row, ...] = ()

    @property
    def next_version(self) -> int:
        return self.book.version + 1

    def put(self, *rows: Row) -> Draft:
        """The same with ``rows`` in the book, one after the other."""
        book = self.book
        for row in rows:
            book = with_row(book, row)
        return replace(self, book=book, rows=(*self.rows, *rows))

    def moved(self, transfer: Transfer) -> Draft | Denied:
        """The same with ``transfer`` made; the same draft where it was made before."""
        after = escrow.apply(self.book.ledger, transfer)
        if isinstance(after, Denial):
            return Denied(why=after, what=_SENTENCES[after].format(transfer=transfer))
        if after is self.book.ledger:
            return self
        accounts = [each for each in (transfer.source, transfer.target) if each is not None]
        balances = (BalanceRow(account=each, amount=after.balance(each)) for each in accounts)
        book = replace(self.book, ledger=after)
        return replace(self, book=book, rows=(*self.rows, transfer, *balances))

    def recorded(self, body: Mapping[str, record.Json]) -> Draft:
        """The same with one more entry in the public record."""
        return self.put(record.append(self.book.tip, body, self.at))


def must(outcome: Draft | Denied) -> Draft:
    """For a transfer that the rules have made sure of."""
    assert isinstance(outcome, Draft), f"a transfer that must succeed was denied: {outcome}"
    return outcome


_SENTENCES = {
    Denial.AMOUNT_INVALID: "an amount must be above zero and fit the market, not {transfer.amount}",
    Denial.ACCOUNTS_INVALID: "{transfer.subject} is between accounts that cannot pay each other",
    Denial.TRANSFER_DIFFERS: "{transfer.subject} was made already, with another amount or account",
    Denial.TRANSFER_OUTDATED: "a later transfer than {transfer.subject} #{transfer.number} was made already",
    Denial.FUNDS_SHORT: "the account has less than {transfer.amount}{transfer.target.denom}",
}
