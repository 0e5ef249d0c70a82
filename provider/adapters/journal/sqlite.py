"""``ports.Journal`` in a SQLite file of its own.

Apart from the agent's database, since nothing here is a promise: a full disk or a broken file costs the
events and nothing else (``side_file``). Invariant: never more than ``events_per_lease`` of a lease, and
nothing of one that closed longer ago than ``keep_s``.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from provider.adapters.side_file import SideFile
from provider.domain.ids import LeaseId
from provider.domain.journal import EventKind, Happening, LeaseEvent
from provider.domain.moment import Instant

log = structlog.get_logger()

TEXT_MOST = 1000
"""Characters: an engine's words can be long."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS lease (
  id TEXT PRIMARY KEY, events INTEGER NOT NULL, closed_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS event (
  lease TEXT NOT NULL, number INTEGER NOT NULL, at_ms INTEGER NOT NULL, kind TEXT NOT NULL,
  service TEXT NOT NULL, replica INTEGER NOT NULL, text TEXT NOT NULL,
  PRIMARY KEY (lease, number)
) STRICT, WITHOUT ROWID;
"""
_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalSettings:
    path: Path
    keep_s: int = 86_400
    """After the lease's end."""
    events_per_lease: int = 500


class SqliteJournal:
    """Opened when made; ``close`` when done."""

    def __init__(self, settings: JournalSettings) -> None:
        self._settings = settings
        self._news = asyncio.Event()
        self._is_closed = False
        file = SideFile(path=settings.path, name="journal", schema=_SCHEMA, version=_VERSION)
        self._database = file.opened()

    def close(self) -> None:
        self._is_closed = True
        self._news.set()
        self._database.close()

    def append(self, lease: LeaseId, happening: Happening) -> None:
        if self._is_closed:
            return
        try:
            self._append(lease, happening)
        except sqlite3.Error as trouble:
            log.warning("journal_not_written", lease=str(lease), problem=str(trouble))
            return
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _append(self, lease: LeaseId, happening: Happening) -> None:
        closed_ms = happening.at if happening.kind is EventKind.CLOSED else None
        name, most = str(lease), self._settings.events_per_lease
        with self._database as database:
            ((number,),) = database.execute(
                "INSERT INTO lease VALUES (?, 1, ?) ON CONFLICT (id) DO UPDATE SET events = events + 1,"
                " closed_ms = coalesce(excluded.closed_ms, closed_ms) RETURNING events",
                (name, closed_ms),
            ).fetchall()
            row = (name, number, happening.at, happening.kind.value, happening.service)
            database.execute(
                "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*row, happening.replica, happening.text[:TEXT_MOST]),
            )
            database.execute("DELETE FROM event WHERE lease = ? AND number <= ?", (name, number - most))
            if closed_ms is not None:
                self._forget_old(database, happening.at)

    def _forget_old(self, database: sqlite3.Connection, at: Instant) -> None:
        old = (at - self._settings.keep_s * 1000,)
        database.execute("DELETE FROM event WHERE lease IN (SELECT id FROM lease WHERE closed_ms < ?)", old)
        database.execute("DELETE FROM lease WHERE closed_ms < ?", old)

    def knows(self, lease: LeaseId, at: Instant) -> bool:
        try:
            row = self._database.execute("SELECT closed_ms FROM lease WHERE id = ?", (str(lease),)).fetchone()
        except sqlite3.Error:
            return False
        return row is not None and (row[0] is None or row[0] + self._settings.keep_s * 1000 >= at)

    def read(self, lease: LeaseId, after: int) -> tuple[LeaseEvent, ...]:
        query = "SELECT number, at_ms, kind, service, replica, text FROM event WHERE lease = ? AND number > ?"
        try:
            rows = self._database.execute(f"{query} ORDER BY number", (str(lease), after)).fetchall()
        except sqlite3.Error as trouble:
            log.warning("journal_not_read", lease=str(lease), problem=str(trouble))
            return ()
        return tuple(
            LeaseEvent(
                number=number,
                happening=Happening(
                    at=Instant(at_ms), kind=EventKind(kind), service=service, replica=replica, text=text
                ),
            )
            for number, at_ms, kind, service, replica, text in rows
            if kind in tuple(EventKind)
        )

    async def follow(self, lease: LeaseId, after: int) -> AsyncIterator[LeaseEvent]:
        while not self._is_closed:
            news = self._news
            for event in self.read(lease, after):
                yield event
                after = event.number
                if event.happening.kind is EventKind.CLOSED:
                    return
            await news.wait()
