"""The demo's stage: a folder, and the programs that run in it as an operator would run them.

Owns processes (started in sessions of their own, so that they can be kept) and their end. Invariant:
what ``strike`` returns from has ended: no process, no folder.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

from provider.domain.errors import ConfigError, Permanent, ProviderError

T = TypeVar("T")

START_S = 30.0
"""For a program to answer: a cold start takes under a second."""
END_S = 20.0
"""For a program to end after SIGTERM: the daemon waits for its engine's calls."""
POLL_S = 0.05
PORTS = range(20_000, 30_000)
"""For programs of the stage: neither tenants' ports nor outgoing connections' are there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A program of the stage."""

    name: str
    pid: int
    born: str
    """Start time in clock ticks since boot (proc(5), field 22): tells it from a later process of that pid."""
    log: str


@dataclass(slots=True, kw_only=True)
class Stage:
    """Where everything is. Written to ``stage.json`` when the demo is kept."""

    folder: Path
    docker: str
    provider: str
    """Its name in the market, and on everything that it makes on the engine."""
    running: list[Running] = field(default_factory=list)
    image: str = ""
    dseq: int = 0

    def run(self, name: str, argv: list[str], environment: dict[str, str] | None = None) -> Running:
        """Start a program; its output goes to ``<name>.log``."""
        log = self.folder / f"{name}.log"
        with log.open("ab") as out:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **(environment or {})},
            )
        started = Running(name=name, pid=process.pid, born=_born(process.pid) or "", log=str(log))
        self.running.append(started)
        return started

    async def command(self, program: str, *arguments: str) -> str:
        """Run ``provider``, ``coordinator`` or ``tenant`` to its end; what it printed."""
        process = await asyncio.create_subprocess_exec(
            *program_argv(program),
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        if process.returncode:
            raise Permanent(
                f"{program} {arguments[0]}: {err.decode().strip()}", remedy="look at the lines above"
            )
        return out.decode()

    async def until(self, running: Running, ask: Callable[[], Awaitable[T]], what: str) -> T:
        """The first answer of ``ask``, which fails until ``running`` is ready; its log if it never is."""
        last: ProviderError | None = None
        try:
            async with asyncio.timeout(START_S):
                while is_alive(running):
                    try:
                        return await ask()
                    except ProviderError as failure:
                        last = failure
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            pass
        problem = "ended" if not is_alive(running) else f"did not answer within {START_S:g} s ({last})"
        tail = "".join(f"\n  {line}" for line in Path(running.log).read_text().splitlines()[-15:])
        raise Permanent(f"{what}: {running.name} {problem}{tail}", remedy=f"read {running.log}")

    def save(self) -> Path:
        """So that a later command can end what was kept."""
        kept = {**asdict(self), "folder": str(self.folder)}
        path = self.folder / "stage.json"
        path.write_text(json.dumps(kept, indent=1))
        return path

    @classmethod
    def load(cls, folder: Path) -> Stage:
        """A stage that was kept in ``folder``."""
        try:
            kept = json.loads((folder / "stage.json").read_text())
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"no demo was kept in {folder}", remedy="use the folder that --keep printed"
            ) from error
        running = [Running(**each) for each in kept.pop("running")]
        return cls(**{**kept, "folder": Path(kept["folder"]), "running": running})

    async def strike(self) -> list[str]:
        """End every program, the last one first, and remove the folder; what could not be ended."""
        stubborn = [each.name for each in reversed(self.running) if not await _end(each)]
        shutil.rmtree(self.folder, ignore_errors=True)
        return [f"process {name}" for name in stubborn]


def program_argv(program: str) -> list[str]:
    """``provider`` and the others as this very installation has them."""
    return [sys.executable, "-m", f"provider.app.cli.{program}"]


def shown_program(program: str) -> str:
    """The command as somebody here would type it: ``.venv/bin/provider`` from the project's folder."""
    path = Path(sys.executable).parent / program
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def free_port() -> int:
    """A TCP port of loopback that nothing uses just now.

    From below the range that the kernel gives to outgoing connections (32768 and up): one of those could
    take it before the program that it is meant for does.
    """
    while True:
        port = PORTS.start + secrets.randbelow(len(PORTS))
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
        return port


def is_alive(running: Running) -> bool:
    """Whether it is that very process, and not a zombie of ours."""
    _reap(running.pid)
    return _born(running.pid) == running.born


def _born(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]


def _reap(pid: int) -> None:
    """Collect it if it is a child of ours that has ended; a kept demo's programs are nobody's children."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


async def _end(running: Running) -> bool:
    if is_alive(running):
        os.kill(running.pid, signal.SIGTERM)
    if await _gone(running):
        return True
    os.kill(running.pid, signal.SIGKILL)
    return await _gone(running)


async def _gone(running: Running) -> bool:
    try:
        async with asyncio.timeout(END_S):
            while is_alive(running):  # noqa: ASYNC110 - another process sets no event
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        return False
    return True
