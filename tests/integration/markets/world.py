"""Two markets, one provider in both, a tenant of one name in each: processes, driven by their commands."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from provider.adapters.clock import SystemClock
from provider.app import render
from provider.app.demo.stage import free_port, program_argv
from provider.app.market_client import Daemon, Market
from provider.domain.errors import ConfigError, Temporary
from provider.rpc import identity
from provider.rpc.member import Role
from provider.rpc.v1 import operator_pb2
from tests.e2e.world import Outcome, run, until

FIRST, SECOND = "first", "second.example"
NAMES = {FIRST: "north", SECOND: "gpu-7"}
"""What the provider is called in each."""
MANIFEST = """\
version: "2.0"
services:
  web:
    image: example/web:1
    command: [sh, -c, "echo it runs; sleep 1000000"]
    expose: [{port: 80, to: [{global: true}]}]
profiles:
  compute:
    web:
      resources:
        cpu: {units: 0.1}
        memory: {size: 64Mi}
        storage: {size: 64Mi}
        gpu: {units: 1, attributes: {vendor: {nvidia: }}}
  placement:
    here: {pricing: {web: {denom: uact, amount: 100000}}}
deployment:
  web: {here: {profile: web, count: 1}}
"""


@dataclass(slots=True, kw_only=True)
class World:
    folder: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    ports: dict[str, tuple[int, int]] = field(
        default_factory=lambda: {name: (free_port(), free_port()) for name in (FIRST, SECOND)}
    )

    @property
    def state(self) -> Path:
        return self.folder / "provider"

    # --- commands

    def coordinator(self, market: str, *arguments: str) -> Outcome:
        return run([*program_argv("coordinator"), "--state", str(self.folder / market), *arguments])

    def provider(self, *arguments: str) -> Outcome:
        return run([*program_argv("provider"), "--config", str(self._config), *arguments])

    def tenant(self, market: str, *arguments: str) -> Outcome:
        return run([*program_argv("tenant"), "--home", str(self.home(market)), *arguments])

    def home(self, market: str) -> Path:
        """Of the tenant alice of ``market``."""
        return self.folder / f"alice-{market}"

    @property
    def _config(self) -> Path:
        return self.folder / "provider.yaml"

    # --- processes

    def start_coordinator(self, market: str) -> None:
        listen, enrolment = self.ports[market]
        argv = [*program_argv("coordinator"), "--state", str(self.folder / market), "run"]
        argv += ["--market", market, "--advertise", "127.0.0.1"]
        argv += ["--listen", f"127.0.0.1:{listen}", "--enrolment-listen", f"127.0.0.1:{enrolment}"]
        self._start(market, argv)
        until(lambda: self.coordinator(market, "status").status == 0, f"{market} answers")

    def start_provider(self) -> None:
        module = "tests.provider_process"
        self._start("provider", [sys.executable, "-m", module, str(self._config)])

    def _start(self, name: str, argv: list[str]) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        process = self.processes.pop(name)
        process.send_signal(number)
        return process.wait(timeout=30)

    # --- setting up

    def write_config(self) -> None:
        settings = {
            "state_dir": str(self.state),
            "gpu": {"simulate": [{"model": "h100", "count": 2}]},
            "lease": {"listen": f"127.0.0.1:{free_port()}", "advertise": f"127.0.0.1:{free_port()}"},
            "telemetry": {"listen": f"127.0.0.1:{free_port()}"},
            "runtime": {"allow_unsafe": ["engine", "runc"]},
            "bidding": {"usage_interval_s": 0.5, "retry_first_s": 0.2},
        }
        settings["lease"]["advertise"] = settings["lease"]["listen"]  # type: ignore[index]
        self._config.write_text(json.dumps(settings))  # which YAML is a kind of

    def joins(self, market: str) -> Outcome:
        """The provider."""
        invited = self.coordinator(market, "invite", "provider", NAMES[market])
        return self.provider("enroll", invited.out.strip().splitlines()[-1])

    def tenant_joins(self, market: str) -> None:
        invited = self.coordinator(market, "invite", "tenant", "alice")
        assert self.tenant(market, "enroll", invited.out.strip().splitlines()[-1]).status == 0
        assert self.coordinator(market, "fund", "alice", "50000000uact").status == 0

    # --- looking and doing

    def status(self) -> operator_pb2.GetStatusResponse:
        """What the daemon tells its operator; nothing while it is not there."""

        async def ask() -> operator_pb2.GetStatusResponse:
            async with Daemon(self.state / "operator.sock") as daemon:
                return await daemon.status()

        try:
            return asyncio.run(ask())
        except (Temporary, ConfigError):
            return operator_pb2.GetStatusResponse()

    def markets(self) -> dict[str, operator_pb2.MarketStatus]:
        """By name."""
        return {each.market: each for each in self.status().markets}

    def leases(self) -> dict[str, operator_pb2.AgentLease]:
        """By name, as the operator sees it."""
        return {render.lease_name(each.id): each for each in self.status().leases}

    def until_connected(self, **is_connected: bool) -> None:
        wanted = {FIRST: is_connected.get("first", True), SECOND: is_connected.get("second", True)}
        until(
            lambda: {name: each.connected for name, each in self.markets().items()} == wanted,
            f"connected: {wanted}",
        )

    def refusals(self) -> dict[str, str]:
        """Orders that the provider refused, and why, as its log says."""
        lines = (self.folder / "provider.log").read_text().splitlines()
        events = [json.loads(line) for line in lines if line.startswith("{")]
        return {each["order"]: each["reason"] for each in events if each["event"] == "order_refused"}

    def deploy(self, market: str) -> int:
        outcome = self.tenant(market, "deploy", str(self.folder / "web.yaml"), "--json")
        assert outcome.status == 0, outcome.err
        return int(outcome.json["dseq"])

    def rent(self, market: str) -> int:
        dseq = self.deploy(market)
        bids = self.tenant(market, "bids", str(dseq), "--wait", "20")
        assert bids.status == 0, bids.err + self.log()
        accepted = self.tenant(market, "accept", str(dseq), "--wait", "30")
        assert accepted.status == 0, accepted.err + self.log()
        return dseq

    def billed(self, market: str, dseq: int) -> int:
        """Micro-denom that the market has settled for a deployment."""

        async def ask() -> int:
            who = identity.load(self.home(market), Role.TENANT, at=SystemClock().now())
            async with Market(who) as calls:
                (lease,) = (await calls.deployment(dseq)).leases
            return lease.settled.amount_micros

        return asyncio.run(ask())

    def log(self) -> str:
        return (self.folder / "provider.log").read_text()


@contextmanager
def running(folder: Path) -> Iterator[World]:
    """Both markets and the provider, connected."""
    made = World(folder=folder)
    (folder / "web.yaml").write_text(MANIFEST)
    try:
        made.write_config()
        for market in (FIRST, SECOND):
            made.start_coordinator(market)
            assert made.joins(market).status == 0
            made.tenant_joins(market)
        made.start_provider()
        made.until_connected()
        yield made
    finally:
        for name in list(made.processes):
            made.kill(name, signal.SIGTERM)
