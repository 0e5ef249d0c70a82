"""``provider demo``, run as a person runs it: the receipt is right and nothing is left behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from provider.app.demo.stage import program_argv
from tests.e2e.leftovers import has_image, left_of
from tests.e2e.world import ROOT, run

pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]
STEPS = [
    *("engine", "image", "market", "provider", "order", "bid", "lease", "manifest", "running"),
    *("http", "logs", "exec", "metrics", "close", "clean"),
]


@pytest.fixture
def place() -> Iterator[Path]:
    """Where a demo puts what it makes: of this test alone, and short enough for sockets."""
    made = Path(tempfile.mkdtemp(prefix="gp-d-"))
    yield made
    shutil.rmtree(made)


def test_the_receipt_adds_up_and_nothing_is_left(engine: docker.DockerClient, place: Path) -> None:
    done = run([*program_argv("provider"), "demo", "--json"], {"TMPDIR": str(place)})
    assert done.status == 0, done.err
    receipt = json.loads(done.out)
    assert list(receipt["steps"]) == STEPS
    assert all(isinstance(took, int) for took in receipt["steps"].values())
    assert receipt["total_ms"] < 60_000
    assert receipt["simulated_gpus"] is True
    assert all(re.fullmatch(r"GPU-SIM-[0-9a-f-]+", uuid) for uuid in receipt["gpus"])
    assert len(receipt["gpus"]) == 1
    paid = receipt["tenant_before_micros"] - receipt["tenant_after_micros"]
    assert paid == receipt["billed_micros"] == receipt["provider_after_micros"] > 0
    assert receipt["billed_micros"] == int(float(receipt["price_per_block"]) * receipt["ran_ms"] / 6000)
    assert receipt["left_behind"] == []
    assert left_of(engine, receipt["lease"].split("/")[-1]) == set()
    assert not has_image(engine, receipt["image"])
    assert list(place.iterdir()) == []


def test_it_shows_each_step_and_says_that_gpus_are_simulated() -> None:
    done = run([*program_argv("provider"), "demo"])
    assert done.status == 0, done.err
    assert done.out.count("✓") == len(STEPS)
    assert "SIMULATED: no real GPU was used" in done.out
    assert re.search(r"Left behind +nothing", done.out)


def test_a_kept_demo_runs_on_until_it_is_ended(engine: docker.DockerClient) -> None:
    kept = run([*program_argv("provider"), "demo", "--keep"])
    assert kept.status == 0, kept.err
    folder = kept.out.rsplit("provider demo --end ", maxsplit=1)[1].strip()
    status = run([*program_argv("tenant"), "--home", f"{folder}/tenant", "status", "1", "--json"])
    assert status.status == 0, status.err
    (lease,) = json.loads(status.out)["leases"]
    assert lease["health"] == "LEASE_HEALTH_RUNNING"
    assert left_of(engine, lease["id"]["provider"]) != set()
    ended = run([*program_argv("provider"), "demo", "--end", folder])
    assert ended.status == 0, ended.err
    (image,) = re.findall(r"127\.0\.0\.1:\d+/hello-gpu:1", kept.out)
    assert left_of(engine, lease["id"]["provider"]) == set()
    assert not has_image(engine, image)
    assert not Path(folder).exists()


def test_a_demo_that_is_broken_off_leaves_nothing_either(engine: docker.DockerClient, place: Path) -> None:
    kept = run([*program_argv("provider"), "demo", "--keep"], {"TMPDIR": str(place)})
    assert kept.status == 0, kept.err
    folder = Path(kept.out.rsplit("provider demo --end ", maxsplit=1)[1].strip())
    stage = json.loads((folder / "stage.json").read_text())
    for each in stage["running"]:
        os.kill(each["pid"], signal.SIGKILL)
    assert left_of(engine, stage["provider"]) != set()
    ended = run([*program_argv("provider"), "demo", "--end", str(folder)])
    assert (ended.status, ended.out.strip()) == (0, "nothing is left behind")
    assert ended.err.startswith("not settled: the coordinator at 127.0.0.1:")
    assert left_of(engine, stage["provider"]) == set()
    assert not has_image(engine, stage["image"])
    assert list(place.iterdir()) == []


def test_without_an_engine_it_says_what_to_do() -> None:
    done = run([*program_argv("provider"), "demo", "--docker", f"unix://{ROOT}/no-such.sock"])
    assert done.status in (1, 2)
    assert "no-such.sock" in done.err
    assert "  Try: " in done.err
