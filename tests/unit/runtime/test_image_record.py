"""What is remembered of images: pins that hold, provenance that only ever opens, idleness in order."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from provider.adapters.runtime.images.record import PINS_HELD, Pin, Record
from provider.domain.errors import ConfigError, Temporary
from provider.domain.moment import Instant
from tests.launches import lease_id

REPOSITORY = "docker.io/library/redis"


def at(number: int) -> Instant:
    return Instant(number)


def ours(record: Record, *images: str) -> None:
    """Pulled by us, in that order."""
    for number, image in enumerate(images, start=1):
        record.put(image, (REPOSITORY, f"digest-of-{image}"), at(number), is_public=True)
        record.named(image, f"{REPOSITORY}@digest-of-{image}", f"{REPOSITORY}:{image}")


def test_a_pin_is_what_was_pinned_first_and_outlives_the_process(tmp_path: Path) -> None:
    lease, path = lease_id(), tmp_path / "images.db"
    first = Pin(image="one", digest="d1")
    record = Record(path)
    assert record.put_pin(lease, 1, "redis", first) == first
    assert record.put_pin(lease, 1, "redis", Pin(image="two", digest="d2")) == first
    record.close()
    again = Record(path)
    assert again.pin(lease, 1, "redis") == first
    assert again.pin(lease, 2, "redis") is None
    again.drop_pins(lease)
    assert again.pin(lease, 1, "redis") is None
    again.close()
    assert path.stat().st_mode & 0o777 == 0o600


KILLED = """
import os, signal, sys
from pathlib import Path
from provider.adapters.runtime.images.record import Pin, Record
from provider.domain.ids import LeaseId
Record(Path(sys.argv[1])).put_pin(LeaseId.parse(sys.argv[2]), 1, "redis", Pin(image="one", digest="d1"))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_pin_that_was_made_survives_a_kill(tmp_path: Path) -> None:
    path, lease = tmp_path / "images.db", lease_id()
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path), str(lease)], check=False)
    assert killed.returncode == -signal.SIGKILL
    record = Record(path)
    assert record.pin(lease, 1, "redis") == Pin(image="one", digest="d1")
    record.close()


def test_what_was_public_once_stays_public_and_a_login_makes_nothing_so() -> None:
    record = Record(None)
    seen = []
    for is_public in (False, True, False):
        record.put("one", (REPOSITORY, "d1"), at(1), is_public=is_public)
        source = record.source(REPOSITORY, "d1")
        assert source is not None
        seen.append(source.is_public)
    assert seen == [False, True, True]


def test_a_tag_is_found_by_what_it_stood_for_last() -> None:
    record = Record(None)
    ours(record, "one", "two")
    for image in ("one", "two"):
        record.stands_for(REPOSITORY, "7", f"digest-of-{image}")
        found = record.source(REPOSITORY, "7")
        assert found is not None
        assert found.image == image
    assert record.source("ghcr.io/library/redis", "7") is None
    assert record.source(REPOSITORY, "8") is None


def test_the_longest_idle_comes_first_and_what_is_wanted_not_at_all() -> None:
    record = Record(None)
    ours(record, "a", "b", "c", "d", "e")
    record.put("foreign", None, at(0), is_public=False)
    record.used("a", at(10))
    record.keep(frozenset({"c"}))
    record.put_pin(lease_id(), 1, "redis", Pin(image="d", digest=""))
    assert record.idle(at(100)) == ("b", "e", "a")
    assert record.idle(at(10)) == ("b", "e")
    record.keep(frozenset())
    assert record.idle(at(100)) == ("b", "c", "e", "a")
    record.gone("b")
    assert record.idle(at(100)) == ("c", "e", "a")
    assert record.engine_names("b") == ()


def test_a_tenant_who_updates_for_ever_holds_no_more_than_a_few_images() -> None:
    record, lease = Record(None), lease_id()
    images = [f"{number:02}" for number in range(PINS_HELD + 3)]
    ours(record, *images)
    for generation, image in enumerate(images):
        record.put_pin(lease, generation, "redis", Pin(image=image, digest=""))
    assert record.idle(at(1_000)) == ("00", "01", "02")


def test_a_name_belongs_to_the_image_that_got_it_last() -> None:
    record = Record(None)
    ours(record, "one", "two")
    record.named("two", f"{REPOSITORY}:one")
    assert record.engine_names("one") == (f"{REPOSITORY}@digest-of-one",)
    assert record.is_ours(f"{REPOSITORY}:one")
    assert not record.is_ours("operators/own:1")


@pytest.mark.parametrize("content", [b"not a database at all" * 99])
def test_a_damaged_record_can_be_thrown_away(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "images.db").write_bytes(content)
    with pytest.raises(ConfigError, match="is damaged") as caught:
        Record(tmp_path / "images.db").all()
    assert caught.value.remedy is not None


def test_another_versions_record_and_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "images.db") as raw:
        raw.execute("PRAGMA user_version = 9")
    raw.close()
    with pytest.raises(ConfigError, match="another version"):
        Record(tmp_path / "images.db").all()
    (tmp_path / "file").touch()
    with pytest.raises(Temporary, match="cannot be used"):
        Record(tmp_path / "file" / "images.db").all()
