"""One worker process: started, listened to, spoken to, and ended for certain.

Owns the process and its pipes; what its lines mean and when it must die are ``probe``'s. Invariant: after
``end`` the process is gone, or it is known to be stuck in the kernel (state D ignores SIGKILL).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from provider.adapters.gpu.settings import NvmlSettings
from provider.adapters.gpu.slot import CallInProgress, CallSlot, Lane

_LINE_LIMIT = 1 << 20
"""Bytes of one message; sixteen cards take about 10 kB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a worker begins with."""

    answer: int
    """Of its first inventory: the question that it answers."""
    skip: frozenset[int] = frozenset()
    """Indexes of cards that it leaves alone."""
    hears_events: bool = True


class WorkerProcess:
    """Use ``start``. ``kill`` is ``os.kill``, or a test's stand-in for a process that cannot be killed."""

    def __init__(
        self, process: asyncio.subprocess.Process, slot: CallSlot, kill: Callable[[int, int], None]
    ) -> None:
        self._process = process
        self._slot = slot
        self._kill = kill

    @classmethod
    async def start(
        cls, settings: NvmlSettings, task: Task, kill: Callable[[int, int], None]
    ) -> WorkerProcess:
        """Spawned, never forked: NVML must not be carried over a fork. Its stderr is ours."""
        slot = CallSlot.create()
        options = {
            "interval_s": settings.interval_s,
            "medium_s": settings.medium_s,
            "discover_every_s": settings.discover_every_s,
            "inforom_every_s": settings.inforom_every_s,
            "slow_call_s": settings.slow_call_s,
            "pci_devices": str(settings.pci_devices),
            "library": settings.nvml_library,
            "slot_fd": slot.fd,
            "skip": sorted(task.skip),
            "answer": task.answer,
            "hears_events": task.hears_events,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "provider.adapters.gpu.worker",
            json.dumps(options),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_LIMIT,
            pass_fds=(slot.fd,),
            start_new_session=True,  # Ctrl-C is for the daemon, which ends the worker itself
        )
        return cls(process, slot, kill)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def next_line(self) -> dict[str, Any] | None:
        """The next message; None once the process has ended."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line.endswith(b"\n"):
            return None
        message: dict[str, Any] = json.loads(line)
        return message

    def send(self, command: str) -> None:
        """Best effort: a worker that has ended is replaced anyway."""
        assert self._process.stdin is not None
        if not self._process.stdin.is_closing():
            self._process.stdin.write(f"{command}\n".encode())

    def call_in_progress(self, lane: Lane) -> CallInProgress | None:
        """Which call that thread is inside of: to be asked when it has fallen silent."""
        return self._slot.lane(lane).read()

    async def end(self, timeout_s: float) -> bool:
        """Kill it and wait until it is reaped. False: it was not, within ``timeout_s``; it may be, later."""
        with contextlib.suppress(ProcessLookupError):
            if self._process.returncode is None:
                self._kill(self._process.pid, signal.SIGKILL)
        try:
            async with asyncio.timeout(timeout_s):
                await self.reaped()
        except TimeoutError:
            return False
        return True

    async def reaped(self) -> None:
        """Wait for its end, however long that takes."""
        await self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._slot.close()


def kill(pid: int, number: int) -> None:
    """``os.kill``, named so that a test can put something else in its place."""
    os.kill(pid, number)
