"""What is left, and which refused orders could fit in it: a cheap look before the dear one.

Owns no decision: what may have room is considered by every rule again. Invariant: no order that would be
bid on because something was given back is passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from provider.core import disk_space
from provider.core.needs import Need, need
from provider.core.placement import Free, fits, free
from provider.core.state import AgentState, WaitingOrder
from provider.domain.market import GroupSpec, Refusal
from provider.domain.resources import GpuAsk
from provider.domain.workload import RuntimeCapabilities

CURED_BY_ROOM = frozenset(
    {
        Refusal.CPU_SHORT,
        Refusal.MEMORY_SHORT,
        Refusal.STORAGE_SHORT,
        Refusal.PORTS_SHORT,
        Refusal.GPU_BUSY,
    }
)
"""Reasons that something given back can take away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What every node has left, as long as nobody takes of it."""

    left: tuple[Free, ...]
    runtime: RuntimeCapabilities | None
    has_ingress: bool
    fitting: dict[GpuAsk, tuple[int, ...]] = field(default_factory=dict)
    """Of each ask so far, how many cards fit it on each node: markets are full of equal orders."""

    @classmethod
    def of(cls, state: AgentState) -> Room:
        return cls(
            left=tuple(free(state, node) for node in state.nodes),
            runtime=state.runtime,
            has_ingress=state.policy.ingress is not None,
        )

    def may_have(self, waiting: WaitingOrder) -> bool:
        """Whether a node has as much as the order takes in all, and as many cards of each kind."""
        why, group = waiting.refused.why, waiting.order.group
        if why not in CURED_BY_ROOM:
            return False
        if why is Refusal.GPU_BUSY and not any(left.gpus for left in self.left):
            return False
        needed = need(group)
        disks = disk_space.by_disk(needed.storage, self.runtime)
        return any(
            self._has(left, needed, disks) and self._has_gpus(number, group)
            for number, left in enumerate(self.left)
        )

    def _has(self, left: Free, needed: Need, disks: Mapping[str, int]) -> bool:
        ports = needed.ports - (needed.http_ports if self.has_ingress else 0)
        return (
            needed.cpu_millis <= left.cpu_millis
            and needed.memory_bytes <= left.memory_bytes
            and ports <= left.ports
            and all(size <= left.disks.get(disk, 0) for disk, size in disks.items())
        )

    def _has_gpus(self, number: int, group: GroupSpec) -> bool:
        for unit in group.units:
            ask = unit.resources.gpu
            if ask.units * unit.count > len(self.left[number].gpus):
                return False
            if ask.units and ask.units * unit.count > self._fitting(ask)[number]:
                return False
        return True

    def _fitting(self, ask: GpuAsk) -> tuple[int, ...]:
        counts = self.fitting.get(ask)
        if counts is None:
            counts = tuple(sum(fits(gpu, ask) for gpu in left.gpus) for left in self.left)
            self.fitting[ask] = counts
        return counts
