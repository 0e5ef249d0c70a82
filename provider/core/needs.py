"""What a group takes of a node besides its GPUs: a sum over units and replicas, by the kind of thing.

Pure, and nothing about whether there is as much: that is ``placement``'s. Invariant: every byte of storage is
counted once, under its class where it is persistent, else with the containers' layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from provider.core.remembered import by_identity
from provider.domain.market import GroupSpec
from provider.domain.resources import EndpointKind

LAYERS = ""
"""In place of a storage class: containers' writable layers, and volumes that are not persistent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a group takes of a node besides GPUs. RAM-class volumes count as memory."""

    cpu_millis: int
    memory_bytes: int
    storage_bytes: int
    """Of all classes."""
    storage: Mapping[str, int]
    """Bytes by class of persistent storage; ``LAYERS`` is always among them."""
    ports: int
    http_ports: int
    """Of ``ports``, those that an ingress serves under a name where there is one."""


@by_identity(most=1)
def need(group: GroupSpec) -> Need:
    """The sum over all units and replicas; every endpoint but a leased IP takes a host port."""
    cpu = memory = ports = http = 0
    storage = {LAYERS: 0}
    for unit in group.units:
        resources, count = unit.resources, unit.count
        cpu += resources.cpu_millis * count
        memory += resources.memory_bytes * count
        for volume in resources.storage:
            if volume.is_ram:
                memory += volume.size_bytes * count
            else:
                kind = (volume.storage_class or "default") if volume.is_persistent else LAYERS
                storage[kind] = storage.get(kind, 0) + volume.size_bytes * count
        for endpoint in resources.endpoints:
            ports += endpoint.kind is not EndpointKind.LEASED_IP
            http += endpoint.kind is EndpointKind.SHARED_HTTP
    return Need(
        cpu_millis=cpu,
        memory_bytes=memory,
        storage_bytes=sum(storage.values()),
        storage=storage,
        ports=ports,
        http_ports=http,
    )
