"""The file of totals: what a crash, a newer program, another's nonsense or a full disk make of it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from provider.adapters.usage import SqliteTallies, TallySettings
from provider.core.attribution import CardTally, Tally
from provider.domain.ids import GpuUuid, LeaseId
from provider.domain.moment import Instant

LEASE = LeaseId.parse("alice/7/1/1/north")
WRITER = """
import asyncio, sys
from pathlib import Path
from provider.adapters.usage import SqliteTallies, TallySettings
from provider.core.attribution import CardTally, Tally
from provider.domain.ids import GpuUuid, LeaseId
from provider.domain.moment import Instant

async def main():
    book = SqliteTallies(TallySettings(path=Path(sys.argv[1])))
    lease, busy = LeaseId.parse("alice/7/1/1/north"), 0.0
    for tally in await book.load():
        busy = tally.cards[0].busy_s
    while True:
        busy += 1
        card = CardTally(uuid=GpuUuid("GPU-1"), busy_s=busy)
        await book.save((Tally(lease=lease, at=Instant(1), cards=(card,)),))
        print(busy, flush=True)

asyncio.run(main())
"""


def tally(busy_s: float = 1.0) -> Tally:
    return Tally(lease=LEASE, at=Instant(5), cards=(CardTally(uuid=GpuUuid("GPU-1"), busy_s=busy_s),))


def loaded(path: Path) -> tuple[Tally, ...]:
    with closing(SqliteTallies(TallySettings(path=path))) as book:
        return asyncio.run(book.load())


def saved(path: Path, busy_s: float = 1.0) -> None:
    with closing(SqliteTallies(TallySettings(path=path))) as book:
        asyncio.run(book.save((tally(busy_s),)))


def test_kill_9_takes_nothing_that_was_written(tmp_path: Path) -> None:
    path, last = tmp_path / "usage.db", 0.0
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            told = [float(writer.stdout.readline()) for _ in range(20)]
            writer.kill()
            told += [float(line) for line in writer.stdout if line.endswith("\n")]
        assert told[0] == last + 1, "the next life goes on from there"
        (found,) = loaded(path)
        assert found.cards[0].busy_s in {told[-1], told[-1] + 1}
        last = found.cards[0].busy_s or 0.0


def test_an_older_programs_row_is_read(tmp_path: Path) -> None:
    """What it did not know of yet takes its default."""
    path = tmp_path / "usage.db"
    saved(path)
    with closing(sqlite3.connect(path)) as database, database:
        ((text,),) = database.execute("SELECT totals FROM tally").fetchall()
        old = {name: value for name, value in json.loads(text).items() if name in {"lease", "at"}}
        database.execute("UPDATE tally SET totals = ?", (json.dumps(old),))
    assert loaded(path) == (Tally(lease=LEASE, at=Instant(5)),)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"lease": 7, "at": "x"}', '{"at": 1}'])
def test_a_row_that_cannot_be_read_costs_that_lease_and_no_other(tmp_path: Path, text: str) -> None:
    path = tmp_path / "usage.db"
    saved(path)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("INSERT INTO tally VALUES ('bob/1/1/1/north', ?, NULL)", (text,))
    assert loaded(path) == (tally(),)


def test_a_newer_programs_file_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "usage.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA user_version = 99")
    assert loaded(path) == ()
    saved(path, 3.0)
    assert loaded(path) == (tally(3.0),)
    assert (tmp_path / "usage.broken").exists()


def test_what_is_no_database_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "usage.db"
    path.write_text("no database" * 1000)
    assert loaded(path) == ()
    assert (tmp_path / "usage.broken").read_text().startswith("no database")


def test_it_is_for_its_owner_alone(tmp_path: Path) -> None:
    saved(tmp_path / "usage.db")
    assert (tmp_path / "usage.db").stat().st_mode & 0o077 == 0


def test_where_nothing_can_be_written_nothing_is_kept_and_nothing_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with closing(SqliteTallies(TallySettings(path=tmp_path / "file" / "usage.db"))) as book:
        asyncio.run(book.save((tally(),)))
        assert asyncio.run(book.load()) == (tally(),), "in memory, as long as it lives"


def test_a_disk_that_fills_up_costs_samples_and_is_said_once(tmp_path: Path) -> None:
    path = tmp_path / "usage.db"
    with capture_logs() as logs, closing(SqliteTallies(TallySettings(path=path))) as book:
        asyncio.run(book.save((tally(),)))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            ((pages,),) = other.execute("PRAGMA page_count").fetchall()
            book._database.execute(f"PRAGMA max_page_count = {pages}")
            many = tuple(
                Tally(lease=LeaseId.parse(f"alice/{number}/1/1/north"), at=Instant(1))
                for number in range(1, 2000)
            )
            for _ in range(3):
                asyncio.run(book.save(many))
            book._database.execute("PRAGMA max_page_count = 100000")
        asyncio.run(book.save((tally(2.0),)))
        assert asyncio.run(book.load()) == (tally(2.0),)
    assert [each["event"] for each in logs] == ["usage_not_kept"]
