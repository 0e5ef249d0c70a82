"""A manifest against an order: no difference within one file, and a reason for every other."""

from __future__ import annotations

from dataclasses import fields, replace
from decimal import Decimal

import pytest

from provider import sdl
from provider.domain.manifest import Manifest, Service
from provider.domain.market import GroupSpec
from provider.domain.money import Denom, Rate
from provider.domain.resources import (
    GIB,
    Attribute,
    GpuAlternative,
    GpuAsk,
    Resources,
    ResourceUnit,
    Volume,
)
from provider.sdl import Difference
from tests.sdl_texts import with_gpu

PARSED = sdl.read(with_gpu("{units: 1, attributes: {vendor: {nvidia: }}}"))
(GROUP,) = PARSED.groups
WEB = PARSED.manifest.groups[0].services[0]


def manifest(*services: Service, name: str = "here") -> Manifest:
    group = replace(PARSED.manifest.groups[0], name=name, services=services)
    return Manifest(groups=(group,))


def differences(found: tuple[sdl.Mismatch, ...]) -> list[Difference]:
    return [each.why for each in found]


def test_a_file_agrees_with_itself() -> None:
    assert sdl.cross_check(PARSED.manifest, PARSED.groups) == ()
    assert sdl.cross_check_group(PARSED.manifest, GROUP) == ()


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        (replace(WEB, count=2), [Difference.REPLICAS_OVER]),
        (replace(WEB, count=0), [Difference.REPLICAS_UNDER]),
        (replace(WEB, expose=()), [Difference.ENDPOINTS_UNDER]),
        (replace(WEB, expose=WEB.expose * 2), [Difference.ENDPOINTS_OVER]),
        (
            replace(WEB, expose=(replace(WEB.expose[0], external_port=8080),)),
            [Difference.ENDPOINTS_UNDER, Difference.ENDPOINTS_OVER],
        ),
        (
            replace(WEB, expose=(replace(WEB.expose[0], ip="front", endpoint_sequence_number=1),)),
            [Difference.ENDPOINTS_OVER],
        ),
    ],
)
def test_services(service: Service, expected: list[Difference]) -> None:
    assert differences(sdl.cross_check_group(manifest(service), GROUP)) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"cpu_millis": 501}, Difference.CPU),
        ({"cpu_attributes": (Attribute(key="arch", value="arm64"),)}, Difference.CPU),
        ({"memory_bytes": GIB}, Difference.MEMORY),
        ({"gpu": GpuAsk(units=2, alternatives=(GpuAlternative(vendor="nvidia"),))}, Difference.GPU),
        (
            {"gpu": GpuAsk(units=1, alternatives=(GpuAlternative(vendor="nvidia", model="h100"),))},
            Difference.GPU,
        ),
        ({"storage": (Volume(name="default", size_bytes=2 * GIB),)}, Difference.STORAGE),
        ({"storage": (Volume(name="other", size_bytes=GIB),)}, Difference.STORAGE),
    ],
)
def test_resources(change: dict[str, object], expected: Difference) -> None:
    resources = replace(WEB.resources, **change)  # type: ignore[arg-type]  # one field each, of its own type
    (found,) = sdl.cross_check_group(manifest(replace(WEB, resources=resources)), GROUP)
    assert found.why is expected
    assert found.service == "web"
    assert found.ordered != found.found


def test_unknown_resources_and_groups() -> None:
    stranger = replace(WEB, resources=replace(WEB.resources, id=7))
    assert differences(sdl.cross_check_group(manifest(stranger), GROUP)) == [
        Difference.RESOURCES_UNKNOWN,
        Difference.REPLICAS_UNDER,
        Difference.ENDPOINTS_UNDER,
    ]
    assert differences(sdl.cross_check_group(manifest(WEB, name="there"), GROUP)) == [
        Difference.GROUP_UNKNOWN
    ]
    assert differences(sdl.cross_check(manifest(WEB, name="there"), PARSED.groups)) == [
        Difference.GROUP_UNKNOWN
    ]
    two: tuple[GroupSpec, ...] = (GROUP, replace(GROUP, name="there"))
    assert differences(sdl.cross_check(PARSED.manifest, two)) == [Difference.GROUP_COUNT]


def test_a_mismatch_is_a_sentence() -> None:
    (found,) = sdl.cross_check_group(manifest(replace(WEB, count=3)), GROUP)
    assert str(found) == "group here, resources 1: more replicas than ordered (ordered 1, found 3)"


def test_groups_of_one_file_are_the_same() -> None:
    assert sdl.compare_groups(PARSED.groups, PARSED.groups) == ()


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ({"count": 2}, Difference.REPLICAS_OVER),
        ({"count": 0}, Difference.REPLICAS_UNDER),
        ({"price": Rate(amount=Decimal(1), denom=Denom.UACT)}, Difference.PRICE),
    ],
)
def test_units_of_groups(unit: dict[str, object], expected: Difference) -> None:
    changed = replace(GROUP, units=(replace(GROUP.units[0], **unit),))  # type: ignore[arg-type]
    (found,) = sdl.compare_groups((GROUP,), (changed,))
    assert found.why is expected
    assert found.ordered != found.found


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"id": 7}, Difference.RESOURCES_UNKNOWN),
        ({"cpu_millis": 501}, Difference.CPU),
        ({"cpu_attributes": (Attribute(key="arch", value="arm64"),)}, Difference.CPU),
        ({"memory_bytes": GIB}, Difference.MEMORY),
        ({"gpu": GpuAsk()}, Difference.GPU),
        ({"storage": (Volume(name="default", size_bytes=2 * GIB),)}, Difference.STORAGE),
        ({"endpoints": ()}, Difference.ENDPOINTS),
    ],
)
def test_resources_of_groups(change: dict[str, object], expected: Difference) -> None:
    unit = GROUP.units[0]
    resources = replace(unit.resources, **change)  # type: ignore[arg-type]  # one field each, of its own type
    (found,) = sdl.compare_groups((GROUP,), (replace(GROUP, units=(replace(unit, resources=resources),)),))
    assert found.why is expected


def test_every_field_of_an_order_is_compared() -> None:
    """One that is added must be compared too, or an update could change it unseen."""
    compared = {"name", "units", "requirements"}
    assert {field.name for field in fields(GroupSpec)} == compared | {"hostnames"}, "which updates may change"
    assert {field.name for field in fields(ResourceUnit)} == {"resources", "count", "price"}
    assert {field.name for field in fields(Resources)} == {
        "id",
        "cpu_millis",
        "cpu_attributes",
        "memory_bytes",
        "gpu",
        "storage",
        "endpoints",
    }
