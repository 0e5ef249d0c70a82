"""Commands executed in a running container.

The engine has no call that ends one, and closing the connection leaves the process running; so its
PID on the host is kept and it is killed from there, with all of its session, when the caller leaves
before the end. That needs the host's PID namespace and root, as the agent has. A PID is only believed
while the kernel says that it is in the container's cgroup.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import docker
import docker.errors

from provider.adapters.runtime.engine import Engine, accepted
from provider.adapters.runtime.errors import RAISED, engine_error
from provider.adapters.runtime.wire import READ_BYTES, Answer, FrameDecoder, Request
from provider.domain.errors import Permanent, ProviderError
from provider.domain.workload import ExecOutput
from provider.ports import ExecRequest

EXIT_TRIES = 100
RESIZE_TRIES = 50
POLL_S = 0.02
"""The engine notes an exit status a moment after it closed the stream, a start a moment after it said so."""


class DockerExec:
    """``ports.ExecSession``: entered once, started by that."""

    def __init__(self, engine: Engine, container: str, request: ExecRequest) -> None:
        self._engine = engine
        self._container = container
        self._request = request
        self._held = AsyncExitStack()
        self._has_ended = False

    async def __aenter__(self) -> Self:
        request = self._request

        def create(client: docker.APIClient) -> str:
            told: dict[str, str] = client.exec_create(
                self._container, list(request.argv), stdin=True, tty=request.tty
            )
            return told["Id"]

        self._doing = f"executing {request.argv[0] if request.argv else 'nothing'} in {request.service}"
        self._id = await self._engine.call(self._doing, create)
        start = Request(
            method="POST",
            path=f"/exec/{self._id}/start",
            body={"Detach": False, "Tty": request.tty} | self._console_size((await self._engine.facts()).api),
            upgrade=True,
        )
        self._answer: Answer = await self._held.enter_async_context(self._engine.stream(self._doing, start))
        try:
            await accepted(self._answer, self._doing)
            if request.tty:
                await self.resize(request.rows, request.columns)
        except BaseException:
            await self._held.aclose()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        try:
            if not self._has_ended:
                await self._kill()
        finally:
            await self._held.aclose()

    async def output(self) -> AsyncIterator[ExecOutput]:
        frames = FrameDecoder()
        try:
            while data := await self._answer.reader.read(READ_BYTES):
                if self._request.tty:
                    yield ExecOutput(data=data)
                else:
                    for is_stderr, payload in frames.feed(data):
                        yield ExecOutput(data=payload, is_stderr=is_stderr)
        except RAISED as error:
            raise engine_error(error, self._doing) from error
        code = await self._exit_code()
        self._has_ended = True
        yield ExecOutput(exit_code=code)

    async def write(self, data: bytes) -> None:
        if self._has_ended:
            raise Permanent(f"{self._doing}: it has ended and takes no more input")
        try:
            self._answer.writer.write(data)
            await self._answer.writer.drain()
        except RAISED as error:
            raise Permanent(f"{self._doing}: it takes no more input") from error

    async def close_input(self) -> None:
        if self._answer.writer.can_write_eof() and not self._answer.writer.is_closing():
            self._answer.writer.write_eof()

    async def resize(self, rows: int, columns: int) -> None:
        if not self._request.tty:
            return

        def resize(client: docker.APIClient) -> bool:
            try:
                client.exec_resize(self._id, height=rows, width=columns)
            except docker.errors.APIError:
                return False
            return True

        # The engine refuses until the process is there; once it has ended no size matters any more.
        for _ in range(RESIZE_TRIES):
            if await self._engine.call(self._doing, resize) or not (await self._look())["Running"]:
                return
            await asyncio.sleep(POLL_S)

    def _console_size(self, api: str) -> dict[str, object]:
        """From API 1.42 on a terminal has its size from the start."""
        if not self._request.tty or tuple(map(int, api.split("."))) < (1, 42):
            return {}
        return {"ConsoleSize": [self._request.rows, self._request.columns]}

    async def _look(self) -> dict[str, Any]:
        told: dict[str, Any] = await self._engine.call(self._doing, lambda api: api.exec_inspect(self._id))
        return told

    async def _exit_code(self) -> int:
        for _ in range(EXIT_TRIES):
            told = await self._look()
            if not told["Running"] and told["ExitCode"] is not None:
                return int(told["ExitCode"])
            await asyncio.sleep(POLL_S)
        # Its output was closed while it goes on: nobody will read the rest, so it ends.
        await self._kill()
        return 128 + signal.SIGKILL

    async def _kill(self) -> None:
        try:
            pid = int((await self._look())["Pid"] or 0)
        except ProviderError:
            return  # with the engine away there is no PID to be had; the container's end is its end
        if pid:
            await asyncio.to_thread(_kill_session, pid, self._container)


def _kill_session(pid: int, container: str) -> None:
    """End ``pid`` and all of its session, whose leader it is, while they are in ``container``."""
    for each in (pid, *_members(pid)):
        try:
            if container in Path(f"/proc/{each}/cgroup").read_text():
                os.kill(each, signal.SIGKILL)
        except (ProcessLookupError, FileNotFoundError, PermissionError):
            continue


def _members(session: int) -> Iterator[int]:
    """Field 6 of proc_pid_stat(5), behind a name that may hold anything."""
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                fields = (place / "stat").read_text().rpartition(")")[2].split()
            except (OSError, UnicodeDecodeError):
                continue
            if int(fields[3]) == session:
                yield int(place.name)
