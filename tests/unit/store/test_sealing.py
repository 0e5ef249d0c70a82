"""Tenants' secrets at rest: in no file of the state folder in the clear, and of no use without the key."""

from __future__ import annotations

import shutil
import sqlite3
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from provider.adapters.store import rows
from provider.adapters.store.database import Schema, open_database
from provider.adapters.store.seal import MARK, Seal, WrongKey
from provider.adapters.store.sqlite import SqliteStore
from provider.core.effects import StartWorkload
from provider.core.state import AgentState
from provider.core.step import Step
from provider.domain.errors import ConfigError
from provider.domain.manifest import Credentials
from provider.domain.secret import Secret
from tests.agents import POLICY, Agent, healthy, manifest
from tests.former_schemas import former_schema

PASSWORD, VALUE = "pa55word-of-the-registry", "t0ken-in-the-environment"


def secret_steps() -> tuple[AgentState, StartWorkload]:
    """A lease whose manifest has secrets, and the start of it that nobody has confirmed."""
    agent = Agent(*healthy(0))
    agent.start()
    credentials = Credentials(host="registry.example", username="alice", password=Secret(PASSWORD))
    start = agent.last(StartWorkload)
    lease = agent.lease()
    assert lease.current is not None
    (told,) = lease.current.manifest.groups
    service = replace(told.services[0], env=(f"TOKEN={VALUE}",), credentials=credentials)
    content = replace(manifest(lease.group), groups=(replace(told, services=(service,)),))
    lease = replace(lease, current=replace(lease.current, manifest=content))
    replicas = tuple(replace(each, service=service) for each in start.launch.replicas)
    state = replace(agent.state, leases={lease.id: lease})
    return state, replace(start, launch=replace(start.launch, replicas=replicas))


def clear_in(folder: Path) -> list[str]:
    """Files that hold a secret as it is."""
    return sorted(
        path.name
        for path in folder.rglob("*")
        if path.is_file() and any(word.encode() in path.read_bytes() for word in (PASSWORD, VALUE))
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


def opened(folder: Path, key_file: Path | None = None) -> SqliteStore:
    return SqliteStore.open(folder / "provider.db", POLICY, key_file)


def filled(folder: Path) -> tuple[AgentState, StartWorkload]:
    state, start = secret_steps()
    store = opened(folder)
    store.commit([Step(state=state, effects=(start,))])
    store.close()
    return state, start


def test_what_is_committed_is_nowhere_in_the_clear_and_comes_back(folder: Path) -> None:
    state, start = secret_steps()
    store = opened(folder)
    store.commit([Step(state=state, effects=(start,))])
    assert (folder / "provider.db-wal").stat().st_size > 0
    assert clear_in(folder) == []
    store.close()
    assert clear_in(folder) == []
    found, effects = opened(folder).load()
    assert (dict(found.leases), effects) == (dict(state.leases), (start,))
    assert (folder / "secrets.key").stat().st_mode & 0o777 == 0o600


def test_without_its_key_the_database_is_refused_and_left_as_it_is(folder: Path) -> None:
    filled(folder)
    key = (folder / "secrets.key").read_text()
    (folder / "secrets.key").unlink()
    with pytest.raises(ConfigError, match=r"secrets\.key is missing: the key that .*provider\.db is sealed"):
        opened(folder)
    assert not (folder / "secrets.key").exists()
    (folder / "secrets.key").write_text(b64encode(bytes(32)).decode())
    (folder / "secrets.key").chmod(0o600)
    with pytest.raises(ConfigError, match=r"is not the key that .*provider\.db was sealed with") as caught:
        opened(folder)
    assert caught.value.remedy is not None
    (folder / "secrets.key").write_text(key)
    opened(folder).close()


def test_a_key_that_lies_elsewhere_is_used_and_never_made(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "credential"
    with pytest.raises(ConfigError, match="credential is missing: the key for tenants' secrets"):
        opened(folder, elsewhere)
    assert not elsewhere.exists()
    elsewhere.write_text(b64encode(bytes(range(32))).decode() + "\n")
    elsewhere.chmod(0o440)
    opened(folder, elsewhere).close()
    assert not (folder / "secrets.key").exists()


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [("short", 0o600, "is not a key"), (b64encode(bytes(32)).decode(), 0o644, "others can read it")],
)
def test_a_file_that_is_no_good_key_is_refused(folder: Path, content: str, mode: int, message: str) -> None:
    folder.mkdir()
    (folder / "secrets.key").write_text(content)
    (folder / "secrets.key").chmod(mode)
    with pytest.raises(ConfigError, match=message):
        opened(folder)


def test_a_sealed_text_opens_in_its_own_place_alone() -> None:
    seal = Seal(key=Secret(b64encode(bytes(32)).decode()))
    sealed = seal.close("lease/a", VALUE)
    assert sealed.startswith(MARK)
    assert seal.open("lease/a", sealed) == VALUE
    assert seal.open("lease/a", "{}") == "{}"
    for place, text in (("lease/b", sealed), ("lease/a", sealed[:-8] + "AAAAAAA="), ("lease/a", MARK + "!")):
        with pytest.raises(WrongKey):
            seal.open(place, text)


def test_a_row_that_was_tampered_with_is_told(folder: Path) -> None:
    filled(folder)
    with sqlite3.connect(folder / "provider.db") as raw:
        raw.execute("UPDATE lease SET body = substr(body, 1, length(body) - 8) || 'AAAAAAA='")
    raw.close()
    with pytest.raises(ConfigError, match="does not open with its key"):
        opened(folder).load()


@pytest.fixture
def before_seals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Schema]:
    """The schema as it was when manifests were kept in the clear."""
    with former_schema(tmp_path, monkeypatch, 2) as schema:
        yield schema


