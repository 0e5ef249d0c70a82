"""A market, a provider and a tenant as separate processes on this machine, driven by their own commands.

Everything a test does here, a person could type. Each world has its own folder, ports and names, and
leaves nothing behind: not on the engine either.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import docker

from provider.app.demo.stage import free_port, program_argv
from tests.e2e.leftovers import sweep
from tests.launches import WORKER

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "build" / "tools"
DOCKER = "unix:///var/run/docker.sock"
PATIENCE_S = 30.0
START_S = 60.0
"""For a program to answer, on a machine with more to do than it can."""
POLL_S = 0.05

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a command came to."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def until(ask: Callable[[], T | None], what: str, patience_s: float = PATIENCE_S) -> T:
    """The first answer of ``ask`` that is not None or False; fails after ``patience_s``."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        answer = ask()
        if answer is not None and answer is not False:
            return answer
        time.sleep(POLL_S)
    raise AssertionError(f"{what}: not within {patience_s:g} s")


def run(argv: list[str], environment: dict[str, str] | None = None, stdin: str = "") -> Outcome:
    """Run a command to its end."""
    done = subprocess.run(
        argv,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        env={**os.environ, **(environment or {})},
    )
    return Outcome(status=done.returncode, out=done.stdout, err=done.stderr)


def own_ports() -> str:
    """A range that no other test process uses."""
    first = 30_000 + 100 * int(WORKER.removeprefix("gw")) if WORKER else 30_900
    return f"{first}-{first + 99}"


@dataclass(slots=True, kw_only=True)
class World:
    """One of each."""

    folder: Path
    provider_name: str
    market_port: int = field(default_factory=free_port)
    enrolment_port: int = field(default_factory=free_port)
    lease_port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    ports: str = field(default_factory=own_ports)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    provider_environment: dict[str, str] = field(default_factory=dict)

    # --- commands

    def coordinator(self, *arguments: str) -> Outcome:
        return run([*program_argv("coordinator"), "--state", str(self.folder / "coordinator"), *arguments])

    def provider(self, *arguments: str) -> Outcome:
        config = str(self.folder / "provider.yaml")
        return run([*program_argv("provider"), "--config", config, *arguments], self._environment())

    def tenant(self, *arguments: str, stdin: str = "") -> Outcome:
        return run([*program_argv("tenant"), "--home", str(self.folder / "tenant"), *arguments], stdin=stdin)

    # --- daemons

    def start_coordinator(self) -> None:
        argv = [
            "--state",
            str(self.folder / "coordinator"),
            "run",
            "--market",
            "e2e",
            "--advertise",
            "127.0.0.1",
        ]
        argv += ["--listen", f"127.0.0.1:{self.market_port}"]
        argv += ["--enrolment-listen", f"127.0.0.1:{self.enrolment_port}"]
        self._start("coordinator", [*program_argv("coordinator"), *argv], {})
        self._answers("coordinator", self.coordinator)

    def enroll_all(self) -> None:
        invited = self.coordinator("invite", "provider", self.provider_name)
        assert self.provider("init", "--state-dir", str(self.folder / "provider"), *self._init()).status == 0
        enrolled = self.provider("enroll", invited.out.strip().splitlines()[-1])
        assert enrolled.status == 0, enrolled.err
        invited = self.coordinator("invite", "tenant", "alice")
        assert self.tenant("enroll", invited.out.strip().splitlines()[-1]).status == 0
        assert self.coordinator("fund", "alice", "50000000uact").status == 0

    def start_provider(self) -> None:
        config = str(self.folder / "provider.yaml")
        self._start("provider", [*program_argv("provider"), "--config", config, "run"], self._environment())
        self._answers("provider", self.provider)

    def _answers(self, name: str, command: Callable[..., Outcome]) -> None:
        """Wait until the program's own ``status`` is well; fail with its log, at once where it ended."""
        process, said = self.processes[name], ""
        deadline = time.monotonic() + START_S
        while process.poll() is None and time.monotonic() < deadline:
            outcome = command("status")
            if outcome.status == 0:
                return
            said = outcome.out + outcome.err
        raise AssertionError(f"{name} ({process.poll()}) does not answer: {said}\n{self.log(name)}")

    def _init(self) -> list[str]:
        return ["--advertise", f"127.0.0.1:{self.lease_port}", "--simulate", "h100:2"]

    def _environment(self) -> dict[str, str]:
        return {
            "PROVIDER_RUNTIME__DOCKER": DOCKER,
            "PROVIDER_IMAGES__PRIVATE_REGISTRIES": '["127.0.0.1:*"]',
            # Debian 12's engine is not for strangers; here there are none.
            "PROVIDER_RUNTIME__ALLOW_UNSAFE": "[engine, runc]",
            "PROVIDER_RUNTIME__PUBLISH_ADDRESS": "127.0.0.1",
            "PROVIDER_RUNTIME__PORTS": self.ports,
            "PROVIDER_LEASE__LISTEN": f"127.0.0.1:{self.lease_port}",
            "PROVIDER_TELEMETRY__LISTEN": f"127.0.0.1:{self.metrics_port}",
            "PROVIDER_BIDDING__USAGE_INTERVAL_S": "1",
            "PROVIDER_BIDDING__STOP_GRACE_S": "1",
            "PROVIDER_BIDDING__RETRY_FIRST_S": "0.2",
            "PROVIDER_BIDDING__DEATHS_MOST": "4",
            "PROVIDER_STORAGE__CLASSES": json.dumps(
                dict.fromkeys(("default", "beta1", "beta2", "beta3"), str(self.folder))
            ),
            "PROVIDER_RESERVE__CPU_MILLIS": "0",
            "PROVIDER_RESERVE__STORAGE_BYTES": "0",
            **self.provider_environment,
        }

    def _start(self, name: str, argv: list[str], environment: dict[str, str]) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
            )

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send ``number`` and wait for the end; the exit status."""
        process = self.processes.pop(name)
        process.send_signal(number)
        return process.wait(timeout=30)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def volume_files(self) -> list[Path]:
        """In which leases' volumes are, on the host."""
        return sorted(self.folder.rglob("*.ext4"))

    def close(self) -> None:
        for name in list(self.processes):
            self.kill(name, signal.SIGTERM)

    # --- what a tenant does

    def deploy(self, file: Path | str, *options: str) -> int:
        outcome = self.tenant("deploy", str(file), "--json", *options)
        assert outcome.status == 0, outcome.err
        return int(outcome.json["dseq"])

    def rent(self, file: Path | str, *options: str) -> int:
        """Deploy, wait for a bid, accept it, wait until it runs."""
        dseq = self.deploy(file, *options)
        bids = self.tenant("bids", str(dseq), "--wait", "20")
        assert bids.status == 0, bids.err + self.log("provider")
        accepted = self.tenant("accept", str(dseq), "--wait", "60")
        assert accepted.status == 0, accepted.err + self.log("provider")
        return dseq

    def lease(self, dseq: int) -> Any:
        """The one lease of a deployment, as the market has it."""
        (lease,) = self.tenant("status", str(dseq), "--json").json["leases"]
        return lease

    def host_port(self, dseq: int) -> int:
        return int(self.lease(dseq)["ports"][0]["host_port"])


@contextmanager
def running(made: World, engine: docker.DockerClient) -> Iterator[World]:
    """``made`` with its market, a provider and a funded tenant; swept away even after a failure."""
    try:
        made.start_coordinator()
        made.enroll_all()
        made.start_provider()
        yield made
    finally:
        made.close()
        sweep(engine, made.provider_name)
