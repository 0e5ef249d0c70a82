"""The ledger's file and its thread: bounds, a kill, a full disk, a locked or broken file; who feeds it."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from provider.adapters.clock import SystemClock
from provider.adapters.ledger import LedgerSettings, SqliteLedger, file
from provider.adapters.telemetry.metrics import Metrics
from provider.app.observing import Observing
from provider.core.agent import transition
from provider.core.events import OrderOpened
from provider.core.ledger import Decided, Fate, LedgerQuery, Record, Seen, Story
from provider.domain.errors import ConfigError, Temporary
from provider.sim.ledger import MemoryLedger
from provider.sim.waiting import until
from tests.agents import START, Agent, healthy, order

WRITER = """
import asyncio, sys
from pathlib import Path
from tests.unit.ledger.test_ledger_file import *
ledger = SqliteLedger(LedgerSettings(path=Path(sys.argv[1]), linger_s=0))
for record in decisions(30):
    ledger.keep(record)
assert len(stories(ledger)) == 30
print("written", flush=True)
ledger.keep(decisions(1)[0])
signal.pause()
"""
FULL = """
import resource, sys
from pathlib import Path
from tests.unit.ledger.test_ledger_file import *
lost = []
path = Path(sys.argv[1])
ledger = SqliteLedger(LedgerSettings(path=path, linger_s=0), lost.append)
ledger.keep(decisions(1)[0])
assert len(stories(ledger)) == 1
resource.setrlimit(resource.RLIMIT_FSIZE, (path.with_name("ledger.db-wal").stat().st_size, -1))
for record in decisions(50):
    ledger.keep(record)
