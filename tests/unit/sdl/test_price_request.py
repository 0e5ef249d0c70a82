"""What a price script reads: Akash's JSON, byte for byte, of what is given and not of what was asked for."""

from __future__ import annotations

from dataclasses import replace

from provider.domain.money import Denom, Rate
from provider.domain.resources import (
    GIB,
    MIB,
    Attribute,
    Endpoint,
    EndpointKind,
    GpuAlternative,
    GpuAsk,
    Resources,
    ResourceUnit,
    Volume,
)
from provider.sdl.price_request import price_request
from tests.agents import group, rate

A100 = GpuAlternative(vendor="nvidia", model="a100", ram="80Gi", interface="sxm")
ANY = GpuAlternative(vendor="nvidia")


def volume(name: str, size: int, **attributes: str) -> Volume:
    told = tuple(Attribute(key=key, value=value) for key, value in sorted(attributes.items()))
    return Volume(name=name, size_bytes=size, attributes=told)


def test_a_card_with_memory_and_interface_and_every_class_of_storage() -> None:
    resources = Resources(
        id=1,
        cpu_millis=1000,
        memory_bytes=512 * MIB,
        gpu=GpuAsk(units=1, alternatives=(A100,)),
        storage=(
            volume("default", 512 * MIB),
            volume("data", GIB, **{"class": "beta3"}, persistent="true"),
            volume("shm", 64 * MIB, **{"class": "ram"}, persistent="false"),
        ),
        endpoints=(Endpoint(kind=EndpointKind.SHARED_HTTP),),
    )
    unit = ResourceUnit(resources=resources, count=1, price=rate(1000))
    assert price_request(group(unit), {1: A100}) == (
        b'{"resources":[{"memory":536870912,"cpu":1000,"gpu":{"units":1,"attributes":{"vendor":{"nvidia":'
        b'{"model":"a100","ram":"80Gi","interface":"sxm"}}}},"storage":[{"class":"ephemeral","size":536870912},'
        b'{"class":"beta3","size":1073741824},{"class":"ram","size":67108864}],"count":1,"endpoint_quantity":1,'
        b'"ip_lease_quantity":0}],"price":{"denom":"uact","amount":"1000.000000000000000000"},'
        b'"price_precision":6}\n'
    )


def test_without_a_card_without_a_volume_and_with_addresses() -> None:
    shared = Endpoint(kind=EndpointKind.LEASED_IP, sequence_number=1)
    resources = Resources(
        id=1,
        cpu_millis=10,
        memory_bytes=MIB,
        endpoints=(
            shared,
            shared,
            replace(shared, sequence_number=2),
            Endpoint(kind=EndpointKind.RANDOM_PORT),
        ),
    )
    price = Rate(amount=rate("0.5").amount, denom=Denom.UAKT)
    unit = ResourceUnit(resources=resources, count=3, price=price)
    assert price_request(group(unit), {}) == (
        b'{"resources":[{"memory":1048576,"cpu":10,"gpu":{"units":0,"attributes":{}},"storage":[],"count":3,'
        b'"endpoint_quantity":4,"ip_lease_quantity":2}],"price":{"denom":"uakt","amount":"1.500000000000000000"},'
        b'"price_precision":6}\n'
    )


def test_what_is_given_goes_over_what_was_asked_for() -> None:
    unit = ResourceUnit(
        resources=Resources(
            id=2, cpu_millis=1, memory_bytes=1, gpu=GpuAsk(units=2, alternatives=(ANY, A100))
        ),
        count=1,
        price=rate(1),
    )
    given = price_request(group(unit), {2: replace(ANY, model="h100")})
    assert b'"gpu":{"units":2,"attributes":{"vendor":{"nvidia":{"model":"h100"}}}}' in given
    assert b'"model":"a100","ram":"80Gi"' in price_request(group(unit), {}), "the last, as Akash does it"
    nothing_chosen = replace(
        unit, resources=replace(unit.resources, gpu=GpuAsk(units=2, alternatives=(ANY,)))
    )
    assert b'"nvidia":{"model":"*"}' in price_request(group(nothing_chosen), {})
