"""SIGHUP and ``provider reload`` on a daemon that runs, with a coordinator and a tenant."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from provider.app.demo.stage import program_argv
from tests.e2e.world import until
from tests.integration.markets.world import FIRST, MANIFEST, World


class Priced(World):
    """One market, a provider in it, and its prices."""

    def prices(self, **pricing: Any) -> None:
        """Write them into the file."""
        path = self.folder / "provider.yaml"
        settings = yaml.safe_load(path.read_text())
        path.write_text(json.dumps({**settings, "pricing": pricing}))

    def hang_up(self) -> None:
        self.processes["provider"].send_signal(signal.SIGHUP)

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]

    def bid(self, dseq: int) -> str:
        """What is asked for, a block."""
        said = self.tenant(FIRST, "bids", str(dseq), "--wait", "20", "--json")
        assert said.status == 0, said.err + self.log()
        (order,) = said.json["orders"]
        return str(order["bids"][0]["rate"]["amount"])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Priced]:
    made = Priced(folder=tmp_path)
    (tmp_path / "web.yaml").write_text(MANIFEST)
    made.write_config()
    try:
        made.start_coordinator(FIRST)
        assert made.joins(FIRST).status == 0
        made.tenant_joins(FIRST)
        yield made
    finally:
        for name in list(made.processes):
            made.kill(name, signal.SIGTERM)


@pytest.mark.timeout(180)
def test_new_prices_count_at_once_and_what_was_bid_stays(world: Priced, tmp_path: Path) -> None:
    world.prices(gpu_hour={"*": 1000}, minimum_hour=0)
    world.start_provider()
    until(lambda: any(each.connected for each in world.markets().values()), "connected")
    dseq = world.deploy(FIRST)
    until(lambda: world.refusals() != {}, "too dear for it")

    world.prices(gpu_hour={"*": 6}, cpu_core_hour=0, memory_gib_hour=0, storage_gib_hour=0)
    world.hang_up()
    assert float(world.bid(dseq)) == 10_000, "6 an hour is 10000 micro a block"
    changed = world.events("policy_changed")[0]["changes"]
    assert "pricing.gpu_hour: {*: 1000} -> {*: 6}" in changed

    world.prices(gpu_hour={"*": 7}, floor={"kwh_by_hour": {"25-1": 1}})
    refused = world.provider("reload")
    assert refused.status == 2
    assert "nothing was changed" in refused.err
    assert "'25-1': hours go from 0 to 24" in refused.err
    world.prices(gpu_hour={"*": 7}, strategi="scale")
    world.hang_up()
    until(lambda: len(world.events("configuration_refused")) == 2, "both are in the log")
    assert "strategi: no such setting: did you mean strategy?" in world.log()

    script = tmp_path / "price.sh"
    script.write_text('#!/bin/sh\n[ "$AKASH_OWNER" = alice ] && echo 77.5\n')
    script.chmod(0o755)
    world.prices(strategy="script", script=str(script), gpu_hour={"*": 7})
    path = tmp_path / "provider.yaml"
    path.write_text(json.dumps({**yaml.safe_load(path.read_text()), "log_level": "debug"}))
    done = world.provider("reload", "--json")
    assert done.status == 0, done.err
    assert "pricing.strategy: scale -> script" in done.json["changes"]
    assert done.json["waits"] == ["log_level: info -> debug"]
    second = world.deploy(FIRST)
    assert float(world.bid(second)) == 77.5
    assert float(world.bid(dseq)) == 10_000, "what was bid stays as it was bid"


@pytest.mark.timeout(120)
def test_a_hangup_does_not_end_the_daemon_itself(world: Priced) -> None:
    """``provider run`` as it is installed, on a machine without an engine."""
    path = world.folder / "provider.yaml"
    settings = yaml.safe_load(path.read_text())
    settings["runtime"]["docker"] = f"unix://{world.folder}/no-engine.sock"
    path.write_text(json.dumps(settings))
    world._start("provider", [*program_argv("provider"), "--config", str(path), "run"])
    until(lambda: "no-engine.sock" in world.log(), "it starts")
    world.hang_up()  # too early: kept until it has started
    until(lambda: bool(world.events("provider_started")), "it runs")
    world.prices(gpu_hour={"*": 9})
    world.hang_up()
    until(lambda: bool(world.events("policy_changed")), "the file is read again")
    world.prices(gpu_hour={"*": -9})
    world.hang_up()
    until(lambda: bool(world.events("configuration_refused")), "or refused")
    assert world.kill("provider", signal.SIGTERM) == 0
    assert world.events("provider_stopped")
