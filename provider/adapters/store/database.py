"""Opens one program's SQLite file: durable, private, of a known schema, and held by one process only.

Owns the file's pragmas, its lock, its migrations and the mapping of SQLite's errors. Does not own any
table: the numbered ``.sql`` files beside each program do, and so do the queries.

**Invariant:** what ``transaction`` was left without an error survives kill -9 and power loss
(WAL with ``synchronous=FULL``), and no second process writes the same file.

Migrations are ``<folder>/NNNN_<what>.sql``, numbered from 1 without gaps. Each runs in a transaction of
its own that also sets ``user_version``; before the first one a copy of an older file is kept beside it.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Self

from provider.domain.errors import ConfigError, Permanent, ProviderError, Temporary

OLDEST_SQLITE = (3, 37, 0)
"""STRICT tables: https://www.sqlite.org/stricttables.html"""
BUSY_TIMEOUT_MS = 5_000
"""How long to wait for another connection's lock: a backup being read, an operator's ``sqlite3`` shell."""

_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}",
    "PRAGMA trusted_schema = OFF",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """Whose file it is and where its migrations are."""

    program: str
    """For people: ``coordinator``."""
    application_id: int
    """Written into the file's header (32 bits): another program's file is refused by it."""
    package: str
    """Importable package that has the folder."""
    folder: str = "migrations"

    def migrations(self) -> tuple[str, ...]:
        """The SQL of each migration, the first one first."""
        folder = resources.files(self.package) / self.folder
        scripts = sorted(
            (each for each in folder.iterdir() if each.name.endswith(".sql")), key=lambda each: each.name
        )
        numbers = [int(each.name.split("_")[0]) for each in scripts]
        assert numbers == list(range(1, len(numbers) + 1)), f"migrations are numbered from 1, not {numbers}"
        return tuple(each.read_text(encoding="utf-8") for each in scripts)


class Database:
    """An open file. Used by one thread at a time; leaving it closes the file and gives up the lock."""

    def __init__(self, connection: sqlite3.Connection, lock: int, path: Path) -> None:
        self.connection = connection
        self.path = path
        self._lock = lock

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Idempotent."""
        self.connection.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything inside is committed together, or not at all when it raises."""
        with _mapped(self.path):
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    def rewrite(self) -> bool:
        """Write the file anew without free pages, and empty its log; False where a reader kept the log."""
        with _mapped(self.path):
            self.connection.execute("VACUUM")
            (is_busy, *_) = self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not is_busy


def open_database(path: Path, schema: Schema) -> Database:
    """Open ``path``, making it where it is missing, and bring it to the newest schema.

    Raises ``ConfigError`` when the file cannot be used: held by another process, another program's, of a
    newer schema, damaged, or not ours to read.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise ConfigError(
            f"this Python has SQLite {sqlite3.sqlite_version}, and STRICT tables came with 3.37",
            remedy="use a Python that is linked to SQLite 3.37 or newer",
        )
    lock = _lock(path, schema)
    try:
        with _mapped(path):
            connection = _connect(path)
            try:
                _check_owner(connection, path, schema)
                for pragma in _PRAGMAS:
                    connection.execute(pragma)
                _migrate(connection, path, schema)
            except BaseException:
                connection.close()
                raise
    except BaseException:
        os.close(lock)
        raise
    return Database(connection, lock, path)


def _lock(path: Path, schema: Schema) -> int:
    """A file of its own: closing any descriptor of the database itself would drop SQLite's own locks."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(
            f"{path.parent} cannot be written: {error.strerror}",
            remedy="choose a state folder that this user may write to",
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
        os.close(lock)
        raise ConfigError(
            f"another {schema.program} runs on {path}" + (f" (process {holder})" if holder else ""),
            remedy="stop it first, or give this one a state folder of its own",
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode("ascii"), 0)
    return lock


def _connect(path: Path) -> sqlite3.Connection:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be opened: {error.strerror}",
            remedy="give this user the right to read and write it",
        ) from error
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


def _check_owner(connection: sqlite3.Connection, path: Path, schema: Schema) -> None:
    owner = _number(connection, "PRAGMA application_id")
    version = _number(connection, "PRAGMA user_version")
    tables = _number(connection, "SELECT count(*) FROM sqlite_schema")
    if owner != schema.application_id and (owner or version or tables):
        raise ConfigError(
            f"{path} is not a {schema.program}'s file but another program's",
            remedy=f"point the {schema.program} at another state folder, or move that file away",
        )
    newest = len(schema.migrations())
    if version > newest:
        raise ConfigError(
            f"{path} has schema {version}, and this {schema.program} knows up to {newest}",
            remedy=f"run the newer {schema.program} that wrote it, or restore the copy kept beside it",
        )


def _migrate(connection: sqlite3.Connection, path: Path, schema: Schema) -> None:
    version = _number(connection, "PRAGMA user_version")
    pending = schema.migrations()[version:]
    if version and pending:
        _keep_copy(connection, path.with_name(f"{path.name}.schema-{version}"))
    for number, script in enumerate(pending, start=version + 1):
        try:
            # executescript commits what is open before it starts, so the transaction is in the script.
            connection.executescript(
                f"BEGIN IMMEDIATE;\n{script}\nPRAGMA application_id = {schema.application_id};\n"
                f"PRAGMA user_version = {number};\nCOMMIT;"
            )
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _keep_copy(connection: sqlite3.Connection, target: Path) -> None:
    os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    with closing(sqlite3.connect(target)) as copy:
        connection.backup(copy)


def _number(connection: sqlite3.Connection, query: str) -> int:
    (value,) = connection.execute(query).fetchone()
    return int(value)


# Result codes and their meanings: https://www.sqlite.org/rescode.html (primary codes).
_REASONS: dict[int, tuple[type[ProviderError], str, str]] = {
    sqlite3.SQLITE_BUSY: (Temporary, "is locked by another program", "close the program that reads it"),
    sqlite3.SQLITE_LOCKED: (Temporary, "is locked by another program", "close the program that reads it"),
    sqlite3.SQLITE_FULL: (Temporary, "cannot grow: the disk is full", "free some space on its disk"),
    sqlite3.SQLITE_IOERR: (Permanent, "cannot be written: the disk failed", "look at the kernel's log"),
    sqlite3.SQLITE_CORRUPT: (ConfigError, "is damaged", "restore it from a copy"),
    sqlite3.SQLITE_NOTADB: (ConfigError, "is not a database", "move that file away"),
    sqlite3.SQLITE_READONLY: (ConfigError, "is read-only", "give this user the right to write it"),
    sqlite3.SQLITE_CANTOPEN: (
        ConfigError,
        "cannot be opened",
        "give this user the right to write its folder",
    ),
}


@contextmanager
def _mapped(path: Path) -> Iterator[None]:
    """SQLite's complaints about the file as ours; a query that is wrong is a bug and passes through."""
    try:
        yield
    except sqlite3.Error as error:
        reason = _REASONS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
        if reason is None:
            raise
        kind, what, remedy = reason
        raise kind(f"{path} {what} ({error})", remedy=remedy) from error
