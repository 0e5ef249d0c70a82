"""What is left of a node for another bid: its capacity, as far as it may be promised, less what is held.

Owns overcommitment and overlapping bids; which of the cards and ports left somebody gets is ``placement``'s.
Invariant: what leases hold is never promised again, and no card is in more bids than it may be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from provider.core import disk_space
from provider.core.choosing import numbers
from provider.core.holdings import UNHELD, Held, NodeHoldings, port_bits
from provider.core.needs import Need
from provider.core.state import AgentState, holdings
from provider.core.topology import Topology, topology
from provider.domain.gpu import Gpu
from provider.domain.market import Refusal, Refused
from provider.domain.node import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Free:
    """What is left of a node for another bid."""

    cpu_millis: int
    memory_bytes: int
    disks: Mapping[str, int]
    """Bytes by disk, that of the containers' layers among them."""
    layers_disk: str
    open_ports: int
    """Ports of the operator's range that nobody has, one bit each: bit 0 is the first."""
    topology: Topology
    unheld: int
    """Healthy cards that nobody holds, as a set of their numbers."""
    biddable: int
    """These, and those that so few bids hold that they may be in another."""

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


def free(state: AgentState, node: Node) -> Free:
    """What is left of ``node`` beside what open bids and live leases hold of it."""
    now = holdings(state).get(node.name, UNHELD)
    bids, leases, policy = now.bids, now.leases, state.policy.bids
    cards = topology(node.inventory, state.policy.price.gpu_hour)
    leased = _held(cards, leases, 1)
    cpu = _times(node.capacity.cpu_millis, policy.overcommit.cpu)
    memory = _times(node.capacity.memory_bytes, policy.overcommit.memory)
    return Free(
        cpu_millis=_left(cpu, leases.cpu_millis, bids.cpu_millis, policy.overbid),
        memory_bytes=_left(memory, leases.memory_bytes, bids.memory_bytes, policy.overbid),
        disks=_disks(state, node, now),
        layers_disk=state.runtime.layers_disk if state.runtime else "",
        open_ports=_open_ports(state, node, now),
        topology=cards,
        unheld=cards.sound & ~leased & ~_held(cards, bids, 1),
        biddable=cards.sound & ~leased & ~_held(cards, bids, policy.overbid),
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


def _left(whole: int, leased: int, in_bids: int, overbid: int) -> int:
    """Bids may come to more than is not leased, where they may overlap; one alone may not."""
    unleased = whole - leased
    return min(unleased, unleased * overbid - in_bids)


def _disks(state: AgentState, node: Node, now: NodeHoldings) -> Mapping[str, int]:
    policy, there_is = state.policy.bids, disk_space.there_is(node, state.runtime)
    leased = disk_space.by_disk(now.leases.storage, state.runtime)
    in_bids = disk_space.by_disk(now.bids.storage, state.runtime)
    return {
        disk: _left(
            _times(size, policy.overcommit.storage), leased.get(disk, 0), in_bids.get(disk, 0), policy.overbid
        )
        for disk, size in there_is.items()
    }


def _open_ports(state: AgentState, node: Node, now: NodeHoldings) -> int:
    first, last = state.policy.port_range
    taken = now.bids.ports | now.leases.ports
    if node.busy_ports:
        taken |= port_bits(node.busy_ports)
    return ~(taken >> first) & ((1 << (last - first + 1)) - 1)


def _held(cards: Topology, held: Held, times: int) -> int:
    """The cards that so many hold at least."""
    found = 0
    for uuid, count in held.gpus.items():
        number = cards.numbers.get(uuid)
        if count >= times and number is not None:
            found |= 1 << number
    return found
