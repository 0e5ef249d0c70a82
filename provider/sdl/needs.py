"""What a lease needs in all, summed from a group: nothing downstream reads YAML or adds up volumes.

Owns the sums and the rule that ram volumes are memory. Does not know what a node has (``core``).
"""

from __future__ import annotations

from dataclasses import dataclass

from provider.domain.manifest import ManifestGroup, Proto
from provider.domain.market import GroupSpec
from provider.domain.resources import EndpointKind, GpuAsk

EPHEMERAL = "ephemeral"
"""The class under which storage without one is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuNeed:
    """``replicas`` times ``ask``: every replica's GPUs are on one node."""

    ask: GpuAsk
    replicas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageNeed:
    """Bytes of one class, over all replicas."""

    storage_class: str
    size_bytes: int
    is_persistent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """A group's demand. Everything counts every replica."""

    cpu_millis: int
    memory_bytes: int
    """With the ram volumes."""
    gpus: tuple[GpuNeed, ...]
    """Units that ask for GPUs, in the order of their ids."""
    storage: tuple[StorageNeed, ...]
    """By class; without ram."""
    http_endpoints: int
    port_endpoints: int
    leased_ips: int

    @property
    def gpu_count(self) -> int:
        return sum(each.ask.units * each.replicas for each in self.gpus)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicPort:
    """A port that the world may reach."""

    service: str
    port: int
    external_port: int
    proto: Proto
    ip: str = ""


def needs_of(group: GroupSpec) -> Needs:
    """What the order ``group`` asks of a provider."""
    by_class: dict[tuple[str, bool], int] = {}
    memory_bytes = 0
    for unit in group.units:
        memory_bytes += unit.resources.memory_bytes * unit.count
        for volume in unit.resources.storage:
            if volume.is_ram:
                memory_bytes += volume.size_bytes * unit.count
                continue
            key = (volume.storage_class or EPHEMERAL, volume.is_persistent)
            by_class[key] = by_class.get(key, 0) + volume.size_bytes * unit.count
    endpoints = [each for unit in group.units for each in unit.resources.endpoints]
    kinds = [each.kind for each in endpoints]
    ips = {each.sequence_number for each in endpoints if each.kind is EndpointKind.LEASED_IP}
    return Needs(
        cpu_millis=sum(unit.resources.cpu_millis * unit.count for unit in group.units),
        memory_bytes=memory_bytes,
        gpus=tuple(
            GpuNeed(ask=unit.resources.gpu, replicas=unit.count)
            for unit in group.units
            if unit.resources.gpu.units
        ),
        storage=tuple(
            StorageNeed(storage_class=name, size_bytes=size, is_persistent=is_persistent)
            for (name, is_persistent), size in sorted(by_class.items())
        ),
        http_endpoints=kinds.count(EndpointKind.SHARED_HTTP),
        port_endpoints=kinds.count(EndpointKind.RANDOM_PORT),
        leased_ips=len(ips),
    )


def public_ports(group: ManifestGroup) -> tuple[PublicPort, ...]:
    """Every global port of ``group``, services by name, ports in the manifest's order."""
    return tuple(
        PublicPort(
            service=service.name,
            port=expose.port,
            external_port=expose.effective_port,
            proto=expose.proto,
            ip=expose.ip,
        )
        for service in group.services
        for expose in service.expose
        if expose.is_global
    )


def hostnames(group: ManifestGroup) -> tuple[str, ...]:
    """Every host name that ``group`` claims, sorted."""
    return tuple(
        sorted({host for service in group.services for each in service.expose for host in each.hosts or ()})
    )
