"""The journal's file: what a crash, a newer program or a broken disk make of it; and where it is fed."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from provider.adapters.journal import JournalSettings, SqliteJournal
from provider.adapters.runtime.images.observer import PullPhase, PullProgress
from provider.app.lease_news import LeaseNews, happening_of
from provider.core.lease import Phase, Trigger
from provider.core.step import (
    ContainerEnded,
    LeaseClosed,
    LeaseMoved,
    Note,
    NoticeGiven,
    OrphanFound,
    UpdateTakenBack,
)
from provider.domain.ids import LeaseId
from provider.domain.journal import WARNINGS, EventKind, Happening
from provider.domain.market import CloseReason
from provider.domain.moment import Instant
from provider.domain.money import Denom, Money
from provider.domain.workload import ExitCause, Pull
from provider.sim.journal import MemoryJournal

LEASE = LeaseId.parse("alice/7/1/1/north")
HAPPENING = Happening(at=Instant(1), kind=EventKind.RUNNING)
WRITER = """
import asyncio, sys
from pathlib import Path
from tests.unit.journal.test_journal_file import LEASE, HAPPENING, JournalSettings, SqliteJournal
async def main():
    journal = SqliteJournal(JournalSettings(path=Path(sys.argv[1])))
    for _ in range(20):
        journal.append(LEASE, HAPPENING)
    print("written", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def opened(path: Path) -> SqliteJournal:
    async def make() -> SqliteJournal:
        return SqliteJournal(JournalSettings(path=path))

    return asyncio.run(make())


def test_what_was_written_is_there_after_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written\n"
        os.kill(writer.pid, signal.SIGKILL)
    journal = opened(path)
    assert [event.number for event in journal.read(LEASE, 0)] == list(range(1, 21))
    assert path.stat().st_mode & 0o777 == 0o600
    journal.close()
    journal.append(LEASE, HAPPENING)  # closed: nothing happens, and nothing fails


@pytest.mark.parametrize("what", ["garbage", "newer"])
def test_a_file_that_cannot_be_used_is_put_aside(tmp_path: Path, what: str) -> None:
    path = tmp_path / "journal.db"
    if what == "garbage":
        path.write_bytes(b"this is no database at all" * 1000)
    else:
        with sqlite3.connect(path) as newer:
            newer.execute("PRAGMA user_version = 99")
    journal = opened(path)
    journal.append(LEASE, HAPPENING)
    assert len(journal.read(LEASE, 0)) == 1
    assert path.with_suffix(".broken").exists()
    journal.close()


def test_without_a_file_it_goes_on_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    journal = opened(tmp_path / "file" / "journal.db")
    journal.append(LEASE, HAPPENING)
    assert len(journal.read(LEASE, 0)) == 1
    journal.close()


def test_a_database_that_breaks_under_it_fails_nobody(tmp_path: Path) -> None:
    journal = opened(tmp_path / "journal.db")
    journal.append(LEASE, HAPPENING)
    journal._database.execute("DROP TABLE event")
    journal.append(LEASE, HAPPENING)
    assert journal.read(LEASE, 0) == ()
    journal.close()


CLOSED = LeaseClosed(
    lease=LEASE,
    reason=CloseReason.TENANT_CLOSED,
    ran_ms=61_400,
    earned=Money(amount=1, denom=Denom.UACT),
)


@pytest.mark.parametrize(
    ("note", "kind", "text"),
    [
        (
            LeaseMoved(lease=LEASE, before=Phase.STARTING, after=Phase.RUNNING, trigger=Trigger.STARTED),
            EventKind.RUNNING,
            "all containers run",
        ),
        (
            LeaseMoved(
                lease=LEASE, before=Phase.RUNNING, after=Phase.REPAIRING, trigger=Trigger.DIED, detail="why"
            ),
            EventKind.REPAIRING,
            "why",
        ),
        (
            ContainerEnded(lease=LEASE, service="web", replica=1, cause=ExitCause.OOM, detail="too much"),
            EventKind.OOM_KILLED,
            "too much",
        ),
        (
            ContainerEnded(lease=LEASE, service="web", replica=1, cause=ExitCause.OWN, detail=""),
            EventKind.EXITED,
            "it ended: own",
        ),
        (
            ContainerEnded(lease=LEASE, service="web", replica=1, cause=ExitCause.GPU_LOST, detail="x"),
            EventKind.GPU_FAILED,
            "x",
        ),
        (UpdateTakenBack(lease=LEASE, why="it exited"), EventKind.UPDATE_TAKEN_BACK, "it exited"),
        (
            NoticeGiven(lease=LEASE, ends_at=Instant(1_795_366_800_000), why="disks"),
            EventKind.NOTICE,
            "the provider ends the lease at 2026-11-22T17:00:00+00:00: disks",
        ),
        (CLOSED, EventKind.CLOSED, "tenant closed, ran 61 s"),
    ],
)
def test_what_the_core_notes_is_told_in_the_tenants_words(note: Note, kind: EventKind, text: str) -> None:
    told = happening_of(note, Instant(5))
    assert told is not None
    lease, happening = told
    assert (lease, happening.at, happening.kind, happening.text) == (LEASE, 5, kind, text)
    if isinstance(note, ContainerEnded):
        assert (happening.service, happening.replica) == ("web", 1)
        assert kind in WARNINGS


def test_every_phase_of_a_lease_but_its_last_has_its_event() -> None:
    for phase in Phase:
        note = LeaseMoved(lease=LEASE, before=None, after=phase, trigger=None)
        assert (happening_of(note, Instant(1)) is None) is (phase is Phase.CLOSED)
    assert happening_of(OrphanFound(lease=LEASE), Instant(1)) is None


class StillClock:
    def now(self) -> Instant:
        return Instant(3)

    async def sleep_until(self, instant: Instant) -> None:
        raise AssertionError("nobody waits here")


def test_pulls_are_told_and_shown_while_they_last() -> None:
    async def scenario() -> None:
        journal = MemoryJournal()
        news = LeaseNews(journal, StillClock())
        news.began(LEASE, "a:1")
        news.began(LEASE, "b:1")
        news.began(None, "beforehand:1")
        progress = PullProgress(phase=PullPhase.DOWNLOADING, done_bytes=5, total_bytes=10)
        news.progressed(LEASE, "a:1", progress)
        news.progressed(None, "beforehand:1", progress)
        assert news.pulls(LEASE) == (Pull(image="a:1", done_bytes=5, total_bytes=10), Pull(image="b:1"))
        news.done(LEASE, "a:1", 2.0, 3 << 20)
        news.failed(LEASE, "b:1", "no such image")
        news.done(None, "beforehand:1", 1.0, 1)
        news.failed(None, "beforehand:1", "x")
        assert news.pulls(LEASE) == ()
        told = [(event.happening.kind, event.happening.text) for event in journal.read(LEASE, 0)]
        assert told == [
            (EventKind.PULL_BEGAN, "pulling a:1"),
            (EventKind.PULL_BEGAN, "pulling b:1"),
            (EventKind.PULL_DONE, "pulled a:1 in 2.0 s, 3 MiB transferred"),
            (EventKind.PULL_FAILED, "no such image"),
        ]

    asyncio.run(scenario())
