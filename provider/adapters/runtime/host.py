"""What the engine's host can give a container, read from the machine itself since no API tells."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from provider.adapters.runtime.spec import OPEN_FILES, OPEN_FILES_MAX
from provider.domain.moment import Instant

_CAP_SYS_RESOURCE = 24
"""linux/capability.h: lets a process raise a hard limit, up to ``fs.nr_open``."""


def open_files_ceiling(socket_path: str) -> int:
    """The highest hard limit of open files that the engine can set; it fails to start one with more.

    Read from the process behind the socket (or the one that listens in its place). Where that cannot be
    seen, from another PID namespace, what every engine can give is assumed.
    """
    pid = engine_pid(socket_path)
    return _ceiling_of(pid) if pid else OPEN_FILES


def engine_pid(socket_path: str) -> int | None:
    """Of the process that listens on the engine's socket; None when nobody does, 0 when it cannot be seen."""
    peer = socket.socket(socket.AF_UNIX)
    try:
        with peer:
            peer.settimeout(1)
            peer.connect(socket_path)
            raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    except OSError:
        return None
    pid: int = struct.unpack("3i", raw)[0]
    return pid


def engine_began(socket_path: str) -> Instant | None:
    """When that process started; None when it cannot be seen (proc_pid_stat(5), field 22)."""
    pid = engine_pid(socket_path)
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    except (OSError, StopIteration):
        return None
    ticks = int(fields[19])
    return Instant(int(boot.split()[1]) * 1000 + ticks * 1000 // os.sysconf("SC_CLK_TCK"))


@lru_cache(maxsize=8)
def _ceiling_of(pid: int) -> int:
    try:
        most = int(Path("/proc/sys/fs/nr_open").read_text())
        status = Path(f"/proc/{pid}/status").read_text()
        limits = Path(f"/proc/{pid}/limits").read_text()
    except (OSError, ValueError):
        return OPEN_FILES
    effective = next((line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), "0")
    if not int(effective, 16) >> _CAP_SYS_RESOURCE & 1:
        hard = next(
            (line.split()[4] for line in limits.splitlines() if line.startswith("Max open files")), "0"
        )
        most = min(most, int(hard)) if hard.isdigit() else most
    return min(OPEN_FILES_MAX, most)


def has_apparmor(info: Mapping[str, object]) -> bool:
    """Whether the engine confines containers with AppArmor (``SecurityOptions`` of ``GET /info``)."""
    options = info.get("SecurityOptions")
    return isinstance(options, list) and any("name=apparmor" in str(option) for option in options)


def cpus_of(info: Mapping[str, object]) -> int | None:
    """Cores of the engine's machine (``NCPU`` of ``GET /info``); None where it does not tell."""
    told = info.get("NCPU")
    return told if isinstance(told, int) and told > 0 else None
