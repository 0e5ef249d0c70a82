"""What a state file remembers of GPUs, and files of before anything was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from provider.adapters.store import rows
from provider.adapters.store.database import Schema, open_database
from provider.adapters.store.sqlite import SqliteStore
from provider.core.events import GpuCordoned
from provider.domain.gpu_health import GpuRecord, GpuSignal
from provider.domain.ids import GpuUuid
from tests.agents import POLICY, Agent, gpu, lease_of, node, nodes_read
from tests.former_schemas import former_schema


@pytest.fixture
def former(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Schema]:
    """The schema as it was when nothing was remembered of GPUs."""
    with former_schema(tmp_path, monkeypatch, 4) as schema:
        yield schema


def test_a_file_of_before_is_taken_up_and_remembers_from_now_on(tmp_path: Path, former: Schema) -> None:
    agent = Agent(gpu(0))
    agent.begin(1)
    path = tmp_path / "provider.db"
    with open_database(path, former) as old, old.transaction() as connection:
        connection.execute(
            "INSERT INTO lease VALUES (?, ?)", (str(lease_of(1)), rows.row_text(agent.lease(1)))
        )
    store = SqliteStore.open(path, POLICY)
    found, _ = store.load()
    assert (set(found.leases), found.gpu_records) == ({lease_of(1)}, {})
    agent.state = found
    agent.take(nodes_read(node(gpu(0))))
    step = agent.take(GpuCordoned(gpu=GpuUuid("GPU-0"), why="its fan rattles"))
    store.commit([step])
    store.close()

    again = SqliteStore.open(path, POLICY)
    found, _ = again.load()
    again.close()
    assert found.gpu_records == step.state.gpu_records
    assert found.gpu_records[GpuUuid("GPU-0")].has(GpuSignal.CORDONED)
    assert set(found.leases) == {lease_of(1)}


def test_a_row_that_says_little_is_a_record() -> None:
    """Whatever is added later has a default: an older row still reads."""
    assert rows.row_value('{"uuid": "GPU-0"}', GpuRecord) == GpuRecord(uuid=GpuUuid("GPU-0"))
