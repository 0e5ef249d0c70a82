"""``ports.HostProbe`` with figures of one's own."""

from __future__ import annotations

from dataclasses import replace

from provider.domain.node import HostCapacity
from provider.domain.resources import GIB

SMALL_SERVER = HostCapacity(
    cpu_millis=32_000, memory_bytes=256 * GIB, storage_bytes=2_000 * GIB, boot_id="simulated-boot-1"
)


class SimulatedHost:
    """Always ``given``, until ``reboot``."""

    def __init__(self, given: HostCapacity = SMALL_SERVER) -> None:
        self._capacity = given
        self._boots = 1
        self.listening: frozenset[int] = frozenset()
        """Ports that somebody else on the machine has taken."""

    def capacity(self) -> HostCapacity:
        return self._capacity

    def busy_ports(self) -> frozenset[int]:
        return self.listening

    def reboot(self) -> None:
        """The same machine with another boot id."""
        self._boots += 1
        self._capacity = replace(self._capacity, boot_id=f"simulated-boot-{self._boots}")
