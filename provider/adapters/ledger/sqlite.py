"""``ports.Ledger``: records go into a queue, and a thread of its own writes them when nothing else comes.

Owns the thread. The first record wakes it and no other: woken by each of a burst, it and the loop would
take turns at the interpreter's lock. Apart from the agent's database, since nothing here is a promise: a
full disk, a locked or broken file cost records, which are counted, and nothing else. Invariant: ``keep``
returns at once, whatever the disk does, and raises nothing.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from time import monotonic
from typing import TypeVar

import structlog

from provider.adapters.ledger import file
from provider.adapters.ledger.file import LedgerSettings
from provider.core.ledger import LedgerQuery, Record, Story
from provider.domain.errors import Temporary
from provider.domain.ids import OrderId

log = structlog.get_logger()

T = TypeVar("T")

BATCH_MOST = 1000
"""Records in one transaction."""
ANSWER_S = 10.0
"""For a question: a file that is locked for longer is not waited for."""
CLOSE_S = 5.0
"""For what waits to be written when the daemon ends."""


@dataclass(frozen=True, slots=True)
class _Job:
    run: Callable[[sqlite3.Connection], None]
    failed: Callable[[BaseException], None]


class _Closing:
    """Ends the thread once all before it is written."""


class SqliteLedger:
    """Opened when made; ``close`` when done. ``lost`` is told how many records were, from any thread."""

    def __init__(self, settings: LedgerSettings, lost: Callable[[int], None] = lambda _: None) -> None:
        self._settings = settings
        self._lost = lost
        self._waiting: deque[Record | _Job | _Closing] = deque()
        self._arrived = threading.Event()
        self._is_urgent = threading.Event()
        self._is_failing = False
        self._thread = threading.Thread(target=self._live, name="ledger", daemon=True)
        self._thread.start()

    def keep(self, record: Record) -> None:
        if len(self._waiting) >= self._settings.queue_most or not self._thread.is_alive():
            self._lost(1)
            return
        self._waiting.append(record)
        if not self._arrived.is_set():
            self._arrived.set()

    async def stories(self, query: LedgerQuery) -> tuple[Story, ...]:
        return await self._ask(lambda database: file.stories(database, query))

    async def of_order(self, order: OrderId) -> tuple[Story, ...]:
        return await self._ask(lambda database: file.of_order(database, order))

    def close(self) -> None:
        self._put_urgent(_Closing())
        self._thread.join(CLOSE_S)

    def _put_urgent(self, item: _Job | _Closing) -> None:
        self._waiting.append(item)
        self._is_urgent.set()
        self._arrived.set()

    async def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Answered after all that was kept before is written."""
        answer: Future[T] = Future()
        if not self._thread.is_alive():
            raise Temporary("the ledger is closed")
        self._put_urgent(_Job(lambda database: answer.set_result(question(database)), answer.set_exception))
        try:
            async with asyncio.timeout(ANSWER_S):
                return await asyncio.wrap_future(answer)
        except TimeoutError as silence:
            raise Temporary("the ledger's file does not answer", remedy="look at its disk") from silence
        except sqlite3.Error as trouble:
            raise Temporary(f"the ledger cannot be read: {trouble}", remedy="look at its disk") from trouble

    # --- in the thread

    def _live(self) -> None:
        database = file.opened(self._settings.path)
        try:
            while True:
                self._arrived.wait()
                self._linger()
                # Cleared before it is looked at: whatever comes from now on is seen here, or wakes us again.
                self._is_urgent.clear()
                self._arrived.clear()
                while self._waiting:
                    batch, then = self._next()
                    if batch:
                        database = self._written(database, batch)
                    if isinstance(then, _Closing):
                        return
                    if isinstance(then, _Job):
                        self._answer(database, then)
        finally:
            database.close()

    def _linger(self) -> None:
        """Until nothing comes any more, or somebody asks, or it has been long enough."""
        until, seen = monotonic() + self._settings.linger_most_s, 0
        while seen < len(self._waiting) and (left := until - monotonic()) > 0:
            seen = len(self._waiting)
            if self._is_urgent.wait(min(self._settings.linger_s, left)):
                return

    def _next(self) -> tuple[list[Record], _Job | _Closing | None]:
        """Records that wait, and the question that came after them."""
        batch: list[Record] = []
        while self._waiting and len(batch) < BATCH_MOST:
            item = self._waiting.popleft()
            if isinstance(item, _Job | _Closing):
                return batch, item
            batch.append(item)
        return batch, None

    def _written(self, database: sqlite3.Connection, batch: list[Record]) -> sqlite3.Connection:
        """The file to go on with."""
        try:
            file.write(database, batch, self._settings)
        except sqlite3.Error as trouble:
            self._lost(len(batch))
            if not self._is_failing:
                log.warning("ledger_not_written", problem=str(trouble), lost=len(batch))
            self._is_failing = True
            if isinstance(trouble, sqlite3.OperationalError):
                return database  # a disk that is full, a file that is locked: they pass
            database.close()
            return file.opened(self._settings.path)
        self._is_failing = False
        return database

    @staticmethod
    def _answer(database: sqlite3.Connection, job: _Job) -> None:
        try:
            job.run(database)
        except sqlite3.Error as trouble:
            job.failed(trouble)
