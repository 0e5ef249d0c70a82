"""More Docker engines, each in a network namespace of its own, for tests that may not break the machine's.

Such an engine has its own storage, sockets and bridges; killing it, or the firewall that it writes, touches
nothing outside. Needs root.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import docker

TOOLS = Path("build/tools").absolute()
START_S = 40.0
END_S = 30.0

HOOK = """#!/bin/sh
# Stands in for NVIDIA's hook: writes down what the engine asks of it.
state=$(cat)
bundle=$(printf '%s' "$state" | sed 's/.*"bundle":"\\([^"]*\\)".*/\\1/')
cp "$bundle/config.json" "{record}/$(basename "$bundle").json"
"""


@dataclass(slots=True, kw_only=True)
class SecondEngine:
    """An engine that a test may do anything to."""

    root: Path
    program: Path
    settings: Mapping[str, object]
    path: str
    """PATH of the engine: where it finds hooks."""
    process: subprocess.Popen[bytes] | None = None
    containerd: subprocess.Popen[bytes] | None = None
    log: Path = field(init=False)
    """What it printed, over all its lives."""

    def __post_init__(self) -> None:
        self.log = self.root / "dockerd.log"
        (self.root / "daemon.json").write_text(json.dumps(self.settings))

    @property
    def socket(self) -> str:
        return f"unix://{self.root}/docker.sock"

    @property
    def namespace(self) -> str:
        return self.root.name

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._start_containerd()
        command = ["nsenter", f"--net=/run/netns/{self.namespace}", str(self.program)]
        command += [f"--containerd={self.root}/containerd.sock"]
        places = {"config-file": "daemon.json", "data-root": "data", "exec-root": "exec", "pidfile": "pid"}
        command += [f"--{option}={self.root / place}" for option, place in places.items()]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, f"--host={self.socket}"], stdout=log, stderr=log, env=self._environment
            )
        until = time.monotonic() + START_S
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"dockerd did not come up:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.05)

    def _start_containerd(self) -> None:
        """As a service of its own, as distributions have it: it outlives the engine."""
        if self.containerd is None:
            options = {"root": "containerd", "state": "state", "address": "containerd.sock"}
            command = ["containerd", *(f"--{name}={self.root / place}" for name, place in options.items())]
            with (self.root / "containerd.log").open("ab") as log:
                self.containerd = subprocess.Popen(command, stdout=log, stderr=log, env=self._environment)

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": self.path}

    def kill(self) -> None:
        """As a crash would: its containers stay."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """As an operator would: in order."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait(END_S)

    def end(self) -> None:
        """End it and everything that it began, and remove what it stored."""
        for process in (self.process, self.containerd):
            if process is not None:
                process.send_signal(signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(END_S)
                process.kill()
                process.wait()
        for pid in self._left():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        subprocess.run(["ip", "netns", "delete", self.namespace], check=False, capture_output=True)
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            place = line.split()[4]
            if place.startswith(f"{self.root}/"):
                subprocess.run(["umount", "--lazy", place], check=False, capture_output=True)
        shutil.rmtree(self.root, ignore_errors=True)

    def load(self, image: str) -> None:
        """Copy an image of the machine's engine into it."""
        with self.client("unix:///var/run/docker.sock") as source, self.client(self.socket) as target:
            target.load_image(b"".join(source.get_image(image)))  # type: ignore[no-untyped-call]

    @contextmanager
    def client(self, url: str | None = None) -> Iterator[docker.APIClient]:
        client = docker.APIClient(base_url=url or self.socket, version="1.41")
        try:
            yield client
        finally:
            client.close()

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(5)
            try:
                probe.connect(f"{self.root}/docker.sock")
                probe.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
                return b" 200 " in probe.recv(64)
            except OSError:
                return False

    def _left(self) -> Iterator[int]:
        """Processes whose command line names our directory: the shims of containers."""
        for place in Path("/proc").iterdir():
            if place.name.isdigit():
                with suppress(OSError):
                    if str(self.root).encode() in (place / "cmdline").read_bytes():
                        yield int(place.name)


@contextmanager
def second_engine(
    program: Path, settings: Mapping[str, object] | None = None, hooks: Path | None = None
) -> Iterator[SecondEngine]:
    """An engine of ``program`` in a namespace of its own; ``hooks`` comes first on its PATH."""
    root = Path(tempfile.mkdtemp(prefix="gp-eng-"))
    path = os.pathsep.join(
        [*([str(hooks)] if hooks else []), str(program.parent), _bin(program), os.environ["PATH"]]
    )
    engine = SecondEngine(
        root=root,
        program=program,
        settings={"bridge": "none", "live-restore": True, **(settings or {})},
        path=path,
    )
    try:
        subprocess.run(["ip", "netns", "add", engine.namespace], check=True, capture_output=True)
        subprocess.run(
            ["ip", "-n", engine.namespace, "link", "set", "lo", "up"], check=True, capture_output=True
        )
        engine.start()
        yield engine
    finally:
        engine.end()


def recording_hook(place: Path) -> tuple[Path, Path]:
    """A directory for an engine's PATH with a hook in it, and one where the hook writes what it was given."""
    hooks, record = place / "bin", place / "record"
    hooks.mkdir()
    record.mkdir()
    hook = hooks / "nvidia-container-runtime-hook"
    hook.write_text(HOOK.format(record=record))
    hook.chmod(0o755)
    return hook, record


def machines_engine() -> Path:
    """The engine that the machine has."""
    program = shutil.which("dockerd")
    assert program is not None, "no dockerd: scripts/setup-engine.sh"
    return Path(program)


def newer_engine() -> Path | None:
    """Debian 13's, if it was unpacked (scripts/unpack-engine.sh)."""
    program = TOOLS / "docker-26/usr/sbin/dockerd"
    return program if program.exists() else None


def _bin(program: Path) -> str:
    """Where an unpacked engine has its containerd."""
    return str(program.parent.parent / "bin")
