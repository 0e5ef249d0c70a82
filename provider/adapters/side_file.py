"""SQLite files beside the agent's database: of what is good to have and nobody was promised.

A full disk, a broken file or one of a newer program costs what is in it, and nothing else. Written ahead and
synchronous NORMAL: a commit waits for no disk, kill -9 takes nothing, and what a power cut takes is the last
of it, never the file.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

import structlog

log = structlog.get_logger()

BUSY_S = 2.0
"""Whoever else has the file open is waited for so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SideFile:
    """``name`` is its part of what is logged: ``NAME_begun_anew``, ``NAME_not_kept``."""

    path: Path
    name: str
    schema: str
    """Statements that make what is not there."""
    version: int
    any_thread: bool = False
    """Whether other threads than the one that opens it use it, one at a time."""

    def opened(self) -> sqlite3.Connection:
        """The file; a new one where it cannot be read or is a newer program's; none, in memory, where there
        is no room."""
        try:
            return self._open()
        except (sqlite3.Error, OSError) as trouble:
            log.warning(f"{self.name}_begun_anew", path=str(self.path), problem=str(trouble))
        try:
            self.path.replace(self.path.with_suffix(".broken"))
            return self._open()
        except (sqlite3.Error, OSError) as trouble:
            log.warning(f"{self.name}_not_kept", path=str(self.path), problem=str(trouble))
            return self._prepared(self._connected(":memory:"))

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.touch(mode=0o600)
        database = self._connected(self.path)
        try:
            return self._prepared(database)
        except sqlite3.Error:
            database.close()
            raise

    def _connected(self, place: Path | str) -> sqlite3.Connection:
        return sqlite3.connect(place, timeout=BUSY_S, check_same_thread=not self.any_thread)

    def _prepared(self, database: sqlite3.Connection) -> sqlite3.Connection:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        ((version,),) = database.execute("PRAGMA user_version").fetchall()
        if version not in (0, self.version):
            raise sqlite3.DatabaseError(f"has schema {version}")
        database.executescript(self.schema)
        database.execute(f"PRAGMA user_version = {self.version}")
        return database
