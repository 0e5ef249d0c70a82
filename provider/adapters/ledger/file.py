"""The ledger's SQLite file: one table of records in the order in which they came, bounded.

Owns the schema, what a later record does to an earlier decision, and what goes when there is too much. Does
not own threads: one at a time uses it. Invariant: never more than ``rows_most`` records, nor any older than
``keep_s``, save what is still open or a lease, and the last of each that says what there was.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from provider.adapters.ledger.rows import record_text, record_value
from provider.adapters.side_file import SideFile
from provider.core.ledger import (
    LIVE,
    OPEN,
    Began,
    Decided,
    Fate,
    LedgerQuery,
    Named,
    OrderGone,
    Record,
    Story,
    Turned,
    of_held,
)
from provider.domain.errors import ConfigError
from provider.domain.ids import OrderId

_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS record (
  number INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, kind TEXT NOT NULL,
  order_id TEXT NOT NULL, fate TEXT NOT NULL, reason TEXT NOT NULL, body TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS record_order ON record (order_id, number);
CREATE INDEX IF NOT EXISTS record_kind ON record (kind, fate, number);
CREATE INDEX IF NOT EXISTS record_at ON record (at_ms);
"""
_LIVE = ", ".join(f"'{fate}'" for fate in sorted(LIVE))
_OPEN = ", ".join(f"'{fate}'" for fate in sorted(OPEN))
_KEPT = (
    f"NOT (kind = 'Decided' AND fate IN ({_LIVE})) AND number NOT IN"  # noqa: S608 - of constants
    " (SELECT max(number) FROM record WHERE kind IN ('Seen', 'Drained', 'Began') GROUP BY kind)"
)
"""What may go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerSettings:
    path: Path
    rows_most: int = 100_000
    """Records: an order that is refused makes two, one that is won about six."""
    keep_s: int = 30 * 86_400
    queue_most: int = 20_000
    """Records that wait to be written; more are lost."""
    linger_s: float = 0.2
    """They wait until so long nothing came, so that orders that come together are bid on first."""
    linger_most_s: float = 2.0
    """But the first of them no longer than this, where more comes all the time: what kill -9 can cost."""


def opened(path: Path) -> sqlite3.Connection:
    """The file, or what takes its place."""
    return SideFile(path=path, name="ledger", schema=_SCHEMA, version=_VERSION).opened()


def write(database: sqlite3.Connection, records: Iterable[Record], settings: LedgerSettings) -> None:
    """All of ``records`` in one transaction, and what is too much removed. Raises what sqlite3 raises."""
    with database:
        for record in records:
            _write(database, record)
        _forget(database, settings)


def _write(database: sqlite3.Connection, record: Record) -> None:
    if isinstance(record, Began):
        _begin(database, record)
    elif isinstance(record, Turned):
        _turn(database, record)
    _insert(database, record, record.fate if isinstance(record, Decided) else "")


def _insert(database: sqlite3.Connection, record: Record, fate: str) -> None:
    order, reason = "", ""
    if isinstance(record, Decided):
        order, reason = str(record.order.id), record.why or ""
    elif isinstance(record, Turned | OrderGone | Named):
        order = str(record.order)
    row = (record.at, type(record).__name__, order, fate, reason, record_text(record))
    database.execute(
        "INSERT INTO record (at_ms, kind, order_id, fate, reason, body) VALUES (?, ?, ?, ?, ?, ?)",
        row,
    )


def _turn(database: sqlite3.Connection, turned: Turned) -> None:
    """What came of it, on the last decision to bid on the order; news of it may come after its end."""
    only = " AND fate = 'decided'" if turned.fate is Fate.SUBMITTED else ""
    database.execute(
        "UPDATE record SET fate = ? WHERE number = (SELECT max(number) FROM record"  # noqa: S608 - ours
        f" WHERE order_id = ? AND kind = 'Decided' AND reason = ''){only}",
        (turned.fate, str(turned.order)),
    )


def _begin(database: sqlite3.Connection, began: Began) -> None:
    """What the store says is open or a lease is so; of what it does not know, the end was not written."""
    held = {str(each.order.id): each for each in began.held}
    known = set()
    for number, order in database.execute(
        f"SELECT number, order_id FROM record WHERE kind = 'Decided' AND fate IN ({_LIVE})"  # noqa: S608
    ).fetchall():
        known.add(order)
        if order not in held:
            database.execute("UPDATE record SET fate = ? WHERE number = ?", (Fate.UNKNOWN, number))
        elif held[order].is_lease:
            database.execute("UPDATE record SET fate = ? WHERE number = ?", (Fate.WON, number))
    for order, each in held.items():
        if order not in known:
            _insert(database, of_held(each, began), Fate.WON if each.is_lease else Fate.DECIDED)


def _forget(database: sqlite3.Connection, settings: LedgerSettings) -> None:
    ((newest, last),) = database.execute("SELECT max(number), max(at_ms) FROM record").fetchall()
    if newest is None:
        return
    database.execute(
        f"DELETE FROM record WHERE number <= ? AND {_KEPT}",  # noqa: S608 - of constants
        (newest - settings.rows_most,),
    )
    database.execute(
        f"DELETE FROM record WHERE at_ms < ? AND {_KEPT}",  # noqa: S608 - of constants
        (last - settings.keep_s * 1000,),
    )


def stories(database: sqlite3.Connection, query: LedgerQuery) -> tuple[Story, ...]:
    """Decisions, those that are open first, then the newest first."""
    where, values = ["kind = 'Decided'"], list[object]()
    if query.since is not None:
        where.append("at_ms >= ?")
        values.append(query.since)
    for column, wanted in (("fate", query.fates), ("reason", query.reasons)):
        if wanted:
            where.append(f"{column} IN ({', '.join('?' * len(wanted))})")
            values += sorted(wanted)
    rows = database.execute(
        f"SELECT number, fate, body FROM record WHERE {' AND '.join(where)}"  # noqa: S608 - of constants
        f" ORDER BY fate IN ({_OPEN}) DESC, number DESC LIMIT ?",
        (*values, query.limit),
    ).fetchall()
    return _stories(database, rows)


def of_order(database: sqlite3.Connection, order: OrderId) -> tuple[Story, ...]:
    """Every decision on ``order`` that is kept, oldest first."""
    rows = database.execute(
        "SELECT number, fate, body FROM record WHERE order_id = ? AND kind = 'Decided' ORDER BY number",
        (str(order),),
    ).fetchall()
    return _stories(database, rows)


def _stories(database: sqlite3.Connection, rows: Iterable[tuple[int, str, str]]) -> tuple[Story, ...]:
    """Without those that another version of this program wrote and this one cannot read."""
    read = ((number, fate, record_value(body)) for number, fate, body in rows)
    return tuple(
        Story(decided=decided, fate=Fate(fate), turns=_turns(database, number, decided))
        for number, fate, decided in read
        if isinstance(decided, Decided)
    )


def _turns(database: sqlite3.Connection, number: int, decided: Decided) -> tuple[Turned, ...]:
    """What came of the decision, until there was another on the same order."""
    rows = database.execute(
        "SELECT body FROM record WHERE order_id = ? AND kind = 'Turned' AND number > ?"
        " AND number < coalesce((SELECT min(number) FROM record WHERE order_id = ?"
        " AND kind = 'Decided' AND number > ?), 9e18) ORDER BY number",
        (str(decided.order.id), number) * 2,
    ).fetchall()
    return tuple(turn for (body,) in rows if isinstance(turn := record_value(body), Turned))


def read_all(path: Path) -> Iterator[Record]:
    """Every record of the file, oldest first, also while a daemon writes it. ``ConfigError`` if it cannot."""
    try:
        if not path.exists():
            raise ConfigError(f"{path}: there is no ledger", remedy="it is made by `provider run`")
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2)) as database:
            for (body,) in database.execute("SELECT body FROM record ORDER BY number"):
                record = record_value(body)
                if record is not None:
                    yield record
    except (sqlite3.Error, OSError) as trouble:
        raise ConfigError(f"{path}: {trouble}", remedy="run it as the daemon's user, or root") from trouble
