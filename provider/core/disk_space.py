"""Which bytes of which disk: one disk may hold containers' layers and several classes of volumes.

Pure. Invariant: a byte belongs to one disk, whatever it is called there, so that none is promised twice.
"""

from __future__ import annotations

from collections.abc import Mapping

from provider.domain.node import Node
from provider.domain.workload import RuntimeCapabilities


def by_disk(storage: Mapping[str, int], runtime: RuntimeCapabilities | None) -> Mapping[str, int]:
    """Bytes by class as bytes by disk: a class is its disk's, the rest that of the layers.

    A class that is offered no more is counted there too, as long as a lease has bytes of it.
    """
    own = runtime.layers_disk if runtime else ""
    disks = {each.name: each.disk for each in (runtime.storage_classes if runtime else ())}
    taken = {own: 0}
    for kind, size in storage.items():
        disk = disks.get(kind, own)
        taken[disk] = taken.get(disk, 0) + size
    return taken


def there_is(node: Node, runtime: RuntimeCapabilities | None) -> Mapping[str, int]:
    """By disk, what leases can have in all."""
    own = runtime.layers_disk if runtime else ""
    classes = runtime.storage_classes if runtime else ()
    return {each.disk: each.capacity_bytes for each in classes} | {own: node.capacity.storage_bytes}
