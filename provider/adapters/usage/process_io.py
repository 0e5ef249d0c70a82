"""Block input and output from ``/proc/PID/io``, where a container's control groups do not tell.

They do not on version 1 since Linux 6.10, where nothing is counted unless a limit is set on the disk. What a
process that ended did is its parent's once it was waited for (proc_pid_io(5)), so the sum over a container's
processes keeps it; only what somebody from outside ran in it (``exec``) goes when it ends. Invariant: the
figure of a container never falls while it runs and this program does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

PROCESSES_MOST = 256
"""In one container: where there are more, no figure is worth reading all of them."""

_AMOUNTS = re.compile(rb"^read_bytes: (\d+)\nwrite_bytes: (\d+)$", re.MULTILINE)
Read = Callable[[str], bytes | None]


@dataclass(slots=True)
class _Seen:
    sums: tuple[int, int]
    lost: tuple[int, int]
    """Of processes that took their figures with them."""


class ProcessIo:
    """``read`` gives a small file's content, ``proc`` is ``/proc``."""

    def __init__(self, proc: str, read: Read) -> None:
        self._proc = proc
        self._read = read
        self._seen: dict[str, _Seen] = {}

    def keep_only(self, containers: set[str]) -> None:
        """Forget all others."""
        self._seen = {name: seen for name, seen in self._seen.items() if name in containers}

    def figures(self, container: str, group: str) -> tuple[int, int] | None:
        """Bytes read and written by the processes in the folder ``group``; None where that is not told."""
        pids = (self._read(f"{group}/cgroup.procs") or b"").split()
        if not 0 < len(pids) <= PROCESSES_MOST:
            return None
        told = [found for pid in pids if (found := self._of(pid.decode("ascii", "replace"))) is not None]
        if not told:
            return None
        sums = sum(each[0] for each in told), sum(each[1] for each in told)
        seen = self._seen.setdefault(container, _Seen(sums=sums, lost=(0, 0)))
        seen.lost = (
            seen.lost[0] + max(seen.sums[0] - sums[0], 0),
            seen.lost[1] + max(seen.sums[1] - sums[1], 0),
        )
        seen.sums = sums
        return sums[0] + seen.lost[0], sums[1] + seen.lost[1]

    def _of(self, pid: str) -> tuple[int, int] | None:
        found = _AMOUNTS.search(self._read(f"{self._proc}/{pid}/io") or b"")
        return (int(found[1]), int(found[2])) if found else None
