"""Whether a lease is held to the NUMA node that its cards are at, and to what of it.

A process far from its cards pays for it at each copy. Only where one node has all of the lease's cards and
enough of itself left; a machine of one node has no far side. Invariant: leases that are held to a NUMA node
never hold more of its CPUs than it has, as often as the operator promises them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from provider.core.bid_policy import NumaPinning
from provider.core.holdings import UNHELD
from provider.core.needs import Need
from provider.core.state import AgentState, holdings
from provider.domain.gpu import Gpu
from provider.domain.market import Placement
from provider.domain.node import Node, NumaNode


def nearby(
    state: AgentState, node: Node, needed: Need, gpus: Sequence[Gpu], placement: Placement
) -> Placement:
    """``placement``, held to the NUMA node of ``gpus`` where it can be."""
    pinning, parts = state.policy.bids.numa, node.capacity.numa
    if pinning is NumaPinning.OFF or len(parts) < 2:
        return placement
    at = {gpu.numa_node for gpu in gpus}
    if len(at) != 1:
        return placement
    near = next((part for part in parts if part.number in at), None)
    if near is None or not _has_room(state, node, needed, near):
        return placement
    is_strict = pinning is NumaPinning.STRICT
    return replace(
        placement,
        numa_node=near.number,
        cpus=near.cpus,
        memory_nodes=str(near.number) if is_strict else "",
    )


def _has_room(state: AgentState, node: Node, needed: Need, near: NumaNode) -> bool:
    now, policy = holdings(state).get(node.name, UNHELD), state.policy.bids
    cpu = int(near.cpu_count * 1000 * policy.overcommit.cpu)
    for held in (now.bids, now.leases):
        cpu -= held.numa_cpu_millis.get(near.number, 0)
    if needed.cpu_millis > cpu:
        return False
    if policy.numa is not NumaPinning.STRICT:
        return True
    # Leases that are held to no NUMA node may have all of their memory on this one.
    memory = near.memory_bytes
    for held in (now.bids, now.leases):
        elsewhere = sum(size for number, size in held.numa_memory_bytes.items() if number != near.number)
        memory -= held.memory_bytes - elsewhere
    return needed.memory_bytes <= memory
