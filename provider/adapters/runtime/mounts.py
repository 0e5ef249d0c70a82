"""What of storage a container sees: the tenant's volumes, and ours over what its image declares. Pure.

Invariant: every mount is a volume or a tmpfs of ours; no path of the host comes from a tenant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from provider.adapters.runtime import naming
from provider.domain.ids import ProviderId
from provider.domain.manifest import MountPoint, Service
from provider.domain.resources import Volume
from provider.domain.workload import Launch, ReplicaLaunch

Json = dict[str, object]


def container_mounts(
    launch: Launch, replica: ReplicaLaunch, provider: ProviderId, image_volumes: tuple[str, ...]
) -> Iterable[Json]:
    """The tenant's volumes where it wants them, and a volume of ours over each that the image declares.

    An image's own volume would be an anonymous one, that nobody finds again once its container is gone.
    """
    service = replica.service
    volumes: Mapping[str, Volume] = {volume.name: volume for volume in service.resources.storage}
    labels = naming.lease_labels(provider, launch.lease)
    taken: set[str] = set()
    for point in points(service):
        volume = volumes.get(point.name)
        if volume is None or not point.mount:
            continue
        taken.add(point.mount.rstrip("/"))
        if volume.is_ram:
            options = {"SizeBytes": volume.size_bytes, "Mode": 0o1777}
            yield {"Type": "tmpfs", "Target": point.mount, "TmpfsOptions": options}
        else:
            name = naming.volume_name(launch.lease, service.name, replica.replica, point.name)
            yield _volume_mount(name, point.mount, labels) | {"ReadOnly": point.read_only}
    for path in image_volumes:
        if path.rstrip("/") not in taken:
            name = naming.volume_name(launch.lease, service.name, replica.replica, path)
            yield _volume_mount(name, path, labels)


def _volume_mount(name: str, target: str, labels: dict[str, str]) -> Json:
    return {"Type": "volume", "Source": name, "Target": target, "VolumeOptions": {"Labels": labels}}


def points(service: Service) -> tuple[MountPoint, ...]:
    """Where its volumes appear."""
    return (service.params.storage if service.params else None) or ()
