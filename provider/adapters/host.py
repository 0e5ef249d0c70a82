"""``ports.HostProbe`` on Linux: logical CPUs, memory, disk, boot id.

Owns the reading and the operator's reserve; does not know what of it is rented out. What the machine has
counts, not what the daemon itself is confined to: containers are started by the engine, outside of the
daemon's own cgroup and CPU affinity. Invariant: no figure is negative, and none is guessed.
"""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path

from provider.adapters import sockets
from provider.domain.errors import ConfigError
from provider.domain.ids import NodeName
from provider.domain.node import HostCapacity, NumaNode

MILLIS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReserve:
    """What the operator keeps for the machine itself."""

    cpu_millis: int = 0
    memory_bytes: int = 0
    storage_bytes: int = 0


class LinuxHost:
    """``data_root`` is where the engine keeps images and containers; ``proc`` and ``sys`` may be a test's.

    ``held_bytes`` of its disk are not free, but held by leases that are counted again.
    """

    def __init__(
        self,
        data_root: Path,
        *,
        reserve: HostReserve = HostReserve(),
        held_bytes: int = 0,
        proc: Path = Path("/proc"),
        sys: Path = Path("/sys"),
    ) -> None:
        self._reserve = reserve
        self._proc = proc
        self._sys = sys
        self._storage_bytes = _free_bytes(data_root) + held_bytes

    def capacity(self) -> HostCapacity:
        """Constant for the life of this object. ``ConfigError``: there is no such ``data_root``."""
        return HostCapacity(
            cpu_millis=max(0, self._cpus() * MILLIS - self._reserve.cpu_millis),
            memory_bytes=max(0, self._memory_bytes() - self._reserve.memory_bytes),
            storage_bytes=max(0, self._storage_bytes - self._reserve.storage_bytes),
            boot_id=(self._proc / "sys/kernel/random/boot_id").read_text().strip(),
            numa=self._numa(),
        )

    def busy_ports(self) -> frozenset[int]:
        return frozenset(port for _, port in sockets.listening(self._proc / "net", loopback=True))

    def _cpus(self) -> int:
        """Online logical CPUs, as ``0-3,8`` in sysfs."""
        try:
            online = (self._sys / "devices/system/cpu/online").read_text().strip()
        except OSError:  # a container without /sys
            return os.cpu_count() or 1
        return len(_cpu_numbers(online))

    def _numa(self) -> tuple[NumaNode, ...]:
        """Nodes with CPUs and memory; none where this process sees less than the machine has, as in a
        container: an engine refuses a container that is held to CPUs which it does not have itself."""
        allowed = _text(self._sys / "fs/cgroup/cpuset.cpus.effective")
        nodes = []
        for folder in (self._sys / "devices/system/node").glob("node[0-9]*"):
            cpus, facts = _text(folder / "cpulist"), _text(folder / "meminfo") or ""
            memory = re.search(r"MemTotal:\s+(\d+) kB", facts)
            if not cpus or memory is None or not int(memory[1]):
                continue
            if allowed and not _cpu_numbers(cpus) <= _cpu_numbers(allowed):
                return ()
            nodes.append(
                NumaNode(
                    number=int(folder.name.removeprefix("node")),
                    cpus=cpus,
                    cpu_count=len(_cpu_numbers(cpus)),
                    memory_bytes=int(memory[1]) * 1024,
                )
            )
        return tuple(sorted(nodes, key=lambda node: node.number))

    def _memory_bytes(self) -> int:
        match = re.search(r"^MemTotal:\s+(\d+) kB$", (self._proc / "meminfo").read_text(), re.MULTILINE)
        assert match, "every Linux has MemTotal in /proc/meminfo"
        return int(match[1]) * 1024


def _cpu_numbers(text: str) -> frozenset[int]:
    """``0-3,8`` as Linux writes sets of CPUs."""
    ranges = (part.partition("-") for part in text.split(","))
    return frozenset(
        number for first, _, last in ranges for number in range(int(first), int(last or first) + 1)
    )


def _text(path: Path) -> str | None:
    """None where there is no such file, as on kernels without NUMA."""
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _free_bytes(path: Path) -> int:
    """What is free now, without the blocks that are kept for root.

    Read once: what leases write later is theirs already, and must not be taken off twice. After a restart
    it is, which errs on the side of offering too little.
    """
    try:
        facts = os.statvfs(path)
    except OSError as error:
        raise ConfigError(
            f"the disk at {path} cannot be read: {error.strerror}",
            remedy="name the container engine's data directory",
        ) from error
    return facts.f_bavail * facts.f_frsize


def node_name() -> NodeName:
    """The machine's host name, short and lower case, as a node is called in placements."""
    short = socket.gethostname().partition(".")[0].lower()
    return NodeName(re.sub(r"[^a-z0-9-]+", "-", short).strip("-")[:63] or "node")
