"""What is left, and which refused orders could fit in it: a cheap look before the dear one.

Owns no decision: what may have room is considered by every rule again. Invariant: no order that would be
bid on because something was given back is passed over.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from provider.core import disk_space
from provider.core.affording import differ
from provider.core.needs import need
from provider.core.policy import Policy
from provider.core.space import Free, free, shortage
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
        Refusal.OPEN_BIDS_SPENT,
        Refusal.HOSTNAME_TAKEN,
        Refusal.DEPOSIT_BUDGET_SPENT,
    }
)
"""Reasons that something given back can take away."""
CURED_BY_CHOICE = CURED_BY_ROOM | {
    Refusal.PRICE_TOO_LOW,
    Refusal.BELOW_COST,
    Refusal.GPU_UNKNOWN,
    Refusal.GPU_UNHEALTHY,
}
"""The same where cards cost differently, or nodes are several: what is given back may be the cheaper card,
and the reason that was told is the first node's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What every node has left, as long as nobody takes of it."""

    left: tuple[Free, ...]
    policy: Policy
    runtime: RuntimeCapabilities | None
    takes_bids: bool
    """Not where the operator's limit of open bids is reached."""
    fitting: dict[GpuAsk, tuple[int, ...]] = field(default_factory=dict)
    """Of each ask so far, how many cards fit it on each node: markets are full of equal orders."""

    @classmethod
    def of(cls, state: AgentState) -> Room:
        return cls(
            left=tuple(free(state, node) for node in state.nodes),
            policy=state.policy,
            runtime=state.runtime,
            takes_bids=not 0 < state.policy.bids.open_bids_most <= len(state.bids),
        )

    @property
    def has_choice(self) -> bool:
        return len(self.left) > 1 or any(differ(left.topology, self.policy) for left in self.left)

    def may_have(self, waiting: WaitingOrder) -> bool:
        """Whether a node has as much as the order takes in all, and as many cards of each kind."""
        why, group = waiting.refused.why, waiting.order.group
        if why not in (CURED_BY_CHOICE if self.has_choice else CURED_BY_ROOM) or not self.takes_bids:
            return False
        if why is Refusal.GPU_BUSY and not any(left.biddable for left in self.left):
            return False
        needed = need(group)
        if self.policy.ingress is not None:
            needed = replace(needed, ports=needed.ports - needed.http_ports)
        by_disk = disk_space.by_disk(needed.storage, self.runtime)
        return any(
            shortage(left, needed, by_disk) is None and self._has_gpus(number, group)
            for number, left in enumerate(self.left)
        )

    def _has_gpus(self, number: int, group: GroupSpec) -> bool:
        return all(
            unit.resources.gpu.units * unit.count <= self._fitting(unit.resources.gpu)[number]
            for unit in group.units
            if unit.resources.gpu.units
        )

    def _fitting(self, ask: GpuAsk) -> tuple[int, ...]:
        counts = self.fitting.get(ask)
        if counts is None:
            counts = tuple((left.topology.fitting(ask) & left.biddable).bit_count() for left in self.left)
            self.fitting[ask] = counts
        return counts
