"""What of storage a container sees: the tenant's volumes, and ours over what its image declares. Pure.

Does not own the volumes, see ``storage``. Invariant: every mount is a volume or a tmpfs of ours; no path of
the host comes from a tenant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from provider.adapters.runtime import naming
from provider.domain.ids import ProviderId
from provider.domain.manifest import MountPoint, Service
from provider.domain.resources import MIB, Volume
from provider.domain.workload import Launch, ReplicaLaunch

Json = dict[str, object]

LAYER_BYTES_LEAST = 64 * MIB
"""For a container whose tenant ordered no ephemeral storage: its log-in files and caches need some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskVolume:
    """A directory of a container that is not in its writable layer, on disk."""

    name: str
    """The tenant's for it, or the path that the image declares."""
    target: str
    size_bytes: int
    storage_class: str | None = None
    """Of persistent storage, which lives as long as the lease; None for what ends with the container."""
    read_only: bool = False
    is_of_image: bool = False
    """Filled with what the image has there, and grows into what the layer rents."""


def layer_bytes(service: Service) -> int:
    """What a container may write beside its volumes: its ephemeral storage that is mounted nowhere."""
    mounted = {point.name for point in points(service) if point.mount}
    rented = (
        each.size_bytes
        for each in service.resources.storage
        if not (each.is_ram or each.is_persistent or each.name in mounted)
    )
    return sum(rented) or LAYER_BYTES_LEAST


def disk_volumes(service: Service, image_volumes: Iterable[str]) -> tuple[DiskVolume, ...]:
    """The tenant's in its order, then those that the image declares and nothing of the tenant's covers."""
    volumes: Mapping[str, Volume] = {volume.name: volume for volume in service.resources.storage}
    mounted = [point for point in points(service) if point.mount and point.name in volumes]
    taken = {point.mount.rstrip("/") for point in mounted}
    asked = [
        DiskVolume(
            name=point.name,
            target=point.mount,
            size_bytes=volumes[point.name].size_bytes,
            storage_class=(volumes[point.name].storage_class or "default")
            if volumes[point.name].is_persistent
            else None,
            read_only=point.read_only,
        )
        for point in mounted
        if not volumes[point.name].is_ram
    ]
    declared = [
        DiskVolume(name=path, target=path, size_bytes=layer_bytes(service), is_of_image=True)
        for path in image_volumes
        if path.rstrip("/") not in taken
    ]
    return (*asked, *declared)


def container_mounts(
    launch: Launch,
    replica: ReplicaLaunch,
    provider: ProviderId,
    image_volumes: Iterable[str],
    places: Mapping[str, Path],
) -> Iterable[Json]:
    """Each volume where it is wanted: from its place, by name, or else as a volume of the engine's.

    An image's own volume would be an anonymous one, that nobody finds again once its container is gone.
    """
    service = replica.service
    labels = naming.lease_labels(provider, launch.lease)
    volumes: Mapping[str, Volume] = {volume.name: volume for volume in service.resources.storage}
    for point in points(service):
        volume = volumes.get(point.name)
        if volume is not None and volume.is_ram and point.mount:
            size: Json = {"SizeBytes": volume.size_bytes, "Mode": 0o1777}
            yield {"Type": "tmpfs", "Target": point.mount, "TmpfsOptions": size}
    for each in disk_volumes(service, image_volumes):
        place = places.get(each.name)
        seen: Json = {"Target": each.target, "ReadOnly": each.read_only}
        if place is not None:
            yield seen | {"Type": "bind", "Source": str(place)}
        else:
            name = naming.volume_name(launch.lease, service.name, replica.replica, each.name)
            yield seen | {"Type": "volume", "Source": name, "VolumeOptions": {"Labels": labels}}


def measured_bytes(service: Service, places: Mapping[str, Path]) -> int:
    """What the watch over its writing holds a container to: its layer, and volumes nothing else limits."""
    unlimited = (each.size_bytes for each in disk_volumes(service, ()) if each.name not in places)
    return layer_bytes(service) + sum(unlimited)


def points(service: Service) -> tuple[MountPoint, ...]:
    """Where its volumes appear."""
    return (service.params.storage if service.params else None) or ()
