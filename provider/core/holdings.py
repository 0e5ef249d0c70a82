"""What open bids and live leases hold of each node, kept as they come and go: nothing is ever summed up anew.

Owns the sums. Which GPU or port somebody gets is ``placement``'s, who comes and goes ``draft``'s. Invariant:
holdings equal ``of`` all bids and leases, so they are nothing again once all of them are gone; tests and the
simulated world check it at every step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from provider.core.needs import need
from provider.domain.ids import GpuUuid, NodeName
from provider.domain.market import GroupSpec, Placement

K = TypeVar("K", str, GpuUuid, int)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What one of them holds, or several together. Nothing of a kind is absent, never zero."""

    cpu_millis: int = 0
    memory_bytes: int = 0
    storage: Mapping[str, int] = field(default_factory=dict)
    """Bytes by class, ``needs.LAYERS`` for layers."""
    ports: int = field(default=0, repr=False)
    """Bit n is set for port n: a port is held once. Python writes no number as long as that."""
    gpus: Mapping[GpuUuid, int] = field(default_factory=dict)
    """By how many each is held."""
    numa_cpu_millis: Mapping[int, int] = field(default_factory=dict)
    """By NUMA node, of those that are held to one."""
    numa_memory_bytes: Mapping[int, int] = field(default_factory=dict)
    count: int = 0
    """How many they are."""


NOTHING = Held()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeHoldings:
    """Of one node."""

    bids: Held = NOTHING
    leases: Held = NOTHING


Holdings = Mapping[NodeName, NodeHoldings]
UNHELD = NodeHoldings()
"""Of a node that nobody holds anything of."""


def held(group: GroupSpec, placement: Placement) -> Held:
    """What one bid or lease holds where it was placed."""
    needed, near = need(group), placement.numa_node
    return Held(
        cpu_millis=needed.cpu_millis,
        memory_bytes=needed.memory_bytes,
        storage={kind: size for kind, size in needed.storage.items() if size},
        ports=port_bits(placement.host_ports),
        gpus=dict.fromkeys(placement.gpus, 1),
        numa_cpu_millis={} if near is None else {near: needed.cpu_millis},
        numa_memory_bytes={} if near is None else {near: needed.memory_bytes},
        count=1,
    )


def plus(some: Held, more: Held) -> Held:
    """Both together. A port that both hold is a broken promise."""
    assert not some.ports & more.ports, "a port is held once"
    return Held(
        cpu_millis=some.cpu_millis + more.cpu_millis,
        memory_bytes=some.memory_bytes + more.memory_bytes,
        storage=_sum(some.storage, more.storage, 1),
        ports=some.ports | more.ports,
        gpus=_sum(some.gpus, more.gpus, 1),
        numa_cpu_millis=_sum(some.numa_cpu_millis, more.numa_cpu_millis, 1),
        numa_memory_bytes=_sum(some.numa_memory_bytes, more.numa_memory_bytes, 1),
        count=some.count + more.count,
    )


def less(all_of_it: Held, part: Held) -> Held:
    """``all_of_it`` without ``part``, which is in it."""
    return Held(
        cpu_millis=all_of_it.cpu_millis - part.cpu_millis,
        memory_bytes=all_of_it.memory_bytes - part.memory_bytes,
        storage=_sum(all_of_it.storage, part.storage, -1),
        ports=all_of_it.ports & ~part.ports,
        gpus=_sum(all_of_it.gpus, part.gpus, -1),
        numa_cpu_millis=_sum(all_of_it.numa_cpu_millis, part.numa_cpu_millis, -1),
        numa_memory_bytes=_sum(all_of_it.numa_memory_bytes, part.numa_memory_bytes, -1),
        count=all_of_it.count - part.count,
    )


def _sum(some: Mapping[K, int], more: Mapping[K, int], sign: int) -> Mapping[K, int]:
    if not more:
        return some
    total = dict(some)
    for key, amount in more.items():
        left = total.get(key, 0) + sign * amount
        assert left >= 0, f"{key} is given back by somebody who did not hold it"
        if left:
            total[key] = left
        else:
            total.pop(key, None)
    return total


def with_bid(holdings: Holdings, node: NodeName, bid: Held) -> Holdings:
    """A bid was made."""
    now = holdings.get(node, UNHELD)
    return _with(holdings, node, NodeHoldings(bids=plus(now.bids, bid), leases=now.leases))


def without_bid(holdings: Holdings, node: NodeName, bid: Held) -> Holdings:
    """A bid has an outcome."""
    now = holdings.get(node, UNHELD)
    return _with(holdings, node, NodeHoldings(bids=less(now.bids, bid), leases=now.leases))


def with_lease(holdings: Holdings, node: NodeName, lease: Held) -> Holdings:
    """A lease began."""
    now = holdings.get(node, UNHELD)
    return _with(holdings, node, NodeHoldings(bids=now.bids, leases=plus(now.leases, lease)))


def without_lease(holdings: Holdings, node: NodeName, lease: Held) -> Holdings:
    """A lease is over, and the engine has removed all of it."""
    now = holdings.get(node, UNHELD)
    return _with(holdings, node, NodeHoldings(bids=now.bids, leases=less(now.leases, lease)))


def _with(holdings: Holdings, node: NodeName, now: NodeHoldings) -> Holdings:
    if now.bids.count or now.leases.count:
        return {**holdings, node: now}
    return {name: each for name, each in holdings.items() if name != node}


def port_bits(ports: Iterable[int]) -> int:
    """One bit a port."""
    bits = 0
    for port in ports:
        bits |= 1 << port
    return bits