kept = len(stories(ledger, 1000))
assert kept + sum(lost) == 51 and sum(lost) > 0, (kept, lost)
resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
ledger.keep(decisions(1)[0])
assert len(stories(ledger, 1000)) == kept + 1
ledger.close()
print("well", flush=True)
"""


def decisions(count: int) -> list[Record]:
    """Of so many orders, each refused for want of a card."""
    agent = Agent()
    for number in range(1, count + 1):
        agent.passes(1000)
        agent.opens(number)
    return agent.records


def stories(ledger: SqliteLedger, limit: int = 100) -> tuple[Story, ...]:
    async def ask() -> tuple[Story, ...]:
        return await ledger.stories(LedgerQuery(limit=limit))

    return asyncio.run(ask())


@contextmanager
def opened(settings: LedgerSettings, lost: list[int] | None = None) -> Iterator[SqliteLedger]:
    counted: list[int] = [] if lost is None else lost
    ledger = SqliteLedger(settings, counted.append)
    try:
        yield ledger
    finally:
        ledger.close()


@pytest.fixture
def settings(tmp_path: Path) -> LedgerSettings:
    return LedgerSettings(path=tmp_path / "ledger.db", linger_s=0)


def rows(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        ((count,),) = database.execute("SELECT count(*) FROM record").fetchall()
        return int(count)


def test_what_was_written_is_there_after_kill_9(settings: LedgerSettings) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(settings.path)], stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written\n"
        os.kill(writer.pid, signal.SIGKILL)
    with opened(settings) as ledger:
        assert {story.decided.order.id.dseq for story in stories(ledger)} >= set(range(1, 31))
        assert settings.path.stat().st_mode & 0o777 == 0o600


def test_a_full_disk_costs_records_which_are_counted_until_there_is_room(settings: LedgerSettings) -> None:
    told = subprocess.run(
        [sys.executable, "-c", FULL, str(settings.path)], capture_output=True, text=True, check=False
    )
    assert told.stdout.splitlines()[-1:] == ["well"], told.stdout + told.stderr
    assert told.stdout.count("ledger_not_written") == 1, "said once, however many"


def test_a_locked_file_holds_nobody_up(settings: LedgerSettings) -> None:
    lost: list[int] = []
    with opened(settings, lost) as ledger:
        ledger.keep(decisions(1)[0])
        assert len(stories(ledger)) == 1
        with closing(sqlite3.connect(settings.path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            for record in decisions(5):
                ledger.keep(record)  # returns, although nothing can be written
            assert len(stories(ledger)) == 1, "it gave up, and can be read"
            assert sum(lost) == 5
            other.execute("ROLLBACK")
        ledger.keep(decisions(1)[0])
        assert len(stories(ledger)) == 2


def test_more_than_may_wait_is_lost_and_counted(settings: LedgerSettings) -> None:
    lost: list[int] = []
    with opened(replace(settings, queue_most=10, linger_s=3600), lost) as ledger:
        for record in decisions(30):
            ledger.keep(record)
        kept = len(stories(ledger))  # a question ends the waiting for more
        assert kept + sum(lost) == 30
        assert sum(lost) >= 19, "what the thread had taken, and ten that waited"


def test_while_more_comes_records_wait_but_not_for_ever(settings: LedgerSettings) -> None:
    with opened(replace(settings, linger_s=3600, linger_most_s=0.3)) as ledger:
        assert stories(ledger) == ()
        ledger.keep(decisions(1)[0])
        assert rows(settings.path) == 0
        asyncio.run(until(lambda: rows(settings.path) == 1))


def test_never_more_than_so_many_records(settings: LedgerSettings) -> None:
    with opened(replace(settings, rows_most=20)) as ledger:
        for record in decisions(200):
            ledger.keep(record)
        assert [s.decided.order.id.dseq for s in stories(ledger)] == list(range(200, 180, -1))
    assert rows(settings.path) == 20


def test_what_is_old_goes_but_not_what_is_open_nor_what_there_last_was(settings: LedgerSettings) -> None:
    agent = Agent(*healthy(0))
    agent.opens(1)
    agent.opens(2)
    agent.awards(1)
    agent.passes(100_000)
    agent.opens(3)
    with opened(replace(settings, keep_s=60)) as ledger:
        for record in agent.records:
            ledger.keep(record)
        assert [(s.decided.order.id.dseq, s.fate) for s in stories(ledger)] == [
            (3, Fate.REFUSED),
            (1, Fate.WON),
        ]
    kinds = [type(record) for record in file.read_all(settings.path)]
    assert kinds == [Seen, Decided, Decided], "the inventory, the lease, the newest"


@pytest.mark.parametrize("what", ["garbage", "newer"])
def test_a_file_that_cannot_be_used_is_put_aside(settings: LedgerSettings, what: str) -> None:
    if what == "garbage":
        settings.path.write_bytes(b"this is no database at all" * 1000)
    else:
        with closing(sqlite3.connect(settings.path)) as newer:
            newer.execute("PRAGMA user_version = 99")
    with opened(settings) as ledger:
        ledger.keep(decisions(1)[0])
        assert len(stories(ledger)) == 1
    assert settings.path.with_suffix(".broken").exists()


def test_without_a_file_it_goes_on_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with opened(LedgerSettings(path=tmp_path / "file" / "ledger.db", linger_s=0)) as ledger:
        ledger.keep(decisions(1)[0])
        assert len(stories(ledger)) == 1


def test_a_record_of_another_program_is_passed_over(settings: LedgerSettings) -> None:
    with opened(settings) as ledger:
        for record in decisions(2):
            ledger.keep(record)
    with closing(sqlite3.connect(settings.path)) as other:
        other.execute('UPDATE record SET body = \'{"record": "Sung"}\' WHERE number = 1')
        other.commit()
    with opened(settings) as ledger:
        assert [story.decided.order.id.dseq for story in stories(ledger)] == [2]
    assert len(list(file.read_all(settings.path))) == 1


def test_what_waits_is_written_when_the_daemon_ends(settings: LedgerSettings) -> None:
    with opened(replace(settings, linger_s=3600)) as ledger:
        for record in decisions(3):
            ledger.keep(record)
    assert rows(settings.path) == 3
    lost: list[int] = []
    with opened(settings, lost) as ledger:
        ledger.close()
        ledger.keep(decisions(1)[0])  # nothing fails
        assert lost == [1]
        with pytest.raises(Temporary, match="the ledger is closed"):
            stories(ledger)


def test_a_file_that_is_not_there_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no ledger"):
        list(file.read_all(tmp_path / "ledger.db"))
    (tmp_path / "other.db").write_bytes(b"nothing of ours" * 400)
    with pytest.raises(ConfigError, match="not a database"):
        list(file.read_all(tmp_path / "other.db"))


def test_the_observer_feeds_it_with_what_the_step_took() -> None:
    ledger = MemoryLedger()
    observing = Observing(Metrics(version="0"), SystemClock(), ledger=ledger)
    agent = Agent(*healthy(0))
    event = OrderOpened(order=order(), version=1)
    observing.step(event, transition(agent.state, event, START), START, 77)
    there_is, decided = ledger.records
    assert isinstance(there_is, Seen)
    assert isinstance(decided, Decided)
    assert (decided.order, decided.took_us, decided.at) == (order(), 77, START)
