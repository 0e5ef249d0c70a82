"""The process that talks to the driver: ``python -m provider.adapters.gpu.worker <options as JSON>``.

Owns NVML and nothing else. Writes one JSON object a line to stdout, reads commands from stdin, and ends when
stdin does. Stays lean (bindings and JSON, no event loop): it lives as long as the daemon, because holding
NVML open keeps the driver awake. May be killed at any instant.

Two threads: this one samples, ``watcher`` waits for what the driver reports.
Lines out: ``inventory`` (at the start, when asked, and now and then), ``readings`` (every tick), ``beat``
(before each tick and each discovery: alive, however slow the driver), ``fault`` (from the watcher, at any
time), ``unavailable`` (then it ends).
Lines in: ``discover N`` (the answer carries N), ``skip 0,3`` (leave these GPUs alone), ``hear`` (start the
watcher).
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from provider.adapters.gpu.calls import Caller, LibraryGone
from provider.adapters.gpu.reader import Reader
from provider.adapters.gpu.slot import CallSlot, Lane
from provider.adapters.gpu.watcher import Watcher

_PR_SET_PDEATHSIG = 1
"""``prctl(2)``: a worker inside a hung call cannot notice that the daemon died, the kernel can."""


class Worker:
    """The tick, and what to do about a command."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._interval_s: float = options["interval_s"]
        self._medium_s: float = options["medium_s"]
        self._discover_every_s: float = options["discover_every_s"]
        self._answer: int = options["answer"]
        self._pending = b""
        slot = CallSlot.attach(options["slot_fd"])
        self._callers = (Caller(slot, options["slow_call_s"]), Caller(slot.lane(Lane.WATCHER)))
        self._reader = Reader(self._callers[0], Path(options["pci_devices"]), options["inforom_every_s"])
        self._reader.skipped = frozenset(options["skip"])
        self._watcher = Watcher(self._callers[1], _say)
        self._hears_events: bool = options["hears_events"]

    def run(self) -> None:
        """Until stdin ends. Raises ``LibraryGone``."""
        self._discover()
        self._callers[0].slow.clear()  # what the driver first had to wake up is no matter
        if self._hears_events:
            self._watcher.start()
        next_tick = next_medium = time.monotonic()
        next_discovery = next_tick + self._discover_every_s
        while True:
            wait_s = max(0.0, next_tick - time.monotonic())
            if select.select([0], [], [], wait_s)[0] and not self._commands():
                return
            now = time.monotonic()
            if now < next_tick:
                continue
            if now >= next_discovery or self._watcher.is_reconfigured:
                self._watcher.is_reconfigured = False
                self._discover()
                next_discovery = now + self._discover_every_s
            self._sample(is_medium=now >= next_medium)
            if now >= next_medium:
                next_medium = now + self._medium_s
            next_tick = max(next_tick + self._interval_s, now)

    def _discover(self) -> None:
        self._beat()
        _say(kind="inventory", answer=self._answer, **self._reader.inventory())
        self._watcher.look_at(self._reader.cards())

    def _sample(self, *, is_medium: bool) -> None:
        self._beat()
        started = time.monotonic()
        gpus = self._reader.readings(is_medium=is_medium)
        failures = [
            (symbol, code, count)
            for (symbol, code), count in (self._callers[0].failures + self._callers[1].failures).items()
        ]
        _say(kind="readings", gpus=gpus, took_s=time.monotonic() - started, failures=failures)

    def _beat(self) -> None:
        """Alive; and for how long the other thread has been inside of one call."""
        _say(kind="beat", watcher_silent_s=self._watcher.silent_s)

    def _commands(self) -> bool:
        """False at the end of stdin: the daemon has gone."""
        data = os.read(0, 4096)
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            word, _, argument = line.decode().partition(" ")
            if word == "skip":
                self._reader.skipped = frozenset(int(index) for index in argument.split(",") if index)
            elif word == "hear":
                self._watcher.start()
            elif word == "discover":
                self._answer = int(argument)
                self._discover()
        return bool(data)


_speech = threading.Lock()


def _say(**message: Any) -> None:
    """One line. A pipe takes up to 64 KiB without waiting, about ten sweeps of eight cards."""
    line = json.dumps(message, separators=(",", ":")) + "\n"
    with _speech:
        sys.stdout.write(line)
        sys.stdout.flush()


def main() -> int:
    """0 when the daemon closed the pipe, 1 when the library is of no use."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    options = json.loads(sys.argv[1])
    try:
        if options["library"] is not None:
            ctypes.CDLL(options["library"])  # found again by its SONAME when the bindings load NVML
        Worker(options).run()
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            os._exit(0)  # nobody reads any more; flushing at exit would complain about it
        _say(kind="unavailable", code=None, detail=str(error))
        return 1
    except LibraryGone as gone:
        _say(kind="unavailable", code=gone.code, detail=gone.symbol)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
