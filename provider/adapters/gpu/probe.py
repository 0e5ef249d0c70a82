"""``ports.GpuProbe`` over NVML: watches the worker process and tells what it said.

Owns the worker's life: fresh samples, silence, blame, killing, replacing with back-off, and never more than
a few that cannot be killed. Does not judge cards (``roster``, ``verdict``) and calls no NVML.

Invariant: no method waits for the driver longer than the settings allow, whatever the driver does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Self

from provider.adapters.gpu import process as worker_process
from provider.adapters.gpu import rows as worker_rows
from provider.adapters.gpu.fault_sources import FaultSources
from provider.adapters.gpu.policy import NO_DRIVER, meaning
from provider.adapters.gpu.process import Task, WorkerProcess
from provider.adapters.gpu.roster import Roster
from provider.adapters.gpu.settings import NvmlSettings
from provider.adapters.gpu.slot import NO_GPU, Lane
from provider.domain.gpu import GpuFault, GpuInventory, GpuReading
from provider.domain.moment import Instant
from provider.ports import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class NvmlStatus:
    """How the telemetry itself does: for metrics and ``doctor``."""

    is_up: bool
    """The last sample is fresh."""
    last_success: Instant | None
    restarts: tuple[tuple[str, int], ...]
    """Workers replaced, by reason: ``timeout``, ``crash``, ``lifecycle``."""
    failures: tuple[tuple[str, int, int], ...]
    """Calls that failed although the card has the capability: symbol, return code, how often."""
    unreapable: int
    worker_pid: int | None


class NvmlProbe:
    """An async context manager: entering starts the worker, leaving ends it."""

    def __init__(
        self,
        settings: NvmlSettings,
        clock: Clock,
        *,
        on_sweep: Callable[[float], None] = lambda _seconds: None,
        kill: Callable[[int, int], None] = worker_process.kill,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._on_sweep = on_sweep
        self._kill = kill
        self._roster = Roster(settings.pci_devices)
        self._faults = FaultSources(
            settings.kernel_log, settings.fault_merge_s, now=clock.now, at_bus=self._roster.at_bus
        )
        self._medium: dict[str, dict[str, Any]] = {}
        self._worker: WorkerProcess | None = None
        self._readings: tuple[GpuReading, ...] = ()
        self._sampled_at = float("-inf")
        self._last_success: Instant | None = None
        self._asked = 0
        self._answered = 0
        self._changed = asyncio.Condition()
        self._hurry = asyncio.Event()
        self._hung: dict[int, float] = {}
        self._deaf_until = float("-inf")
        self._restarts: Counter[str] = Counter()
        self._failures: Counter[tuple[str, int]] = Counter()
        self._past_failures: Counter[tuple[str, int]] = Counter()
        self._unreapable = 0
        self._is_leaving = False
        self._told = GpuInventory()

    async def __aenter__(self) -> Self:
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()
        self._faults.open()
        self._supervisor = self._tasks.create_task(self._supervise())
        self._burials: set[asyncio.Task[None]] = set()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._is_leaving = True
        self._faults.close()
        self._supervisor.cancel()
        for burial in self._burials:
            burial.cancel()
        await self._tasks.__aexit__(None, None, None)

    async def discover(self) -> GpuInventory:
        """Ask afresh. While the worker hangs or waits, the last known, with what is wrong with it."""
        self._asked += 1
        question = self._asked
        self._hurry.set()
        if self._worker is not None:
            self._worker.send(f"discover {question}")
        if self._unreapable >= self._settings.unreapable_limit:
            self._answered = question  # nobody is left to ask
        patience_s = self._settings.silence_s + self._settings.reap_within_s
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s), self._changed:
                await self._changed.wait_for(lambda: self._answered >= question)
        self._told = self._roster.inventory
        return self._told

    async def sample(self) -> tuple[GpuReading, ...]:
        """The readings as soon as there are some: at once, but for the first time. Empty where none come."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.silence_s), self._changed:
                await self._changed.wait_for(lambda: self._last_success is not None or self._worker is None)
        return self.readings()

    @property
    def fault_problem(self) -> str | None:
        """Why errors are not read from the kernel's log."""
        return self._faults.problem

    def readings(self) -> tuple[GpuReading, ...]:
        """Empty when the last sample is older than ``stale_after_s``."""
        return self._readings if self._is_fresh() else ()

    def changes(self) -> AsyncIterator[GpuInventory]:
        """Inventories that differ from the one before, beginning with what ``discover`` told last."""
        return self._changes_since(self._told)

    async def _changes_since(self, told: GpuInventory) -> AsyncIterator[GpuInventory]:
        while True:
            async with self._changed:
                while self._roster.inventory == told:
                    await self._changed.wait()
                told = self._roster.inventory
            yield told

    def faults(self) -> AsyncIterator[GpuFault]:
        """From NVML's events and, where permitted, from the kernel's log since boot."""
        return self._faults.follow()

    def status(self) -> NvmlStatus:
        """How reading goes, now."""
        failures = self._past_failures + self._failures
        return NvmlStatus(
            is_up=self._is_fresh(),
            last_success=self._last_success,
            restarts=tuple(sorted(self._restarts.items())),
            failures=tuple((symbol, code, count) for (symbol, code), count in sorted(failures.items())),
            unreapable=self._unreapable,
            worker_pid=self._worker.pid if self._worker else None,
        )

    def _is_fresh(self) -> bool:
        return asyncio.get_running_loop().time() - self._sampled_at <= self._settings.stale_after_s

    async def _supervise(self) -> None:
        backoff_s = self._settings.backoff_min_s
        while True:
            started = asyncio.get_running_loop().time()
            reason = await self._run_worker()
            self._restarts[reason] += 1
            self._past_failures += self._failures
            self._failures.clear()
            await self._publish(self._asked)
            if asyncio.get_running_loop().time() - started > self._settings.backoff_max_s:
                backoff_s = self._settings.backoff_min_s
            await self._rest(backoff_s)
            backoff_s = min(2 * backoff_s, self._settings.backoff_max_s)

    async def _rest(self, backoff_s: float) -> None:
        """Wait before the next worker; a question cuts it short, workers stuck in the kernel prolong it."""
        self._hurry.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(backoff_s):
                await self._hurry.wait()
        while self._unreapable >= self._settings.unreapable_limit:
            await self._publish(self._asked)
            async with self._changed:
                await self._changed.wait()

    async def _run_worker(self) -> str:
        """One worker from start to end; why it ended."""
        now = asyncio.get_running_loop().time()
        self._hung = {index: until for index, until in self._hung.items() if until > now}
        asked = self._asked
        try:
            worker = await WorkerProcess.start(
                self._settings,
                Task(answer=asked, skip=frozenset(self._hung), hears_events=now >= self._deaf_until),
                self._kill,
            )
        except OSError as error:
            self._roster.blind(f"the process that reads the GPUs cannot be started: {error}")
            return "crash"
        self._worker = worker
        if self._asked > asked:  # while it was starting
            worker.send(f"discover {self._asked}")
        try:
            return await self._listen(worker)
        except TimeoutError:
            self._blame(worker, Lane.SAMPLER)
            return "timeout"
        finally:
            self._worker = None
            if not await worker.end(self._settings.reap_within_s):
                self._leave_unreaped(worker)

    async def _listen(self, worker: WorkerProcess) -> str:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.silence_s
        while True:
            async with asyncio.timeout_at(deadline):
                message = await worker.next_line()
            if message is not None and message["kind"] != "fault":  # the watcher's word is not the sampler's
                deadline = loop.time() + self._settings.silence_s
            match message:
                case None:
                    self._roster.blind("the process that reads the GPUs crashed")
                    return "crash"
                case {"kind": "unavailable"}:
                    self._roster.blind(_why_unavailable(message))
                    return "lifecycle"
                case {"kind": "inventory", "answer": answer}:
                    self._roster.read(message)
                    self._faults.place()
                    await self._publish(answer)
                    self._retry_hung(worker)
                case {"kind": "readings", "gpus": rows}:
                    self._take_sample(rows, message)
                    await self._publish(self._answered)
                case {"kind": "fault"}:
                    self._faults.hear_worker(message)
                case {"kind": "beat", "watcher_silent_s": silent_s}:
                    if silent_s > self._settings.silence_s:
                        self._blame(worker, Lane.WATCHER)
                        return "timeout"
                case _:
                    raise AssertionError(f"the worker said {message}")

    def _take_sample(self, rows: list[dict[str, Any]], message: dict[str, Any]) -> None:
        self._last_success = self._clock.now()
        self._sampled_at = asyncio.get_running_loop().time()
        self._medium = {row["uuid"]: row.get("medium", self._medium.get(row["uuid"], {})) for row in rows}
        self._readings = tuple(
            worker_rows.reading(row | self._medium[row["uuid"]], self._last_success) for row in rows
        )
        self._failures = Counter({(symbol, code): count for symbol, code, count in message["failures"]})
        self._roster.sampled(rows)
        self._on_sweep(message["took_s"])

    def _retry_hung(self, worker: WorkerProcess) -> None:
        """What was left alone long enough is tried again: a card at the inventory after this one."""
        now = asyncio.get_running_loop().time()
        if float("-inf") < self._deaf_until <= now:
            self._deaf_until = float("-inf")
            worker.send("hear")
        over = {index for index, until in self._hung.items() if until <= now}
        if over:
            self._hung = {index: until for index, until in self._hung.items() if index not in over}
            worker.send("skip " + ",".join(str(index) for index in sorted(self._hung)))

    def _blame(self, worker: WorkerProcess, lane: Lane) -> None:
        """A thread of the worker is silent: find out on whose account."""
        call = worker.call_in_progress(lane)
        if lane is Lane.WATCHER and (call is None or call.index == NO_GPU):
            # Cards are read all the same, and the kernel's log is heard: do without events for a while.
            self._deaf_until = asyncio.get_running_loop().time() + self._settings.quarantine_s
            return
        if call is None or call.index == NO_GPU:
            where = f"in {call.symbol}" if call else "outside of any call"
            self._roster.blind(f"NVML does not answer, it hangs {where}")
            return
        self._hung[call.index] = asyncio.get_running_loop().time() + self._settings.quarantine_s
        self._roster.hung(call.index, f"NVML hung in {call.symbol} on this card")

    def _leave_unreaped(self, worker: WorkerProcess) -> None:
        """It hangs in the kernel: count it until it is gone, and do not pile up more of them."""
        self._unreapable += 1
        self._roster.blind("the process that reads the GPUs hangs in the kernel and cannot be killed")
        if self._is_leaving:
            return
        burial = self._tasks.create_task(self._bury(worker))
        self._burials.add(burial)
        burial.add_done_callback(self._burials.discard)

    async def _bury(self, worker: WorkerProcess) -> None:
        await worker.reaped()
        self._unreapable -= 1
        await self._publish(self._answered)

    async def _publish(self, answered: int) -> None:
        async with self._changed:
            self._answered = max(self._answered, answered)
            self._changed.notify_all()


def _why_unavailable(message: dict[str, Any]) -> str:
    """One line for people."""
    code: int | None = message["code"]
    if code is None:
        return f"no NVIDIA driver: {message['detail']}"
    return f"{'no NVIDIA driver' if code in NO_DRIVER else 'NVML does not work'}: {meaning(code)}"
