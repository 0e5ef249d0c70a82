"""A manifest against what was ordered, as the provider compares them before it starts anything; and new
groups against ordered ones, as the market does before it takes an update.

Owns the comparisons and a reason for each difference (``go/manifest/v2beta3`` ``CheckAgainstGSpecs``).
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
    UNIT_COUNT = "unit_count"
    PRICE = "price"
    REQUIREMENTS = "requirements"
    ENDPOINTS = "endpoints"
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
    Difference.UNIT_COUNT: "another number of resource units than ordered",
    Difference.PRICE: "another price than ordered",
    Difference.REQUIREMENTS: "other requirements of the provider than ordered",
    Difference.ENDPOINTS: "other endpoints than ordered",
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


def compare_groups(ordered: Sequence[GroupSpec], asked: Sequence[GroupSpec]) -> tuple[Mismatch, ...]:
    """Every difference between the groups of a deployment and those of another file; none where equal."""
    by_name = {group.name: group for group in ordered}
    found: list[Mismatch] = []
    if len(asked) != len(ordered):
        there, here = str(len(ordered)), str(len(asked))
        found.append(Mismatch(why=Difference.GROUP_COUNT, ordered=there, found=here))
    for group in asked:
        if group.name not in by_name:
            found.append(Mismatch(why=Difference.GROUP_UNKNOWN, group=group.name))
        else:
            found.extend(_specs(by_name[group.name], group))
    return tuple(found)


def _specs(ordered: GroupSpec, asked: GroupSpec) -> list[Mismatch]:
    found: list[Mismatch] = []
    if asked.requirements != ordered.requirements:
        found.append(Mismatch(why=Difference.REQUIREMENTS, group=asked.name))
    if len(asked.units) != len(ordered.units):
        there, here = str(len(ordered.units)), str(len(asked.units))
        return [*found, Mismatch(why=Difference.UNIT_COUNT, group=asked.name, ordered=there, found=here)]
    for mine, other in zip(asked.units, ordered.units, strict=True):
        found.extend(_units(asked.name, other, mine))
    return found


def _units(group: str, ordered: ResourceUnit, asked: ResourceUnit) -> list[Mismatch]:
    there, here = ordered.resources, asked.resources
    number = here.id
    if there.id != number:
        return [Mismatch(why=Difference.RESOURCES_UNKNOWN, group=group, resources_id=number)]
    over = Difference.REPLICAS_OVER if asked.count > ordered.count else Difference.REPLICAS_UNDER
    compared = (
        (over, asked.count == ordered.count, str(ordered.count), str(asked.count)),
        (Difference.PRICE, asked.price == ordered.price, str(ordered.price), str(asked.price)),
        (
            Difference.CPU,
            (here.cpu_millis, here.cpu_attributes) == (there.cpu_millis, there.cpu_attributes),
            _cpu(there),
            _cpu(here),
        ),
        (Difference.GPU, here.gpu == there.gpu, _gpu(there), _gpu(here)),
        (
            Difference.MEMORY,
            here.memory_bytes == there.memory_bytes,
            str(there.memory_bytes),
            str(here.memory_bytes),
        ),
        (Difference.STORAGE, here.storage == there.storage, _storage(there), _storage(here)),
        (Difference.ENDPOINTS, here.endpoints == there.endpoints, _endpoints(there), _endpoints(here)),
    )
    return [
        Mismatch(why=why, group=group, resources_id=number, ordered=old, found=new)
        for why, is_same, old, new in compared
        if not is_same
    ]


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


def _endpoints(resources: Resources) -> str:
    return ", ".join(_ENDPOINTS[each.kind] for each in resources.endpoints) or "none"