def test_what_was_kept_in_the_clear_is_sealed_and_leaves_no_trace(
    folder: Path, tmp_path: Path, before_seals: Schema
) -> None:
    state, start = secret_steps()
    path = folder / "provider.db"
    (lease,) = state.leases.values()
    with open_database(path, before_seals) as old:
        old.connection.execute("PRAGMA secure_delete = OFF")
        with old.transaction() as connection:
            connection.execute("INSERT INTO lease VALUES (?, ?)", (str(lease.id), rows.row_text(lease)))
            row = (start.id, rows.effect_text(start))
            connection.execute("INSERT INTO effect (id, body) VALUES (?, ?)", row)
            gone = [(f"gone/{number}", PASSWORD * 200) for number in range(50)]
            connection.executemany("INSERT INTO waiting_order VALUES (?, ?)", gone)
        with old.transaction() as connection:
            connection.execute("DELETE FROM waiting_order")
        killed = tmp_path / "killed"
        shutil.copytree(folder, killed)
    shutil.copy(killed / "provider.db", killed / "provider.db.schema-1")
    assert "provider.db-wal" in clear_in(killed)

    store = opened(killed)
    found, effects = store.load()
    assert (dict(found.leases), effects) == (dict(state.leases), (start,))
    assert clear_in(killed) == []
    store.close()
    assert clear_in(killed) == []


def test_a_start_that_was_killed_before_it_had_scrubbed_is_taken_up_again(folder: Path) -> None:
    filled(folder)
    with sqlite3.connect(folder / "provider.db") as raw:
        raw.execute("PRAGMA secure_delete = OFF")
        raw.execute("CREATE TABLE junk (text TEXT)")
        raw.executemany("INSERT INTO junk VALUES (?)", [(PASSWORD * 200,)] * 50)
        raw.execute("UPDATE seal SET is_scrubbed = 0")
    with raw:
        raw.execute("DROP TABLE junk")
    raw.close()
    assert "provider.db" in clear_in(folder)
    store = opened(folder)
    assert clear_in(folder) == []
    store.close()
