"""Which bytes of which disk: one disk may hold containers' layers and several classes of volumes.

Pure. Invariant: a byte belongs to one disk, whatever it is called there, so that none is promised twice.
"""

from __future__ import annotations

from collections.abc import Mapping

from provider.domain.market import GroupSpec
from provider.domain.node import Node
from provider.domain.workload import RuntimeCapabilities


def needed(group: GroupSpec, runtime: RuntimeCapabilities | None) -> Mapping[str, int]:
    """By disk, what all replicas of ``group`` take: a class from its disk, the rest from that of the layers.

    A class that is offered no more is counted there too, as long as a lease has bytes of it.
    """
    own = runtime.layers_disk if runtime else ""
    disks = {each.name: each.disk for each in (runtime.storage_classes if runtime else ())}
    taken = {own: 0}
    for unit in group.units:
        for volume in unit.resources.storage:
            if not volume.is_ram:
                disk = disks.get(volume.storage_class or "default", own) if volume.is_persistent else own
                taken[disk] = taken.get(disk, 0) + volume.size_bytes * unit.count
    return taken


def there_is(node: Node, runtime: RuntimeCapabilities | None) -> Mapping[str, int]:
    """By disk, what leases can have in all."""
    own = runtime.layers_disk if runtime else ""
    classes = runtime.storage_classes if runtime else ()
    return {each.disk: each.capacity_bytes for each in classes} | {own: node.capacity.storage_bytes}
