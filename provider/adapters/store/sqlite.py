"""The agent's memory in one SQLite file: state and intentions, committed together.

Owns which rows a step changes: of what the steps touched it compares the values of the state it last
committed with those of the new one, and writes only what differs. What holds a manifest is sealed
(``sealing``).
Invariant: after ``commit`` returns, the steps survive kill -9 and power loss; before it returns, nothing of
them does.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar, cast

from provider.adapters.store import rows
from provider.adapters.store.database import Database, Schema, open_database
from provider.adapters.store.seal import Seal, WrongKey
from provider.adapters.store.sealing import effect_text, lease_text, under_seal
from provider.core.effects import Effect
from provider.core.learning import WinCurve
from provider.core.policy import Policy
from provider.core.state import AgentState, Lease, Market, OpenBid, WaitingOrder
from provider.core.step import Step
from provider.domain.errors import ConfigError
from provider.domain.gpu_health import GpuRecord
from provider.domain.idle import IdleRun
from provider.domain.ids import GpuUuid, LeaseId, MarketId, OrderId

K = TypeVar("K", LeaseId, OrderId, GpuUuid, str)
V = TypeVar("V", OpenBid, Lease, WaitingOrder, GpuRecord, WinCurve, IdleRun)

SCHEMA = Schema(program="provider", application_id=0x47505250, package="provider.adapters.store")
"""The id reads GPRP in the file's header."""


