"""GPU errors in the kernel's log: what its lines say, and the file as it grows.

Owns the format of ``/dev/kmsg`` (kernel documentation, "dev-kmsg") and of the driver's lines in it (NVIDIA,
"Xid Errors"; ``GPU-I`` names a MIG instance). Tells more than NVML's events do: which process it was, and
what happened before the daemon started; and it goes on when NVML hangs.

Invariant: only lines that the kernel wrote count, and only from their beginning: what a tenant may have
chosen (the name of a process) is never taken for an error. Reading never blocks.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_RECORD = re.compile(rb"(?P<priority>\d+),\d+,(?P<at_us>\d+),[^;]*;(?P<text>[^\n]*)")
_XID = re.compile(
    r"NVRM: Xid \((?:PCI:)?(?P<bus>[0-9a-fA-F:.]+)(?: GPU-I:(?P<instance>\d+))?[^)]*\): (?P<xid>\d+),"
    r"(?: pid=(?P<pid>[^,]*), name=(?P<name>.*?),(?= ))?"
)
_FALLEN = re.compile(
    r"NVRM: (?:The NVIDIA )?GPU (?:at )?(?:PCI:)?(?P<bus>[0-9a-fA-F:.]+).*fallen off the bus"
)
_OFF_THE_BUS = 79
_KERNEL = 0
"""The facility, above the lowest three bits of the priority."""
_MARK = b"NVRM: "
_AT_ONCE_MOST = 1000
"""Reads in a row: then others have their turn, however much the kernel has to say."""
_READ_BYTES = 8192
"""The kernel gives one record a read, and none to a buffer too small for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedXid:
    """An error as the kernel wrote it down. ``bus_id`` has no function: ``0000:18:00``."""

    bus_id: str
    xid: int
    at_us: int
    """Since boot."""
    gpu_instance: int | None = None
    pid: int | None = None
    process: str | None = None


def logged_xid(record: bytes) -> LoggedXid | None:
    """What one record says of a GPU's error, if anything."""
    if _MARK not in record:
        return None
    parts = _RECORD.match(record)
    if parts is None or int(parts["priority"]) >> 3 != _KERNEL:
        return None
    text, at_us = parts["text"].decode(errors="replace"), int(parts["at_us"])
    found = _XID.match(text)
    if found is not None:
        pid = found["pid"] or ""
        return LoggedXid(
            bus_id=_bus_id(found["bus"]),
            xid=int(found["xid"]),
            at_us=at_us,
            gpu_instance=None if found["instance"] is None else int(found["instance"]),
            pid=int(pid) if pid.isdecimal() else None,
            process=found["name"] if pid.isdecimal() else None,
        )
    fallen = _FALLEN.match(text)
    return fallen and LoggedXid(bus_id=_bus_id(fallen["bus"]), xid=_OFF_THE_BUS, at_us=at_us)


def _bus_id(printed: str) -> str:
    """``0000:18:00`` from that, and from ``00000000:18:00.0``."""
    domain, _, rest = printed.partition(":")
    width = f"{int(domain, 16):04x}" if domain else "0000"
    return f"{width}:{rest.partition('.')[0]}".lower()


class KernelLog:
    """The file, followed from its beginning: from boot on, as far as the kernel still has it."""

    def __init__(self, path: Path, hear: Callable[[LoggedXid, float], None]) -> None:
        self._path = path
        self._hear = hear
        self._fd: int | None = None
        self._rest = b""
        self._is_history = True
        self.problem: str | None = None
        """Why it is not read, one line."""

    @property
    def is_open(self) -> bool:
        return self._fd is not None

    def open(self) -> None:
        """Begin to follow. Where that is not permitted ``problem`` says why, and nothing is heard."""
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            self._fd = os.open(self._path, flags)
        except OSError as error:
            self.problem = f"{self._path}: {error.strerror}"
            return
        if stat.S_ISREG(os.fstat(self._fd).st_mode):
            self._end("it is a plain file, which cannot be waited for")
            return
        asyncio.get_running_loop().add_reader(self._fd, self._read)
        self._read()

    def close(self) -> None:
        """Fine when it is closed already."""
        if self._fd is not None:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = None

    def _read(self) -> None:
        """All that is there: each read is one record, or in a pipe some bytes of several."""
        assert self._fd is not None
        for _ in range(_AT_ONCE_MOST):
            try:
                data = os.read(self._fd, _READ_BYTES)
            except BlockingIOError:
                self._is_history = False
                return
            except BrokenPipeError:
                continue  # records were overwritten before they were read: on with the oldest that is left
            except OSError as error:
                self._end(str(error.strerror))
                return
            if not data:
                self._end("it ended")
                return
            *records, self._rest = (self._rest + data).split(b"\n")
            for record in records:
                self._take(record)

    def _end(self, why: str) -> None:
        self.problem = f"{self._path}: {why}"
        self.close()

    def _take(self, record: bytes) -> None:
        xid = logged_xid(record)
        if xid is not None:
            # A record that comes while we wait is of now: the kernel's own clock drifts from ours.
            age_s = time.monotonic() - xid.at_us / 1e6 if self._is_history else 0.0
            self._hear(xid, max(0.0, age_s))
