"""``ports.TallyBook`` in a SQLite file of its own.

Apart from the agent's database: a sample every few seconds must not wait for its transactions, nor they for
it, and nothing here is a promise or billed from (``side_file``). Invariant: one row for each lease that has
not closed, or not longer ago than ``keep_s``; all work is done in one thread beside the event loop.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import structlog
from cattrs.errors import BaseValidationError
from cattrs.preconf.json import JsonConverter, make_converter

from provider.adapters.side_file import SideFile
from provider.core.attribution import Tally
from provider.domain.ids import LeaseId
from provider.domain.moment import Instant

log = structlog.get_logger()
T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS tally (lease TEXT PRIMARY KEY, totals TEXT NOT NULL, closed_ms INTEGER)
STRICT, WITHOUT ROWID;
"""
_VERSION = 1
_SAVE = "INSERT INTO tally VALUES (?, ?, NULL) ON CONFLICT (lease) DO UPDATE SET totals = excluded.totals"


@dataclass(frozen=True, slots=True, kw_only=True)
class TallySettings:
    path: Path
    keep_s: int = 86_400
    """After the lease's end."""


class SqliteTallies:
    """Opened when made; ``close`` when done."""

    def __init__(self, settings: TallySettings) -> None:
        self._settings = settings
        self._converter = _converter()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tallies")
        file = SideFile(path=settings.path, name="usage", schema=_SCHEMA, version=_VERSION, any_thread=True)
        self._database = file.opened()
        self._is_trouble_told = False

    def close(self) -> None:
        """What is under way is finished first."""
        self._thread.shutdown()
        self._database.close()

    async def load(self) -> tuple[Tally, ...]:
        return await self._do(self._load, ())

    async def save(self, tallies: Sequence[Tally]) -> None:
        await self._do(lambda: self._save(tallies), None)

    async def close_lease(self, lease: LeaseId, at: Instant) -> None:
        await self._do(lambda: self._close(lease, at), None)

    async def _do(self, work: Callable[[], T], otherwise: T) -> T:
        """``work`` in the thread; ``otherwise`` where the file does not take part. Said once in a row."""
        try:
            done = await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.Error as trouble:
            if not self._is_trouble_told:
                log.warning("usage_not_kept", path=str(self._settings.path), problem=str(trouble))
            self._is_trouble_told = True
            return otherwise
        self._is_trouble_told = False
        return done

    def _load(self) -> tuple[Tally, ...]:
        rows = self._database.execute("SELECT lease, totals FROM tally WHERE closed_ms IS NULL").fetchall()
        tallies = []
        for lease, text in rows:
            try:
                tallies.append(self._converter.loads(text, Tally))
            except (BaseValidationError, ValueError) as trouble:
                log.warning("usage_begun_anew", lease=lease, problem=str(trouble))
        return tuple(sorted(tallies, key=lambda each: each.lease))

    def _save(self, tallies: Sequence[Tally]) -> None:
        rows = [(str(each.lease), self._converter.dumps(each)) for each in tallies]
        with self._database as database:
            database.executemany(_SAVE, rows)

    def _close(self, lease: LeaseId, at: Instant) -> None:
        with self._database as database:
            database.execute("UPDATE tally SET closed_ms = ? WHERE lease = ?", (at, str(lease)))
            database.execute("DELETE FROM tally WHERE closed_ms < ?", (at - self._settings.keep_s * 1000,))


def _converter() -> JsonConverter:
    """Totals are whole or not there; what an older file lacks takes its default."""
    return make_converter(omit_if_default=True)