class SqliteStore:
    """``ports.Store`` in a file. Used by one thread at a time."""

    def __init__(self, database: Database, policy: Policy, seal: Seal) -> None:
        self._database = database
        self._seal = seal
        self._committed = AgentState(policy=policy)

    @classmethod
    def open(cls, path: Path, policy: Policy, key_file: Path | None = None) -> SqliteStore:
        """Open or make ``path``; the key is in ``key_file``, by default in a file beside it that is made.

        ``ConfigError`` when it cannot be used: another process holds it, the key is not the right one.
        """
        database = open_database(path, SCHEMA)
        try:
            return cls(database, policy, under_seal(database, key_file))
        except BaseException:
            database.close()
            raise

    def close(self) -> None:
        self._database.close()

    def load(self) -> tuple[AgentState, tuple[Effect, ...]]:
        """The last committed state, and every effect whose result was not committed, oldest first."""
        connection = self._database.connection
        (is_draining,) = connection.execute("SELECT is_draining FROM position").fetchone()
        markets = {
            MarketId(key): Market(name=name, version=version, bid_deposit=bid_deposit)
            for key, name, version, bid_deposit in connection.execute(
                "SELECT id, name, version, bid_deposit FROM market"
            )
        }
        bids = {
            LeaseId.parse(name): rows.row_value(body, OpenBid)
            for name, body in connection.execute("SELECT id, body FROM bid")
        }
        leases = {
            LeaseId.parse(name): rows.row_value(self._opened("lease", name, body), Lease)
            for name, body in connection.execute("SELECT id, body FROM lease")
        }
        orders = {
            OrderId.parse(name): rows.row_value(body, WaitingOrder)
            for name, body in connection.execute("SELECT id, body FROM waiting_order")
        }
        records = {
            GpuUuid(name): rows.row_value(body, GpuRecord)
            for name, body in connection.execute("SELECT id, body FROM gpu_record")
        }
        effects = tuple(
            rows.effect_value(self._opened("effect", name, body))
            for name, body in connection.execute("SELECT id, body FROM effect ORDER BY number")
        )
        self._committed = AgentState(
            policy=self._committed.policy,
            bids=bids,
            leases=leases,
            orders=dict(sorted(orders.items(), key=lambda item: item[1].version)),
            markets=markets,
            gpu_records=records,
            curves={
                name: rows.row_value(body, WinCurve)
                for name, body in connection.execute("SELECT id, body FROM win_curve")
            },
            idle={
                GpuUuid(name): rows.row_value(body, IdleRun)
                for name, body in connection.execute("SELECT id, body FROM idle_run")
            },
            is_draining=bool(is_draining),
        )
        return self._committed, effects

    def commit(self, steps: Sequence[Step]) -> None:
        """The last state of ``steps``, and of all of them the new effects less the settled ones."""
        if not steps:
            return
        before, after = self._committed, steps[-1].state
        settled = [effect for step in steps for effect in step.settled]
        effects = [effect for step in steps for effect in step.effects]
        if not (settled or effects) and _same(before, after):
            self._committed = after
            return
        with self._database.transaction() as connection:
            if before.is_draining is not after.is_draining:
                connection.execute("UPDATE position SET is_draining = ?", (int(after.is_draining),))
            if before.markets is not after.markets:
                self._write_markets(connection, _markets(before), _markets(after))
            touched = _touched(steps)
            self._write_changes("bid", before.bids, after.bids, touched)
            self._write_changes("lease", before.leases, after.leases, touched)
            self._write_changes("waiting_order", before.orders, after.orders, touched)
            self._write_changes("gpu_record", before.gpu_records, after.gpu_records, None)
            self._write_changes("win_curve", before.curves, after.curves, None)
            self._write_changes("idle_run", before.idle, after.idle, None)
            connection.executemany(
                "INSERT INTO effect (id, body) VALUES (?, ?)",
                [(effect.id, self._closed("effect", effect.id, *effect_text(effect))) for effect in effects],
            )
            connection.executemany("DELETE FROM effect WHERE id = ?", [(effect,) for effect in settled])
        self._committed = after

    def _write_markets(
        self,
        connection: sqlite3.Connection,
        before: Mapping[MarketId, Market],
        after: Mapping[MarketId, Market],
    ) -> None:
        connection.executemany(
            "INSERT OR REPLACE INTO market (id, name, version, bid_deposit) VALUES (?, ?, ?, ?)",
            [
                (key, market.name, market.version, market.bid_deposit)
                for key, market in after.items()
                if before.get(key) != market
            ],
        )
        connection.executemany(
            "DELETE FROM market WHERE id = ?", [(key,) for key in before if key not in after]
        )

    def _write_changes(
        self,
        table: str,
        before: Mapping[K, V],
        after: Mapping[K, V],
        touched: Iterable[LeaseId | OrderId] | None,
    ) -> None:
        """Of the rows named in ``touched``, those of other tables among them, or of all of them."""
        if before is after:
            return
        old_rows: Mapping[object, V] = cast("Mapping[object, V]", before)
        new_rows: Mapping[object, V] = cast("Mapping[object, V]", after)
        changed, gone = [], []
        for key in {*old_rows, *new_rows} if touched is None else touched:
            value, old = new_rows.get(key), old_rows.get(key)
            if value is None and old is not None:
                gone.append((str(key),))
            elif value is not None and value is not old:
                changed.append((str(key), self._closed(table, str(key), *_row_text(value))))
        connection = self._database.connection
        # The table's name is one of six constants of this module, never input.
        connection.executemany(f"INSERT OR REPLACE INTO {table} (id, body) VALUES (?, ?)", changed)  # noqa: S608
        connection.executemany(f"DELETE FROM {table} WHERE id = ?", gone)  # noqa: S608

    def _closed(self, table: str, name: str, text: str, is_secret: bool) -> str:
        return self._seal.close(f"{table}/{name}", text) if is_secret else text

    def _opened(self, table: str, name: str, body: str) -> str:
        try:
            return self._seal.open(f"{table}/{name}", body)
        except WrongKey as error:
            raise ConfigError(
                f"{self._database.path} is damaged: {table} {name} does not open with its key",
                remedy="restore it from a copy",
            ) from error


def _row_text(value: OpenBid | Lease | WaitingOrder | GpuRecord | WinCurve | IdleRun) -> tuple[str, bool]:
    return lease_text(value) if isinstance(value, Lease) else (rows.row_text(value), False)


def _touched(steps: Sequence[Step]) -> frozenset[LeaseId | OrderId] | None:
    """By any of ``steps``; None where one of them does not say."""
    names: set[LeaseId | OrderId] = set()
    for step in steps:
        if step.touched is None:
            return None
        names |= step.touched
    return frozenset(names)


def _same(before: AgentState, after: AgentState) -> bool:
    """Whether nothing that is stored differs."""
    return (
        before.bids is after.bids
        and before.leases is after.leases
        and before.orders is after.orders
        and before.gpu_records is after.gpu_records
        and before.curves is after.curves
        and before.idle is after.idle
        and before.is_draining is after.is_draining
        and (before.markets is after.markets or _markets(before) == _markets(after))
    )


def _markets(state: AgentState) -> Mapping[MarketId, Market]:
    return {key: market.kept for key, market in state.markets.items()}
