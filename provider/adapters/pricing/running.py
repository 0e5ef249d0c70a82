"""A program of the operator's, run for one answer: input in, one line out, and nothing of it left.

Owns the limits: wall clock, processor time, memory, how much it may say, how many run at once. Whatever
becomes of it (an answer, a refusal, its time is over, we are cancelled) it and every process that it left
behind are killed (``warden``), so that none runs on or keeps its output open. Does not own what the answer
means.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from provider.adapters import processes
from provider.domain.errors import Permanent, Temporary

ANSWER_MOST = 4096
"""Bytes on standard output: an answer is a number, or a sentence."""
STATUS_MOST = 16
REASON_MOST = 300
"""Characters of standard error that are kept: its end, where the reason is."""
DRAIN_S = 1.0
"""After all of it was killed only who was given its output by it can still hold that open."""
END_S = 5.0
"""For the warden to end all of it; then the warden is ended, too."""
WARDEN = (sys.executable, "-I", "-S", str(Path(__file__).with_name("warden.py")))
NOT_RUN = 126
"""From this status on a shell speaks of the program: not executable, not there, ended by a signal."""
_LIMITED = (
    'ulimit -c 0; ulimit -t "$1" || exit 127; [ "$2" = 0 ] || ulimit -v "$2" || exit 127; shift 2; exec "$@"'
)
"""Set by a shell on itself, which then becomes the program: nothing runs between fork and limit in this
process, which has threads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one run, but for ``at_once``."""

    wall_s: float = 10.0
    """Akash's ``--bid-price-script-process-timeout``."""
    cpu_s: int = 10
    memory_mib: int = 1024
    """Address space; 0: no limit."""
    at_once: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What is run, and what it is called in messages."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    refuses_by_status: bool = True
    """An exit status is its answer; else it is a failure."""


class Runner:
    """Runs programs within ``limits``. Safe to use from many tasks at once."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._slots = asyncio.Semaphore(max(limits.at_once, 1))

    async def ask(self, program: Program, question: bytes) -> str:
        """What it said on standard output. ``Temporary`` where it failed: its time, its processor time or our
        resources ran out, it crashed, it cannot be run. ``Permanent`` where it refused or said too much. What
        it said on standard error is in the message."""
        async with self._slots:
            return await self._run(program, question)

    async def _run(self, program: Program, question: bytes) -> str:
        limits = self._limits
        sized = ("/bin/sh", "-c", _LIMITED, "sh", str(max(limits.cpu_s, 1)), str(limits.memory_mib * 1024))
        said, complained, ended = _Ear(ANSWER_MOST), _Ear(REASON_MOST * 4, is_last=True), _Ear(STATUS_MOST)
        async with _Ends(question, said, complained, ended) as ends:
            file, out, err, status_fd = ends.theirs
            try:
                process = await asyncio.create_subprocess_exec(
                    *WARDEN,
                    str(status_fd),
                    *sized,
                    *program.command,
                    stdin=file,
                    stdout=out,
                    stderr=err,
                    env=dict(program.environment),
                    pass_fds=[status_fd],
                    start_new_session=True,
                )
            except OSError as error:
                raise Temporary(f"{program.name} could not be started: {error.strerror}") from error
            try:
                ends.hand_over()
                is_late = not await self._until_over(process, said)
            finally:
                await _end(process)
            await ends.drain()
        status = int(ended.heard) if ended.heard else -signal.SIGKILL
        reason = _one_line(complained.heard)
        if is_late:
            raise Temporary(f"{program.name} gave no answer within {limits.wall_s:g} s{reason}")
        if said.is_full:
            raise Permanent(f"{program.name} said more than {ANSWER_MOST} bytes")
        if status != 0:
            if program.refuses_by_status and 0 < status < NOT_RUN:
                raise Permanent(f"{program.name} refused with exit status {status}{reason}")
            raise Temporary(f"{program.name} {_ended(status, limits)}{reason}")
        return said.heard.decode("utf-8", "replace")

    async def _until_over(self, process: asyncio.subprocess.Process, said: _Ear) -> bool:
        """Whether it ended, or said too much, in its time."""
        async with asyncio.TaskGroup() as group:
            over = {group.create_task(process.wait()), group.create_task(said.full.wait())}
            done, _ = await asyncio.wait(
                over, timeout=self._limits.wall_s, return_when=asyncio.FIRST_COMPLETED
            )
            for task in over:
                task.cancel()
        return bool(done)


async def _end(process: asyncio.subprocess.Process) -> None:
    """All of it, also where we are cancelled meanwhile: the warden was told by then, and needs nobody. What
    is left of one that was killed is its group, as far as nobody has left that."""
    await processes.end(process, END_S)
    if process.returncode:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its session is its group: it has its own pid


class _Ear(asyncio.Protocol):
    """Keeps the first ``most`` bytes of what is said, or the last, and hears the rest out without keeping
    it."""

    def __init__(self, most: int, *, is_last: bool = False) -> None:
        self.heard = b""
        self.full = asyncio.Event()
        self.ended = asyncio.Event()
        self._most = most
        self._is_last = is_last

    @property
    def is_full(self) -> bool:
        return self.full.is_set()

    def data_received(self, data: bytes) -> None:
        heard = self.heard + data
        self.heard = heard[-self._most :] if self._is_last else heard[: self._most]
        if len(heard) > self._most:
            self.full.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()


class _Ends:
    """The descriptors between us and a program: its question in a file in memory, two pipes to hear it by."""

    def __init__(self, question: bytes, *ears: _Ear) -> None:
        self._content = question
        self._ears = ears
        self.theirs: list[int] = []
        """Standard input, output and error of the program, and where its status is told."""
        self._transports: list[asyncio.ReadTransport] = []

    async def __aenter__(self) -> _Ends:
        file = os.memfd_create("question")
        self.theirs.append(file)
        os.write(file, self._content)
        os.lseek(file, 0, os.SEEK_SET)
        for ear in self._ears:
            ours, theirs = os.pipe()
            self.theirs.append(theirs)
            pipe = os.fdopen(ours, "rb", 0)
            transport, _ = await asyncio.get_running_loop().connect_read_pipe(partial(_itself, ear), pipe)
            self._transports.append(transport)
        return self

    def hand_over(self) -> None:
        """The program has them: once it has ended, and who it left behind, a pipe ends."""
        while self.theirs:
            os.close(self.theirs.pop())

    async def drain(self) -> None:
        """Until all that was said is heard, but not for ever."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                for ear in self._ears:
                    await ear.ended.wait()

    async def __aexit__(self, *exc: object) -> None:
        self.hand_over()
        for transport in self._transports:
            transport.close()


def _itself(ear: _Ear) -> _Ear:
    return ear


def _ended(status: int, limits: Limits) -> str:
    """How, in words: a shell's 126 and 127 are about the program itself, a signal is told as one."""
    if status in (-signal.SIGXCPU, -signal.SIGKILL):
        return f"used more than {limits.cpu_s} s of processor time or was killed"
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"{'failed with' if status < NOT_RUN else 'could not run:'} exit status {status}"


def _one_line(complaint: bytes) -> str:
    text = " ".join(complaint.decode("utf-8", "replace").split())
    plain = "".join(each if each.isprintable() else "?" for each in text)
    return f": {plain[-REASON_MOST:]}" if plain else ""
