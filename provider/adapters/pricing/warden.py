"""Runs one program and sees to it that nothing of it is left: a process between the daemon and the program.

Owns every process that the program leaves behind, whatever group or session that has put itself in: this is
their reaper (``PR_SET_CHILD_SUBREAPER``), so who loses its parent becomes its child, and is killed. Does not
own time (the daemon says when it is over, with SIGTERM) nor what is said. Invariant: when this has ended by
itself, the program and all that came of it have ended and are reaped.

Run as a file, without the package: it has to start at once. ``warden.py STATUS_FD COMMAND...``; the program's
status (an exit status, or minus the signal that ended it) is written to ``STATUS_FD`` as text.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
"""``prctl(2)``."""
NOT_STARTED = 127


class Over(Exception):
    """Time is over."""


def main(status_fd: int, command: list[str]) -> int:
    """Until nothing of it is left."""
    libc = ctypes.CDLL(None)
    signal.signal(signal.SIGTERM, _over)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)  # a daemon that is killed cannot say that it is over
    with suppress(Over):
        program = os.fork()
        if program == 0:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # and one that kills this process dies with it
            _become(status_fd, command)
        os.write(status_fd, str(_wait_for(program)).encode())
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # in here too: told just now, it must not end by it
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _end_all()
    return 0


def _over(_number: int, _frame: object) -> None:
    raise Over


def _become(status_fd: int, command: list[str]) -> None:
    """Never returns: from here on this is the program, or gone."""
    try:
        os.close(status_fd)
        os.execv(command[0], command)  # noqa: S606 -- the operator's own program, under a shell's limits
    finally:
        os._exit(NOT_STARTED)  # a copy of this process must not go on as if it were the first


def _wait_for(program: int) -> int:
    """Its status; those that it left behind meanwhile are reaped as they end."""
    while True:
        pid, status = os.wait()
        if pid == program:
            return os.waitstatus_to_exitcode(status)


def _end_all() -> None:
    """Children, and theirs once they have become ours, until there are none."""
    while True:
        for child in _children():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        try:
            os.wait()
        except ChildProcessError:
            return


def _children() -> list[int]:
    """Ours, now. The kernel lists them by thread, of which there is one; else all processes are asked."""
    own = os.getpid()
    try:
        return [int(pid) for pid in Path(f"/proc/{own}/task/{own}/children").read_text().split()]
    except OSError:
        there = (each.name for each in Path("/proc").iterdir())
        return [pid for pid in map(int, filter(str.isdigit, there)) if _parent(pid) == own]


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0  # it has ended meanwhile


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]), sys.argv[2:]))
