"""The book in one SQLite file: a step's rows go in together, the same book comes out.

Owns which table a row goes to (``write``) and how it is read back (``load``); the text forms are
``columns.py``'s. Does not own the book's rules, nor the file's durability (``adapters/store/database.py``).

**Invariant:** after ``commit`` returns, its rows survive kill -9 and power loss; before, none of them does.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from provider.adapters.store.database import Database, Schema, open_database
from provider.coordinator import columns
from provider.coordinator.book import Book, with_row
from provider.coordinator.escrow import Transfer
from provider.coordinator.record import RecordEntry
from provider.coordinator.rows import (
    AnswerRow,
    AnswersForgotten,
    BalanceRow,
    BidRow,
    DeploymentRow,
    InviteRow,
    LeaseRow,
    LeaseUnknown,
    MemberRow,
    OrderRow,
    Row,
)
from provider.domain.errors import ConfigError
from provider.domain.moment import Instant

SCHEMA = Schema(program="coordinator", application_id=0x47504D4B, package="provider.coordinator")
"""The id reads GPMK in the file's header."""
RECORD_PAGE_MAX = 1000


class BookStore:
    """One market's file. Used by one thread at a time, but for ``record``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, path: Path) -> BookStore:
        """Open or make ``path``. ``ConfigError`` when it cannot be used: by another process, say."""
        return cls(open_database(path, SCHEMA))

    def close(self) -> None:
        self._database.close()

    def load(self, market: str | None, salt: bytes) -> Book:
        """The last committed book. A new file becomes that of ``market``, with ``salt`` for its record.

        ``ConfigError`` when the file is another market's.
        """
        connection = self._database.connection
        found = connection.execute("SELECT name, salt, version, at_ms FROM market").fetchone()
        if found is None:
            if market is None:
                raise ConfigError("there is no market here yet", remedy="name the new market: --market NAME")
            with self._database.transaction():
                connection.execute("INSERT INTO market VALUES (1, ?, ?, 0, 0)", (market, salt))
            return Book(market=market, salt=salt)
        name, kept_salt, version, at = found
        if market is not None and name != market:
            raise ConfigError(
                f"{self._database.path} is the market {name}'s, not {market}'s",
                remedy=f"leave out --market, or give {market} a state folder of its own",
            )
        book = Book(market=name, salt=bytes(kept_salt))
        for row in self._rows():
            book = with_row(book, row)
        return replace(book, version=version, at=Instant(at))

    def commit(self, rows: Iterable[Row], *, version: int, at: Instant) -> None:
        """Write ``rows``, in their order, and where the market stands, in one transaction."""
        with self._database.transaction() as connection:
            for row in rows:
                _write(connection, row)
            connection.execute("UPDATE market SET version = ?, at_ms = ?", (version, at))

    def record(self, first: int, limit: int) -> tuple[RecordEntry, ...]:
        """Entries of the public record from number ``first``, at most ``limit`` (and 1000).

        From any thread: it opens the file for itself, to read.
        """
        reader = sqlite3.connect(self._database.path, isolation_level=None)
        try:
            reader.execute("PRAGMA query_only = ON")
            found = reader.execute(
                "SELECT number, at_ms, body_json, hash FROM record WHERE number >= ? ORDER BY number LIMIT ?",
                (first, min(limit, RECORD_PAGE_MAX)),
            )
            return tuple(map(columns.record_entry, found))
        finally:
            reader.close()

    def _rows(self) -> Iterator[Row]:
        for query, row_of in _READS:
            yield from map(row_of, self._database.connection.execute(query))


_READS: tuple[tuple[str, Callable[[tuple[Any, ...]], Row]], ...] = (
    ("SELECT * FROM member", columns.member),
    ("SELECT * FROM invite", columns.invite),
    (
        """SELECT deployment.*, (SELECT count(*) FROM orders
             WHERE orders.owner = deployment.owner AND orders.dseq = deployment.dseq) FROM deployment""",
        columns.deployment,
    ),
    (
        """SELECT orders.*, deployment.manifest_hash
             FROM orders JOIN deployment USING (owner, dseq)""",
        columns.order,
    ),
    ("SELECT * FROM bid", columns.bid),
    ("SELECT * FROM lease", columns.lease),
    ("SELECT * FROM account", columns.balance),
    # The last of each subject is all that the ledger remembers.
    ("SELECT transfer.*, max(number) FROM transfer GROUP BY subject", columns.transfer),
    (
        "SELECT number, at_ms, body_json, hash FROM record ORDER BY number DESC LIMIT 1",
        columns.record_entry,
    ),
    ("SELECT * FROM answer", columns.answer),
)


_KEPT: dict[type[Row], tuple[str, Callable[[Any], columns.Columns]]] = {
    MemberRow: ("member", columns.of_member),
    InviteRow: ("invite", columns.of_invite),
    DeploymentRow: ("deployment", columns.of_deployment),
    OrderRow: ("orders", columns.of_order),
    BidRow: ("bid", columns.of_bid),
    LeaseRow: ("lease", columns.of_lease),
    BalanceRow: ("account", columns.of_balance),
}
"""Rows that replace the one before."""
_ADDED: dict[type[Row], tuple[str, Callable[[Any], columns.Columns]]] = {
    Transfer: ("transfer", columns.of_transfer),
    RecordEntry: ("record", columns.of_record_entry),
    AnswerRow: ("answer", columns.of_answer),
}
"""Rows that are written once: one's being there already is a bug, and fails the commit."""


def _write(connection: sqlite3.Connection, row: Row) -> None:
    match row:
        case AnswersForgotten():
            connection.execute("DELETE FROM answer WHERE at_ms < ?", (row.before,))
        case LeaseUnknown():
            pass  # told once, and kept nowhere; the version it took is the market's
        case Transfer() | RecordEntry() | AnswerRow():
            _insert(connection, "INSERT", *_ADDED[type(row)], row)
        case _:
            _insert(connection, "INSERT OR REPLACE", *_KEPT[type(row)], row)


def _insert(
    connection: sqlite3.Connection,
    verb: str,
    table: str,
    columns_of: Callable[[Any], columns.Columns],
    row: Row,
) -> None:
    values = columns_of(row)
    marks = ", ".join("?" * len(values))
    # Verb and table are this module's constants, never input.
    connection.execute(f"{verb} INTO {table} VALUES ({marks})", values)
