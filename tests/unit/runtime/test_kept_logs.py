"""Logs of containers that are gone: bounded in every direction, and never twice."""

from __future__ import annotations

import asyncio
import gzip
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.adapters.runtime import kept_logs
from provider.adapters.runtime.containers import Found
from provider.adapters.runtime.engine import Engine
from provider.adapters.runtime.kept_log_settings import KeptLogSettings
from provider.adapters.runtime.settings import DockerSettings
from provider.domain.ids import ProviderId
from provider.domain.moment import Instant
from provider.domain.workload import ContainerState, LogBatch, LogLine
from provider.ports import LogRequest
from tests.launches import collect_lines, lease_id

LEASE = lease_id()
FOUND = Found(
    id="a" * 64,
    lease=LEASE,
    service="web-front",
    replica=0,
    generation=1,
    spec="",
    state=ContainerState.EXITED,
    is_going=False,
    ports=(),
)


def batch(*texts: bytes, first_ns: int = 1, is_stderr: bool = False) -> LogBatch:
    times = tuple(range(first_ns, first_ns + len(texts)))
    return LogBatch(service="web-front", replica=0, is_stderr=is_stderr, at_ns=times, text=b"\n".join(texts))


def write(settings: KeptLogSettings, found: Found, *batches: LogBatch) -> None:
    kept_logs._write(settings, found, [kept_logs._written(each) for each in batches])


def read(settings: KeptLogSettings, *there: Found, **request: object) -> list[LogLine]:
    wanted = LogRequest(**request)  # type: ignore[arg-type]
    files = kept_logs.files(settings, LEASE, wanted)
    return asyncio.run(collect_lines(kept_logs.read(files, there, wanted)))


@pytest.fixture
def settings(tmp_path: Path) -> KeptLogSettings:
    return KeptLogSettings(folder=tmp_path / "logs", keep_s=60)


def test_what_is_written_is_read_again_in_order(settings: KeptLogSettings) -> None:
    write(settings, FOUND, batch(b"one", b"\xff o two"), batch(b"", first_ns=9, is_stderr=True))

    lines = read(settings)

    assert [(line.at_ns, line.text, line.is_stderr) for line in lines] == [
        (1, "one", False),
        (2, "\ufffd o two", False),
        (9, "", True),
    ]
    assert [line.at_ns for line in read(settings, since_ns=1)] == [2, 9]
    assert [line.at_ns for line in read(settings, tail=2)] == [2, 9]
    assert read(settings, service="web") == read(settings, service="web-front", replica=1) == []
    (path,) = settings.folder.glob("*/*.log.gz")
    assert path.name == "web-front-0-1-aaaaaaaaaaaa.log.gz"
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_container_whose_removal_is_tried_again_is_kept_once(settings: KeptLogSettings) -> None:
    write(settings, FOUND, batch(b"one"))
    write(settings, replace(FOUND, id="b" * 64), batch(b"two", first_ns=2))
    write(settings, FOUND, batch(b"one"))

    assert [line.text for line in read(settings)] == ["one", "two"]
    # And where it is still there, its own log is the one to read.
    assert [line.text for line in read(settings, FOUND)] == ["two"]


def test_a_tail_is_the_newest_containers_own(settings: KeptLogSettings) -> None:
    write(settings, FOUND, batch(b"one", b"two"))
    write(settings, replace(FOUND, id="b" * 64), batch(b"three", first_ns=3))

    assert [line.text for line in read(settings, tail=2)] == ["two", "three"]
    assert read(settings, replace(FOUND, id="c" * 64), tail=2) == []


def test_the_oldest_of_a_replicas_containers_go_first(settings: KeptLogSettings) -> None:
    for number in range(1, 10):
        write(settings, replace(FOUND, id=f"{number:064x}"[::-1]), batch(b"x", first_ns=number))

    assert [line.at_ns for line in read(settings)] == [5, 6, 7, 8, 9]


def test_the_disk_is_bounded_over_all_leases(settings: KeptLogSettings) -> None:
    write(settings, FOUND, batch(b"x" * 10_000))
    (one,) = settings.folder.glob("*/*.log.gz")
    small = replace(settings, disk_bytes=one.stat().st_size * 2)
    for _ in range(5):
        write(small, replace(FOUND, lease=lease_id()), batch(b"x" * 10_000))

    assert sum(path.stat().st_size for path in settings.folder.glob("*/*")) <= small.disk_bytes
    assert not one.exists()


def test_a_lease_that_is_over_is_kept_for_so_long_and_others_stay(settings: KeptLogSettings) -> None:
    other = replace(FOUND, lease=lease_id())
    write(settings, FOUND, batch(b"x"))
    write(settings, other, batch(b"x"))
    kept_logs.close(settings, LEASE, Instant(1_000))
    kept_logs.close(settings, LEASE, Instant(50_000))  # said again: the first counts
    kept_logs.close(settings, lease_id(), Instant(1_000))  # nothing is kept of it

    kept_logs.sweep(settings, Instant(60_999))
    assert len(read(settings)) == 1
    kept_logs.sweep(settings, Instant(61_000))
    assert read(settings) == []
    assert [path.name for path in settings.folder.iterdir()] == [other.lease.key]


def test_a_file_that_was_cut_off_or_is_none_of_ours_costs_no_more_than_itself(
    settings: KeptLogSettings,
) -> None:
    write(settings, FOUND, *(batch(b"line", first_ns=at) for at in range(1, 3)))
    (path,) = settings.folder.glob("*/*.log.gz")
    path.with_name("web-front-0-2-bbbbbbbbbbbb.log.gz").write_bytes(b"no gzip")
    path.with_name("garbage.log.gz").write_bytes(b"")
    path.with_name("web-front-0-3-cccccccccccc.log.gz").write_bytes(gzip.compress(b"7 o good\nbad\n"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-12])

    assert [line.at_ns for line in read(settings)][-1] == 7


def test_an_engine_that_is_away_or_a_disk_that_is_full_keeps_nothing_and_nobody_waiting(
    settings: KeptLogSettings, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    unwritable = replace(settings, folder=tmp_path / "file" / "logs")
    for each in (settings, unwritable):
        docker = DockerSettings(
            provider=ProviderId("p"), socket="unix:///nonexistent/docker.sock", kept_logs=each
        )
        asyncio.run(kept_logs.keep(Engine(docker), FOUND))
        kept_logs.close(each, LEASE, Instant(1))
        kept_logs.sweep(each, Instant(1))


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=20).filter(lambda text: b"\n" not in text))))
def test_batches_of_a_file_are_its_lines(lines: list[tuple[bool, bytes]]) -> None:
    told = [(is_stderr, at, text) for at, (is_stderr, text) in enumerate(lines, 1)]
    kept = kept_logs.KeptFile(service="web", replica=0, number=1, container="a", path=Path())

    batches = kept_logs._batches(kept, told)

    found = [
        (batch.is_stderr, at, text)
        for batch in batches
        for at, text in zip(batch.at_ns, batch.text.split(b"\n"), strict=True)
    ]
    assert found == told
