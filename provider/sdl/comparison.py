"""A manifest against what was ordered, as the provider compares them before it starts anything.

Owns the comparison and a reason for each difference (``go/manifest/v2beta3`` ``CheckAgainstGSpecs``).
Does not decide what follows from one. Invariant: a manifest and groups of one file have no mismatch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from provider.domain.manifest import Expose, Manifest, ManifestGroup, Service
from provider.domain.market import GroupSpec
from provider.domain.resources import EndpointKind, Resources, ResourceUnit
from provider.sdl.build import endpoints_of


class Difference(StrEnum):
    GROUP_COUNT = "group_count"
    GROUP_UNKNOWN = "group_unknown"
    RESOURCES_UNKNOWN = "resources_unknown"
    """No resource unit of the order has the service's id."""
    REPLICAS_OVER = "replicas_over"
    REPLICAS_UNDER = "replicas_under"
    CPU = "cpu"
    GPU = "gpu"
    MEMORY = "memory"
    STORAGE = "storage"
    ENDPOINTS_OVER = "endpoints_over"
    ENDPOINTS_UNDER = "endpoints_under"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """One difference, readable as a sentence."""

    why: Difference
    group: str = ""
    service: str = ""
    resources_id: int = 0
    """Of the resource unit; 0 where none is meant."""
    ordered: str = ""
    found: str = ""

    def __str__(self) -> str:
        where = [f"group {self.group}"] if self.group else []
        where += [f"service {self.service}"] if self.service else []
        where += [f"resources {self.resources_id}"] if self.resources_id else []
        facts = f" (ordered {self.ordered}, found {self.found})" if self.ordered or self.found else ""
        return f"{', '.join(where)}{': ' if where else ''}{_WORDS[self.why]}{facts}"


_WORDS = {
    Difference.GROUP_COUNT: "another number of groups",
    Difference.GROUP_UNKNOWN: "no such group in the order",
    Difference.RESOURCES_UNKNOWN: "no such resources in the order",
    Difference.REPLICAS_OVER: "more replicas than ordered",
    Difference.REPLICAS_UNDER: "fewer replicas than ordered",
    Difference.CPU: "other CPU than ordered",
    Difference.GPU: "other GPUs than ordered",
    Difference.MEMORY: "other memory than ordered",
    Difference.STORAGE: "other storage than ordered",
    Difference.ENDPOINTS_OVER: "more endpoints than ordered",
    Difference.ENDPOINTS_UNDER: "fewer endpoints than ordered",
}
_ENDPOINTS = {
    EndpointKind.SHARED_HTTP: "HTTP",
    EndpointKind.RANDOM_PORT: "port",
    EndpointKind.LEASED_IP: "IP",
}


def cross_check(manifest: Manifest, groups: Sequence[GroupSpec]) -> tuple[Mismatch, ...]:
    """Every difference between a whole manifest and all groups of its deployment; none if they agree."""
    by_name = {group.name: group for group in groups}
    found: list[Mismatch] = []
    if len(manifest.groups) != len(groups):
        ordered, here = str(len(groups)), str(len(manifest.groups))
        found.append(Mismatch(why=Difference.GROUP_COUNT, ordered=ordered, found=here))
    for group in manifest.groups:
        spec = by_name.get(group.name)
        if spec is None:
            found.append(Mismatch(why=Difference.GROUP_UNKNOWN, group=group.name))
        else:
            found.extend(_group(group, spec))
    return tuple(found)


def cross_check_group(manifest: Manifest, ordered: GroupSpec) -> tuple[Mismatch, ...]:
    """Every difference between the order that a provider holds and the manifest's group of its name."""
    group = manifest.group(ordered.name)
    if group is None:
        return (Mismatch(why=Difference.GROUP_UNKNOWN, group=ordered.name),)
    return tuple(_group(group, ordered))


def _group(group: ManifestGroup, spec: GroupSpec) -> list[Mismatch]:
    units = {unit.resources.id: unit for unit in spec.units}
    found: list[Mismatch] = []
    for service in group.services:
        unit = units.get(service.resources.id)
        if unit is None:
            why, number = Difference.RESOURCES_UNKNOWN, service.resources.id
            found.append(Mismatch(why=why, group=group.name, service=service.name, resources_id=number))
        else:
            found.extend(_resources(group.name, service, unit.resources))
    for number, unit in units.items():
        services = [each for each in group.services if each.resources.id == number]
        found.extend(_totals(group.name, services, unit))
    return found


def _resources(group: str, service: Service, ordered: Resources) -> list[Mismatch]:
    mine = service.resources
    pairs = (
        (Difference.CPU, _cpu(ordered), _cpu(mine)),
        (Difference.GPU, _gpu(ordered), _gpu(mine)),
        (Difference.MEMORY, str(ordered.memory_bytes), str(mine.memory_bytes)),
        (Difference.STORAGE, _storage(ordered), _storage(mine)),
    )
    return [
        Mismatch(why=why, group=group, service=service.name, resources_id=mine.id, ordered=there, found=here)
        for why, there, here in pairs
        if there != here
    ]


def _totals(group: str, services: list[Service], unit: ResourceUnit) -> list[Mismatch]:
    number = unit.resources.id
    found: list[Mismatch] = []
    replicas = sum(service.count for service in services)
    if replicas != unit.count:
        why = Difference.REPLICAS_OVER if replicas > unit.count else Difference.REPLICAS_UNDER
        ordered, here = str(unit.count), str(replicas)
        found.append(Mismatch(why=why, group=group, resources_id=number, ordered=ordered, found=here))
    exposes: list[Expose] = [expose for service in services for expose in service.expose]
    wanted = [each.kind for expose in exposes for each in endpoints_of(expose)]
    held = [each.kind for each in unit.resources.endpoints]
    for kind, name in _ENDPOINTS.items():
        want, have = wanted.count(kind), held.count(kind)
        if want != have:
            why = Difference.ENDPOINTS_OVER if want > have else Difference.ENDPOINTS_UNDER
            ordered, here = f"{have} {name}", f"{want} {name}"
            found.append(Mismatch(why=why, group=group, resources_id=number, ordered=ordered, found=here))
    return found


def _cpu(resources: Resources) -> str:
    return " ".join(
        [f"{resources.cpu_millis}m", *(f"{each.key}={each.value}" for each in resources.cpu_attributes)]
    )


def _gpu(resources: Resources) -> str:
    return " ".join([str(resources.gpu.units), *(each.key() for each in resources.gpu.alternatives)])


def _storage(resources: Resources) -> str:
    return ", ".join(
        " ".join([each.name, str(each.size_bytes), *(f"{one.key}={one.value}" for one in each.attributes)])
        for each in resources.storage
    )
