"""Which GPUs, how much of the node, which ports: exactly, at bid time.

Owns the question "does it fit, and where". Capacity is held from bid to outcome: whatever an open bid
or a live lease was placed on is taken. Deterministic: the same state and order give the same placement.
Invariant: no GPU is placed twice, and none that is not healthy is placed at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from provider.core import disk_space
from provider.core.state import AgentState
from provider.domain.gpu import Gpu, GpuHealth
from provider.domain.ids import GpuUuid
from provider.domain.market import GroupSpec, Placement, Refusal, Refused, UnitPlacement
from provider.domain.node import Node
from provider.domain.resources import GIB, EndpointKind, GpuAlternative, GpuAsk, ResourceUnit


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a group takes of a node besides GPUs. RAM-class volumes count as memory."""

    cpu_millis: int
    memory_bytes: int
    storage_bytes: int
    ports: int
    http_ports: int
    """Of ``ports``, those that an ingress serves under a name where there is one."""


def need(group: GroupSpec) -> Need:
    """The sum over all units and replicas; every endpoint but a leased IP takes a host port."""
    cpu = memory = storage = ports = http = 0
    for unit in group.units:
        resources = unit.resources
        ram = sum(volume.size_bytes for volume in resources.storage if volume.is_ram)
        disk = sum(volume.size_bytes for volume in resources.storage if not volume.is_ram)
        cpu += resources.cpu_millis * unit.count
        memory += (resources.memory_bytes + ram) * unit.count
        storage += disk * unit.count
        ports += sum(endpoint.kind is not EndpointKind.LEASED_IP for endpoint in resources.endpoints)
        http += sum(endpoint.kind is EndpointKind.SHARED_HTTP for endpoint in resources.endpoints)
    return Need(cpu_millis=cpu, memory_bytes=memory, storage_bytes=storage, ports=ports, http_ports=http)


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
    held = _held(state, node)
    needs = [need(group) for group, _ in held]
    disks = dict(disk_space.there_is(node, state.runtime))
    for group, _ in held:
        for disk, size in disk_space.needed(group, state.runtime).items():
            disks[disk] -= size
    taken_ports = _taken_ports(held, node)
    taken_gpus = {uuid for _, placement in held for uuid in placement.gpus}
    first, last = state.policy.port_range
    return Free(
        cpu_millis=node.capacity.cpu_millis - sum(each.cpu_millis for each in needs),
        memory_bytes=node.capacity.memory_bytes - sum(each.memory_bytes for each in needs),
        storage_bytes=disks[state.runtime.layers_disk if state.runtime else ""],
        disks=disks,
        ports=last - first + 1 - sum(first <= port <= last for port in taken_ports),
        gpus=tuple(
            gpu for gpu in node.gpus if gpu.health is GpuHealth.HEALTHY and gpu.uuid not in taken_gpus
        ),
    )


def _held(state: AgentState, node: Node) -> list[tuple[GroupSpec, Placement]]:
    """What is placed on ``node`` and by what: open bids and live leases."""
    held = [(bid.order.group, bid.placement) for bid in state.bids.values()]
    held += [(lease.group, lease.placement) for lease in state.leases.values()]
    return [(group, placement) for group, placement in held if placement.node == node.name]


def _taken_ports(held: Iterable[tuple[GroupSpec, Placement]], node: Node) -> frozenset[int]:
    return node.busy_ports | {port for _, placement in held for port in placement.host_ports}


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
    shortage = _shortage(left, needed, disk_space.needed(group, state.runtime))
    if shortage is not None:
        return shortage
    replicas = _place_gpus(node.gpus, left.gpus, group.units)
    if isinstance(replicas, Refused):
        return replicas
    host_ports = tuple(islice(_open_ports(state, node), needed.ports))
    return Placement(
        node=node.name,
        replicas=replicas,
        host_ports=host_ports,
        simulated_gpus=node.inventory.simulated,
    )


def _open_ports(state: AgentState, node: Node) -> Iterator[int]:
    """Ports of the operator's range that nobody holds or listens on on ``node``, lowest first."""
    taken = _taken_ports(_held(state, node), node)
    first, last = state.policy.port_range
    return (port for port in range(first, last + 1) if port not in taken)


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
