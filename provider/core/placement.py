"""Which GPUs, how much of the node, which ports: exactly, at bid time.

Owns the question "does it fit, and where". Capacity is held from bid to outcome: whatever an open bid
or a live lease was placed on is taken. Deterministic: the same state and order give the same placement.
Invariant: no GPU is placed twice, and none that is not healthy is placed at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from provider.core import disk_space
from provider.core.holdings import UNHELD, port_bits
from provider.core.needs import Need, need
from provider.core.state import AgentState, holdings
from provider.domain.gpu import Gpu, GpuHealth
from provider.domain.ids import GpuUuid
from provider.domain.market import GroupSpec, Placement, Refusal, Refused, UnitPlacement
from provider.domain.node import Node
from provider.domain.resources import GIB, GpuAlternative, GpuAsk, ResourceUnit


def matches(gpu: Gpu, alternative: GpuAlternative) -> bool:
    """Whether a card is of the kind asked for, whatever its health."""
    return (
        alternative.vendor == "nvidia"
        and alternative.model in (None, gpu.model)
        and alternative.interface in (None, gpu.interface)
        and (alternative.ram is None or _has_memory(gpu, alternative.ram))
    )


def _has_memory(gpu: Gpu, ram: str) -> bool:
    """Whether the card is sold as one of ``ram``, such as ``80Gi``.

    Cards report up to 8 % less than the number on the box (A10G "24 GB": 22731 MiB; T4 "16 GB": 15079 MiB;
    H100 "80 GB": 81559 MiB): gigabytes are counted both ways, and ECC and older drivers take their part.
    """
    number = ram.removesuffix("Gi")
    if gpu.memory_bytes is None or not number.isdigit():
        return False
    asked = int(number) * GIB
    return asked * 92 <= gpu.memory_bytes * 100 <= asked * 101


@dataclass(frozen=True, slots=True, kw_only=True)
class Free:
    """What is left of a node."""

    cpu_millis: int
    memory_bytes: int
    storage_bytes: int
    """On the disk of the containers' layers."""
    disks: Mapping[str, int]
    """Bytes by disk, that one among them."""
    ports: int
    """How many; which ones is looked up only for a placement."""
    gpus: tuple[Gpu, ...]
    """Healthy and unheld, by index."""


def free(state: AgentState, node: Node) -> Free:
    """``node``'s capacity less what open bids and live leases hold of it."""
    now = holdings(state).get(node.name, UNHELD)
    bids, leases = now.bids, now.leases
    disks = dict(disk_space.there_is(node, state.runtime))
    for held in (bids.storage, leases.storage):
        for disk, size in disk_space.by_disk(held, state.runtime).items():
            disks[disk] -= size
    open_ports = open_port_bits(state, node)
    return Free(
        cpu_millis=node.capacity.cpu_millis - bids.cpu_millis - leases.cpu_millis,
        memory_bytes=node.capacity.memory_bytes - bids.memory_bytes - leases.memory_bytes,
        storage_bytes=disks[state.runtime.layers_disk if state.runtime else ""],
        disks=disks,
        ports=open_ports.bit_count(),
        gpus=tuple(
            gpu
            for gpu in node.gpus
            if gpu.health is GpuHealth.HEALTHY and gpu.uuid not in leases.gpus and gpu.uuid not in bids.gpus
        ),
    )


def open_port_bits(state: AgentState, node: Node) -> int:
    """Ports of the operator's range that nobody has on ``node``, one bit each: bit 0 is the first."""
    now = holdings(state).get(node.name, UNHELD)
    first, last = state.policy.port_range
    taken = now.bids.ports | now.leases.ports | port_bits(node.busy_ports)
    return ~(taken >> first) & ((1 << (last - first + 1)) - 1)


def place(state: AgentState, group: GroupSpec) -> Placement | Refused:
    """The first node on which all of ``group`` fits, or the first node's reason why it does not."""
    refusals = []
    for node in state.nodes:
        placed = _place_on(state, node, group)
        if isinstance(placed, Placement):
            return placed
        refusals.append(placed)
    return refusals[0] if refusals else Refused(why=Refusal.CPU_SHORT, required="a node", available="none")


