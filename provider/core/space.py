"""What is left of a node for another bid: its capacity, as far as it may be promised, less what is held.

Owns overcommitment and overlapping bids; which of the cards and ports left somebody gets is ``placement``'s.
Invariant: what leases hold is never promised again, and no card is in more bids than it may be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from provider.core import disk_space
from provider.core.bid_policy import BidPolicy
from provider.core.choosing import numbers
from provider.core.holdings import UNHELD, Held, NodeHoldings, port_bits
from provider.core.needs import Need, need
from provider.core.policy import Policy
from provider.core.remembered import by_identity
from provider.core.state import AgentState, holdings
from provider.core.topology import KEPT_MOST, Topology, topology
from provider.domain.gpu import Gpu
from provider.domain.ids import NodeName
from provider.domain.market import GroupSpec, Refusal, Refused
from provider.domain.node import Node
from provider.domain.workload import RuntimeCapabilities


@dataclass(frozen=True, slots=True, kw_only=True)
class Free:
    """What is left of a node for another bid."""

    cpu_millis: int
    memory_bytes: int
    disks: Mapping[str, int]
    """Bytes by disk, that of the containers' layers among them."""
    layers_disk: str
    open_ports: int = field(repr=False)
    """Ports of the operator's range that nobody has, one bit each: bit 0 is the first."""
    topology: Topology
    pools: tuple[int, ...]
    """Sets of healthy cards: those that nobody holds, these and those in one bid, and so on, as far as bids
    may overlap. Each is larger than the one before."""

    @property
    def biddable(self) -> int:
        """All cards that may be in another bid."""
        return self.pools[-1]

    @property
    def storage_bytes(self) -> int:
        """On the disk of the containers' layers."""
        return self.disks[self.layers_disk]

    @property
    def ports(self) -> int:
        """How many."""
        return self.open_ports.bit_count()

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        """Those that may be in another bid, by index."""
        return tuple(self.topology.cards[number] for number in numbers(self.biddable))


def is_overdrawn(state: AgentState, group: GroupSpec, node_name: NodeName) -> bool:
    """Whether a bid for ``group`` that is open on a node cannot be delivered there, or all bids there
    together stand for more than they may. Not where the node is not known."""
    node = next((node for node in state.nodes if node.name == node_name), None)
    if node is None:
        return False
    together, needed = free(state, node), need(group)
    if together.cpu_millis < 0 or together.memory_bytes < 0 or min(together.disks.values()) < 0:
        return True
    now = holdings(state).get(node.name, UNHELD)
    alone = _unleased(state.policy, state.runtime, node, now.leases)
    by_disk = disk_space.by_disk(needed.storage, state.runtime)
    return shortage(alone, replace(needed, ports=0), by_disk) is not None


def free(state: AgentState, node: Node) -> Free:
    """What is left of ``node`` beside what open bids and live leases hold of it."""
    return _left_of(state.policy, state.runtime, node, holdings(state).get(node.name, UNHELD))


@by_identity(most=KEPT_MOST)
def _left_of(policy: Policy, runtime: RuntimeCapabilities | None, node: Node, now: NodeHoldings) -> Free:
    """Remembered, because most orders are refused, and as long as they are nothing of it changes."""
    bids, most, overbid = now.bids, _unleased(policy, runtime, node, now.leases), policy.bids.overbid
    in_bids = disk_space.by_disk(bids.storage, runtime)
    return Free(
        cpu_millis=_left(most.cpu_millis, bids.cpu_millis, overbid),
        memory_bytes=_left(most.memory_bytes, bids.memory_bytes, overbid),
        disks={disk: _left(size, in_bids.get(disk, 0), overbid) for disk, size in most.disks.items()},
        layers_disk=most.layers_disk,
        open_ports=most.open_ports & ~(bids.ports >> policy.port_range[0]),
        topology=most.topology,
        pools=_pools(most.biddable, most.topology, bids, overbid),
    )


@by_identity(most=KEPT_MOST)
def _unleased(policy: Policy, runtime: RuntimeCapabilities | None, node: Node, leases: Held) -> Free:
    """What is left beside leases alone. Remembered, because bids come and go many times before one is won."""
    cards, rules = topology(node.inventory, policy.price.gpu_hour), policy.bids
    return Free(
        cpu_millis=_times(node.capacity.cpu_millis, rules.overcommit.cpu) - leases.cpu_millis,
        memory_bytes=_times(node.capacity.memory_bytes, rules.overcommit.memory) - leases.memory_bytes,
        disks=_unleased_disks(rules, runtime, node, leases),
        layers_disk=runtime.layers_disk if runtime else "",
        open_ports=_open_ports(policy.port_range, node, leases),
        topology=cards,
        pools=(cards.sound & ~_held(cards, leases, 1),),
    )


def shortage(left: Free, needed: Need, by_disk: Mapping[str, int]) -> Refused | None:
    """The first thing, cards aside, of which there is less than is needed."""
    if needed.cpu_millis > left.cpu_millis:
        return _short(Refusal.CPU_SHORT, needed.cpu_millis, left.cpu_millis, "m")
    if needed.memory_bytes > left.memory_bytes:
        return _short(Refusal.MEMORY_SHORT, needed.memory_bytes, left.memory_bytes, " bytes")
    for disk, size in by_disk.items():
        if size > left.disks[disk]:
            return _short(Refusal.STORAGE_SHORT, size, left.disks[disk], " bytes")
    if needed.ports > left.ports:
        return _short(Refusal.PORTS_SHORT, needed.ports, left.ports, " ports")
    return None


def _short(why: Refusal, required: int, available: int, unit: str) -> Refused:
    return Refused(why=why, required=f"{required}{unit}", available=f"{max(available, 0)}{unit}")


def _times(amount: int, factor: Decimal) -> int:
    return amount if factor == 1 else int(amount * factor)


def _left(unleased: int, in_bids: int, overbid: int) -> int:
    """Bids may come to more than is not leased, where they may overlap; one alone may not."""
    return min(unleased, unleased * overbid - in_bids)


def _unleased_disks(
    rules: BidPolicy, runtime: RuntimeCapabilities | None, node: Node, leases: Held
) -> Mapping[str, int]:
    leased = disk_space.by_disk(leases.storage, runtime)
    return {
        disk: _times(size, rules.overcommit.storage) - leased.get(disk, 0)
        for disk, size in disk_space.there_is(node, runtime).items()
    }


def _open_ports(port_range: tuple[int, int], node: Node, leases: Held) -> int:
    first, last = port_range
    taken = leases.ports
    if node.busy_ports:
        taken |= port_bits(node.busy_ports)
    return ~(taken >> first) & ((1 << (last - first + 1)) - 1)


def _pools(unleased: int, cards: Topology, bids: Held, overbid: int) -> tuple[int, ...]:
    if overbid == 1 or not bids.gpus:
        return (unleased & ~_held(cards, bids, 1),)
    most = min(overbid, max(bids.gpus.values()) + 1)
    pools = (unleased & ~_held(cards, bids, times) for times in range(1, most + 1))
    return tuple(dict.fromkeys(pools))


def _held(cards: Topology, held: Held, times: int) -> int:
    """The cards that so many hold at least."""
    found = 0
    for uuid, count in held.gpus.items():
        number = cards.numbers.get(uuid)
        if count >= times and number is not None:
            found |= 1 << number
    return found
