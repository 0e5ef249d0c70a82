"""A command executed in a simulated container: ``ports.ExecSession`` on a ``Timeline``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Self

from provider.domain.moment import after
from provider.domain.workload import ExecOutput
from provider.ports import Clock
from provider.sim.script import Timeline


class SimulatedExec:
    """Writes its lines when they are due; with ``cat`` also what it is given, until that ends."""

    def __init__(self, runs: Timeline, clock: Clock, *, tty: bool) -> None:
        self._runs = runs
        self._clock = clock
        self._newline = "\r\n" if tty else "\n"
        self._input: asyncio.Queue[bytes] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        self._began = self._clock.now()
        return self

    async def __aexit__(self, *exc: object) -> None:
        return

    async def output(self) -> AsyncIterator[ExecOutput]:
        for line in self._runs.lines:
            await self._clock.sleep_until(after(self._began, line.after))
            yield ExecOutput(data=(line.text + self._newline).encode(), is_stderr=line.is_stderr)
        while self._runs.copies_input and (data := await self._input.get()):
            yield ExecOutput(data=data)
        if self._runs.ends_after is None:
            await asyncio.Event().wait()
            return
        await self._clock.sleep_until(after(self._began, self._runs.ends_after))
        yield ExecOutput(exit_code=self._runs.exit_code)

    async def write(self, data: bytes) -> None:
        await self._input.put(data)

    async def close_input(self) -> None:
        await self._input.put(b"")

    async def resize(self, rows: int, columns: int) -> None:
        return
