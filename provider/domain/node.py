"""What there is: one machine of a provider. Capacity is a tuple of nodes even where there is one."""

from __future__ import annotations

from dataclasses import dataclass

from provider.domain.gpu import Gpu, GpuInventory
from provider.domain.ids import NodeName


@dataclass(frozen=True, slots=True, kw_only=True)
class NumaNode:
    """A part of a machine whose CPUs and memory are near to each other, and to the cards at its bridges."""

    number: int
    """Linux's, as in ``Gpu.numa_node``."""
    cpus: str
    """Its CPUs that are online, as Linux and container engines write them: ``0-15,32-47``."""
    cpu_count: int
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCapacity:
    """What a machine offers besides GPUs, with the operator's own share already taken off."""

    cpu_millis: int
    memory_bytes: int
    storage_bytes: int
    boot_id: str
    """Changes at every boot: ``/proc/sys/kernel/random/boot_id``."""
    numa: tuple[NumaNode, ...] = ()
    """Those with CPUs and memory, by number; empty where they cannot be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One machine: its capacity and its GPUs."""

    name: NodeName
    capacity: HostCapacity
    inventory: GpuInventory
    busy_ports: frozenset[int] = frozenset()
    """Of the operator's range, those on which somebody listens already who is no lease of ours."""

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        return self.inventory.gpus
