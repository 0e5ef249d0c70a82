"""Opening a state file: what is refused, what is kept, what survives."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from provider.adapters.store.database import Database, Schema, open_database
from provider.domain.errors import ConfigError, ProviderError


@pytest.fixture
def schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Schema]:
    package = tmp_path / "ledgerpkg"
    (package / "migrations").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "migrations" / "0001_begin.sql").write_text(
        "CREATE TABLE fact (name TEXT PRIMARY KEY) STRICT;\nINSERT INTO fact VALUES ('first');"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield Schema(program="ledger", application_id=0x1234, package="ledgerpkg")
    sys.modules.pop("ledgerpkg", None)


def facts(database: Database) -> list[str]:
    return [name for (name,) in database.connection.execute("SELECT name FROM fact ORDER BY rowid")]


def insert(database: Database, *names: str) -> None:
    with database.transaction() as connection:
        connection.executemany("INSERT INTO fact VALUES (?)", [(name,) for name in names])


def pragma(database: Database, name: str) -> object:
    return database.connection.execute(f"PRAGMA {name}").fetchone()[0]


def test_a_new_file_is_durable_private_and_ours(tmp_path: Path, schema: Schema) -> None:
    path = tmp_path / "state" / "ledger.db"
    with open_database(path, schema) as database:
        names = ("journal_mode", "synchronous", "foreign_keys", "user_version", "application_id")
        assert tuple(pragma(database, name) for name in names) == ("wal", 2, 1, 1, 0x1234)
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.with_name("ledger.db-wal").stat().st_mode & 0o777 == 0o600
        assert facts(database) == ["first"]


def test_what_was_committed_is_there_again_and_what_failed_is_not(tmp_path: Path, schema: Schema) -> None:
    with open_database(tmp_path / "ledger.db", schema) as database:
        insert(database, "kept")
        with pytest.raises(sqlite3.IntegrityError):
            insert(database, "lost", "kept")
    with open_database(tmp_path / "ledger.db", schema) as database:
        assert facts(database) == ["first", "kept"]


def test_a_later_migration_runs_once_and_keeps_a_copy_of_the_older_file(
    tmp_path: Path, schema: Schema
) -> None:
    path = tmp_path / "ledger.db"
    open_database(path, schema).close()
    (tmp_path / "ledgerpkg" / "migrations" / "0002_more.sql").write_text(
        "INSERT INTO fact VALUES ('second');"
    )
    for _ in range(2):
        with open_database(path, schema) as database:
            assert facts(database) == ["first", "second"]
    copy = sqlite3.connect(tmp_path / "ledger.db.schema-1")
    assert copy.execute("SELECT name FROM fact").fetchall() == [("first",)]
    copy.close()


def test_a_migration_that_fails_midway_leaves_the_file_as_it_was(tmp_path: Path, schema: Schema) -> None:
    path = tmp_path / "ledger.db"
    open_database(path, schema).close()
    bad = tmp_path / "ledgerpkg" / "migrations" / "0002_bad.sql"
    bad.write_text("INSERT INTO fact VALUES ('second'); INSERT INTO nowhere VALUES (1);")
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        open_database(path, schema)
    bad.unlink()
    with open_database(path, schema) as database:
        assert facts(database) == ["first"]


def test_a_newer_schema_is_refused(tmp_path: Path, schema: Schema) -> None:
    path = tmp_path / "ledger.db"
    with open_database(path, schema) as database:
        database.connection.execute("PRAGMA user_version = 9")
    with pytest.raises(ConfigError, match="has schema 9, and this ledger knows up to 1") as caught:
        open_database(path, schema)
    assert caught.value.remedy == "run the newer ledger that wrote it, or restore the copy kept beside it"


def test_another_programs_file_is_refused_and_left_alone(tmp_path: Path, schema: Schema) -> None:
    path = tmp_path / "ledger.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE bookmarks (url TEXT)")
    other.commit()
    other.close()
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="is not a ledger's file but another program's"):
        open_database(path, schema)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"), [(b"not a database at all" * 99, "is not a database"), (None, "cannot be opened")]
)
def test_what_is_no_database_is_refused(
    tmp_path: Path, schema: Schema, content: bytes | None, message: str
) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(content) if content else path.mkdir()
    with pytest.raises(ConfigError, match=message):
        open_database(path, schema)


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path: Path, schema: Schema) -> None:
    path = tmp_path / "ledger.db"
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from pathlib import Path\n"
        "from provider.adapters.store.database import Schema, open_database\n"
        f"open_database(Path({str(path)!r}), "
        "Schema(program='ledger', application_id=0x1234, package='ledgerpkg'))\n"
        "print('open', flush=True); sys.stdin.read()\n"
    )
    first = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert first.stdin is not None
    assert first.stdout is not None
    try:
        assert first.stdout.readline() == b"open\n"
        with pytest.raises(ConfigError, match=rf"another ledger runs on .* \(process {first.pid}\)"):
            open_database(path, schema)
    finally:
        first.kill()
        first.wait()
        first.stdin.close()
        first.stdout.close()
    open_database(path, schema).close()


def test_a_full_disk_is_told_as_such(tmp_path: Path, schema: Schema) -> None:
    with open_database(tmp_path / "ledger.db", schema) as database:
        pages = pragma(database, "page_count")
        database.connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(ProviderError, match="the disk is full"):
            insert(database, *(f"fact {number}" for number in range(10_000)))
        assert facts(database) == ["first"]
