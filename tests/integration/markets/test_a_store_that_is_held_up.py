"""The daemon while its database cannot be written: somebody's ``sqlite3`` holds it, a commit waits 5 s."""

from __future__ import annotations

import json
import signal
import sqlite3
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.world import until
from tests.integration.markets.world import FIRST, MANIFEST, World

ANSWERS_S = 3.0
"""Well below the 5 s for which a commit waits: who waits with it does not answer in time."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(folder=tmp_path)
    (tmp_path / "web.yaml").write_text(MANIFEST)
    made.write_config()
    try:
        made.start_coordinator(FIRST)
        assert made.joins(FIRST).status == 0
        made.tenant_joins(FIRST)
        connects(made)
        yield made
    finally:
        for name in list(made.processes):
            made.kill(name, signal.SIGTERM)


def connects(world: World) -> None:
    world.start_provider()
    until(lambda: any(each.connected for each in world.markets().values()), "connected")


def refused_commits(world: World) -> int:
    """As a scrape says, which is answered in time."""
    listen = json.loads((world.folder / "provider.yaml").read_text())["telemetry"]["listen"]
    with urllib.request.urlopen(f"http://{listen}/metrics", timeout=ANSWERS_S) as page:
        lines = page.read().decode().splitlines()
    return sum(
        int(float(line.split()[-1])) for line in lines if line.startswith("provider_store_errors_total{")
    )


@pytest.mark.timeout(120)
def test_all_else_goes_on_it_ends_in_order_and_nothing_is_lost(world: World) -> None:
    with closing(sqlite3.connect(world.state / "provider.db", isolation_level=None)) as shell:
        shell.execute("BEGIN IMMEDIATE")
        dseq = world.deploy(FIRST)
        until(lambda: "store_refused" in world.log(), "the first commit was given up")
        until(lambda: refused_commits(world) >= 2, "one more is, and each scrape is answered")
        assert world.kill("provider", signal.SIGTERM) == 0
        assert "Traceback" not in world.log()
        shell.execute("ROLLBACK")
    connects(world)
    bids = world.tenant(FIRST, "bids", str(dseq), "--wait", "20")
    assert bids.status == 0, bids.err + world.log()