def _place_on(state: AgentState, node: Node, group: GroupSpec) -> Placement | Refused:
    left, needed = free(state, node), need(group)
    if state.policy.ingress is not None:
        needed = replace(needed, ports=needed.ports - needed.http_ports)
    shortage = _shortage(left, needed, disk_space.by_disk(needed.storage, state.runtime))
    if shortage is not None:
        return shortage
    replicas = _place_gpus(node.gpus, left.gpus, group.units)
    if isinstance(replicas, Refused):
        return replicas
    open_ports = open_port_bits(state, node)
    host_ports = _lowest(open_ports, state.policy.port_range[0], needed.ports)
    return Placement(
        node=node.name,
        replicas=replicas,
        host_ports=host_ports,
        simulated_gpus=node.inventory.simulated,
    )


def _lowest(bits: int, first: int, count: int) -> tuple[int, ...]:
    """The ``count`` lowest ports of ``bits``, of which bit 0 is ``first``."""
    ports = []
    for _ in range(count):
        lowest = bits & -bits
        ports.append(first + lowest.bit_length() - 1)
        bits ^= lowest
    return tuple(ports)


def _shortage(left: Free, needed: Need, by_disk: Mapping[str, int]) -> Refused | None:
    rows = (
        (Refusal.CPU_SHORT, needed.cpu_millis, left.cpu_millis, "m"),
        (Refusal.MEMORY_SHORT, needed.memory_bytes, left.memory_bytes, " bytes"),
        *((Refusal.STORAGE_SHORT, size, left.disks[disk], " bytes") for disk, size in by_disk.items()),
        (Refusal.PORTS_SHORT, needed.ports, left.ports, " ports"),
    )
    for why, required, available, unit in rows:
        if required > available:
            return Refused(why=why, required=f"{required}{unit}", available=f"{max(available, 0)}{unit}")
    return None


def _place_gpus(
    every: Sequence[Gpu], unheld: Sequence[Gpu], units: Sequence[ResourceUnit]
) -> tuple[UnitPlacement, ...] | Refused:
    """GPUs for each replica; the unit with the fewest candidates chooses first and takes the lowest index."""
    left = list(unheld)
    chosen: dict[tuple[int, int], tuple[GpuUuid, ...]] = {}
    for unit in sorted(units, key=lambda unit: (_count(unheld, unit.resources.gpu), unit.resources.id)):
        ask = unit.resources.gpu
        for replica in range(unit.count):
            fitting = [gpu for gpu in left if fits(gpu, ask)][: ask.units]
            if len(fitting) < ask.units:
                return _why_no_gpu(every, left, unit)
            left = [gpu for gpu in left if gpu not in fitting]
            chosen[unit.resources.id, replica] = tuple(gpu.uuid for gpu in fitting)
    return tuple(
        UnitPlacement(resources_id=resources_id, replica=replica, gpus=gpus)
        for (resources_id, replica), gpus in sorted(chosen.items())
    )


def fits(gpu: Gpu, ask: GpuAsk) -> bool:
    """Whether the card matches any alternative of ``ask``."""
    return any(matches(gpu, alternative) for alternative in ask.alternatives)


def _count(gpus: Iterable[Gpu], ask: GpuAsk) -> int:
    return sum(fits(gpu, ask) for gpu in gpus)


def _why_no_gpu(every: Sequence[Gpu], left: Sequence[Gpu], unit: ResourceUnit) -> Refused:
    ask = unit.resources.gpu
    required = f"{ask.units * unit.count} of {' or '.join(each.key() for each in ask.alternatives)}"
    of_kind = [gpu for gpu in every if fits(gpu, ask)]
    well = [gpu for gpu in of_kind if gpu.health is GpuHealth.HEALTHY]
    if len(of_kind) < ask.units:
        return Refused(why=Refusal.GPU_UNKNOWN, required=required, available=_kinds(every))
    if len(well) < ask.units:
        return Refused(why=Refusal.GPU_UNHEALTHY, required=required, available=f"{len(well)} healthy")
    return Refused(why=Refusal.GPU_BUSY, required=required, available=f"{_count(left, ask)} free")


def _kinds(gpus: Sequence[Gpu]) -> str:
    return ", ".join(sorted({gpu.model for gpu in gpus})) or "no GPU"
