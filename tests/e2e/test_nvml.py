"""The whole daemon over NVML: the genuine nvidia-ml-py in its worker process, on a simulated driver library.

To the daemon these cards are real: nothing tells it otherwise. This engine can attach none of them, and so
it says why it does not bid.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from provider.sim.nvml.state import SimulatedDriver
from tests.e2e.world import ROOT, World, running, until
from tests.probing import simulated_library
from tests.prometheus import fetch

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedDriver]:
    with SimulatedDriver(simulated_library(), tmp_path_factory.mktemp("nvml")) as made:
        made.add("h100")
        made.add("h100")
        yield made


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, driver: SimulatedDriver, engine: docker.DockerClient
) -> Iterator[World]:
    """A world whose provider reads its GPUs through NVML."""
    made = World(
        folder=tmp_path_factory.mktemp("world"),
        provider_name=f"nvml-{os.getpid()}",
        provider_environment={
            "PROVIDER_GPU__SIMULATE": "[]",
            "PROVIDER_GPU__NVML_LIBRARY": str(driver.library),
            "PROVIDER_GPU__INTERVAL_S": "0.2",
        },
    )
    with running(made, engine):
        yield made


def cards(world: World) -> list[Any]:
    (node,) = world.provider("gpus", "--json").json
    return list(node["gpus"])


def worker_of(world: World) -> int | None:
    """The NVML worker's pid: the daemon's only child."""
    pid = world.processes["provider"].pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else None


def test_cards_are_what_nvml_says_and_not_labelled_as_simulated(world: World) -> None:
    found = until(lambda: cards(world) or None, "the cards are read")
    assert [(card["name"], card["model"], card["interface"]) for card in found] == [
        ("NVIDIA H100 80GB HBM3", "h100", "sxm")
    ] * 2
    assert not any(card["simulated"] or "SIM" in card["uuid"] for card in found)
    until(lambda: "utilization_ratio" in cards(world)[0], "a reading")
    facts, sample = cards(world)[0]["facts"], cards(world)[0]["sample"]
    assert (facts["pci_bus_id"], facts["is_mig_on"], facts["clock_sm_most_hertz"]) == (
        "0000:18:00.0",
        False,
        1.98e9,
    )
    assert (sample["is_persistent"], sample["clock_reasons"]) == (True, [])
    assert "vbios" not in facts, "this driver tells none"
    (node,) = world.provider("gpus", "--json").json
    (link,) = node["gpu_links"]
    assert {link["first"], link["second"]} == {card["uuid"] for card in found}
    metrics = fetch(f"http://127.0.0.1:{world.metrics_port}/metrics").decode()
    assert "provider_nvml_up 1.0" in metrics
    assert 'simulated="false"' in metrics


def test_an_engine_that_cannot_attach_them_is_the_reason_for_no_bid(world: World) -> None:
    until(lambda: cards(world) or None, "the cards are read")
    dseq = world.deploy(ROOT / "manifests" / "hello-gpu.yaml")
    wanted = rf'"order": "alice/{dseq}/1/1", "reason": "gpu unknown \(required 1 GPUs, available ([^"]+)\)"'
    reason = until(lambda: re.search(wanted, world.log("provider")), "a reason")
    assert "nvidia" in reason[1].lower()
    assert world.tenant("bids", str(dseq), "--json").json["orders"][0]["bids"] == []
    assert world.tenant("close", str(dseq)).status == 0


def test_a_killed_worker_is_replaced_and_the_daemon_lives_on(world: World) -> None:
    until(lambda: cards(world) or None, "the cards are read")
    before = until(lambda: worker_of(world), "a worker")
    daemon = world.processes["provider"].pid
    os.kill(before, signal.SIGKILL)
    until(lambda: worker_of(world) not in (None, before), "another worker")
    until(lambda: [card["health"] for card in cards(world)] == ["healthy"] * 2, "both cards are healthy")
    assert world.processes["provider"].pid == daemon
    assert world.processes["provider"].poll() is None


def test_a_lost_card_is_named_and_the_other_goes_on(world: World, driver: SimulatedDriver) -> None:
    until(lambda: cards(world) or None, "the cards are read")
    driver.card(1).is_lost = 1
    lost = until(
        lambda: next((card for card in cards(world) if card["health"] == "unhealthy"), None), "it is seen"
    )
    assert lost["index"] == 1
    assert lost["problem"]
    assert cards(world)[0]["health"] == "healthy"
    driver.card(1).is_lost = 0
