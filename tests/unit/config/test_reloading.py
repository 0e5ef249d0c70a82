"""The configuration read again: all that may change counts, or nothing; every difference is named."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from provider.app.config import ProviderConfig
from provider.app.config_reading import load, parse
from provider.app.policy import policy
from provider.app.pricers import LivePricer, NobodyToAsk
from provider.app.reloading import Reloading, differences
from provider.core.agent import transition
from provider.core.events import Event
from provider.core.policy import PriceStrategy
from provider.core.state import AgentState
from provider.core.step import Step
from provider.domain.errors import Temporary
from provider.ports import Reloaded
from tests.agents import PROVIDER, START


class Daemon:
    """A running agent, its file, and what reading that again comes to."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.file = folder / "provider.yaml"
        self.writes(**settings)
        config = load(self.file, {})
        self.state = AgentState(policy=policy(config, PROVIDER))
        self.events: list[Event] = []
        self.is_full = False
        self.pricer = LivePricer(NobodyToAsk())
        self._reloading = Reloading(config, lambda: load(self.file, {}), self, self.pricer)

    def writes(self, **settings: Any) -> None:
        self.file.write_text(yaml.safe_dump(settings))

    async def submit(self, event: Event) -> Step:
        if self.is_full:
            raise Temporary("too many events wait")
        self.events.append(event)
        step = transition(self.state, event, START)
        self.state = step.state
        return step

    def reload(self) -> Reloaded:
        return asyncio.run(self._reloading.reload())


def test_prices_and_wishes_count_at_once_and_the_rest_waits(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, pricing={"gpu_hour": {"*": 2}}, log_level="info")
    daemon.writes(
        pricing={"gpu_hour": {"*": 3}, "floor": {"kwh": 0.3}},
        bidding={"denoms": ["uact", "uakt"]},
        log_level="debug",
        telemetry={"token": "hunter2"},
    )
    done = daemon.reload()
    assert set(done.changes) == {
        "pricing.gpu_hour: {*: 2} -> {*: 3}",
        "pricing.floor.kwh: 0 -> 0.3",
        "bidding.denoms: [uact] -> [uact, uakt]",
    }
    assert done.waits == ("log_level: info -> debug", "telemetry.token: none -> ***")
    assert done.problem == ""
    assert daemon.state.policy.price.gpu_hour == {"*": Decimal(3_000_000)}
    assert len(daemon.events) == 1
    assert daemon.reload().changes == (), "once"


def test_a_file_with_problems_changes_nothing_and_tells_all_of_them(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    before = daemon.state
    daemon.writes(pricing={"gpu_our": {}, "cpu_core_hour": -1}, biding={})
    problem = daemon.reload().problem
    assert "pricing.gpu_our: no such setting: did you mean gpu_hour?" in problem
    assert "pricing.cpu_core_hour: expected a price" in problem
    assert "biding: no such setting: did you mean bidding?" in problem
    daemon.writes(pricing={"strategy": "script", "worth": {"usd": 1}})
    problem = daemon.reload().problem
    assert "pricing.script: strategy script needs the path of one" in problem
    assert "pricing.worth.usd: no such value" in problem
    daemon.file.write_text("pricing: [")
    assert "is not YAML" in daemon.reload().problem
    daemon.file.unlink()
    assert daemon.reload().remedy == "provider init, or --config FILE"
    assert daemon.events == []
    assert daemon.state is before


def test_who_is_asked_changes_with_the_strategy(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    script = tmp_path / "price.sh"
    script.write_text("#!/bin/sh\necho 1\n")
    block = {"strategy": "script", "script": str(script)}
    daemon.writes(pricing=block)
    assert f"{script} is not the full path of an executable file" in daemon.reload().problem
    assert isinstance(daemon.pricer.now, NobodyToAsk)
    script.chmod(0o755)
    daemon.is_full = True
    assert "too many events" in daemon.reload().problem
    assert isinstance(daemon.pricer.now, NobodyToAsk), "nothing is changed by half"
    daemon.is_full = False
    assert daemon.reload().problem == ""
    assert daemon.state.policy.strategy is PriceStrategy.SCRIPT
    assert not isinstance(daemon.pricer.now, NobodyToAsk)
    daemon.writes(pricing={"strategy": "python", "python": "no_such_module_here:price"})
    assert "no_such_module_here cannot be imported" in daemon.reload().problem
    assert daemon.state.policy.strategy is PriceStrategy.SCRIPT


def test_the_idle_job_comes_changes_and_goes(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    job, block = tmp_path / "idle.yaml", {"manifest": str(tmp_path / "idle.yaml")}
    daemon.writes(idle=block)
    assert f"idle.manifest: {job} cannot be read" in daemon.reload().problem
    text = Path("manifests/idle/batch.yaml").read_text(encoding="utf-8")
    job.write_text(text)
    assert daemon.reload().changes == (f"idle.manifest: none -> {job}",)
    assert daemon.reload().changes == ()
    first = daemon.state.policy.idle
    assert first is not None
    job.write_text(text.replace("QUEUE=", "Q="))
    assert daemon.reload().changes == (f"{job}: what it says of the idle job",)
    assert daemon.state.policy.idle is not None
    assert daemon.state.policy.idle.generation != first.generation
    daemon.writes(pricing={"gpu_hour": {"*": 3}}, idle=block)
    assert len(daemon.reload().changes) == 1
    assert daemon.state.policy.idle is not None
    daemon.writes()
    assert len(daemon.reload().changes) == 2
    assert daemon.state.policy.idle is None


def test_differences_go_as_deep_as_settings_do() -> None:
    before, after = ProviderConfig(), parse({"gpu": {"simulate": [{"model": "t4"}]}}, {}, "file")
    (one,) = differences(before, after)
    assert one.startswith("gpu.simulate: none -> [SimulatedGpus(model='t4'")
    assert list(differences(before, before)) == []
