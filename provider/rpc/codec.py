"""Values on the wire, both ways: resources, prices, ids, groups.

``x_to_pb`` takes what is already right; ``x_from_pb`` takes what a peer sent and raises ``PeerError``
with the path of the first field that cannot be. Both are pure. Orders, bids and leases: ``codec_market``.
"""

from __future__ import annotations

from provider.domain.ids import LeaseId, OrderId, Owner, ProviderId
from provider.domain.market import GroupSpec, Requirements, SignedBy
from provider.domain.moment import Span
from provider.domain.money import Denom, Money, Rate
from provider.domain.resources import (
    Attribute,
    Endpoint,
    EndpointKind,
    GpuAlternative,
    GpuAsk,
    Resources,
    ResourceUnit,
    Volume,
)
from provider.domain.workload import Dependency
from provider.rpc.fields import at_least, broken, decimal, each, name, one_of, present, text, word
from provider.rpc.v1 import lease_pb2
from provider.rpc.v1 import resources_pb2 as pb
from provider.sdl.check_services import is_host


def order_id_to_pb(value: OrderId) -> pb.OrderId:
    return pb.OrderId(owner=value.owner, dseq=value.dseq, gseq=value.gseq, oseq=value.oseq)


def order_id_from_pb(wire: pb.OrderId, path: str = "order") -> OrderId:
    return OrderId(
        owner=Owner(name(wire.owner, f"{path}.owner")),
        dseq=at_least(wire.dseq, 1, f"{path}.dseq"),
        gseq=at_least(wire.gseq, 1, f"{path}.gseq"),
        oseq=at_least(wire.oseq, 1, f"{path}.oseq"),
    )


def lease_id_to_pb(value: LeaseId) -> pb.LeaseId:
    return pb.LeaseId(order=order_id_to_pb(value.order), provider=value.provider)


def lease_id_from_pb(wire: pb.LeaseId, path: str = "lease") -> LeaseId:
    order = order_id_from_pb(wire.order, present(wire, "order", path))
    return order.lease(ProviderId(name(wire.provider, f"{path}.provider")))


def own_lease_id_from_pb(wire: pb.LeaseId, path: str = "lease") -> LeaseId:
    """A lease as a provider itself names it, with its market after the owner: from its operator."""
    order = wire.order
    try:
        return LeaseId.parse(f"{order.owner}/{order.dseq}/{order.gseq}/{order.oseq}/{wire.provider}")
    except ValueError as error:
        raise broken(path, str(error)) from error


def dependency_to_pb(value: Dependency) -> lease_pb2.ServiceDependency:
    return lease_pb2.ServiceDependency(service=value.service, needs=value.needs)


def dependency_from_pb(wire: lease_pb2.ServiceDependency, path: str = "dependency") -> Dependency:
    return Dependency(service=word(wire.service, f"{path}.service"), needs=word(wire.needs, f"{path}.needs"))


def rate_to_pb(value: Rate) -> pb.Rate:
    return pb.Rate(amount=f"{value.amount:f}", denom=value.denom)


def rate_from_pb(wire: pb.Rate, path: str = "rate") -> Rate:
    denom = one_of(Denom, wire.denom, f"{path}.denom")
    return Rate(amount=decimal(wire.amount, f"{path}.amount"), denom=denom)


def money_to_pb(value: Money) -> pb.Money:
    return pb.Money(amount_micros=value.amount, denom=value.denom)


def money_from_pb(wire: pb.Money, path: str = "money") -> Money:
    """Never negative: what is owed the other way has a field of its own."""
    amount = at_least(wire.amount_micros, 0, f"{path}.amount_micros")
    return Money(amount=amount, denom=one_of(Denom, wire.denom, f"{path}.denom"))


def attribute_to_pb(value: Attribute) -> pb.Attribute:
    return pb.Attribute(key=value.key, value=value.value)


def attribute_from_pb(wire: pb.Attribute, path: str = "attribute") -> Attribute:
    return Attribute(key=word(wire.key, f"{path}.key"), value=text(wire.value, f"{path}.value"))


def resources_to_pb(value: Resources) -> pb.Resources:
    return pb.Resources(
        id=value.id,
        cpu_millis=value.cpu_millis,
        memory_bytes=value.memory_bytes,
        gpu_units=value.gpu.units,
        gpu_alternatives=[
            pb.GpuAlternative(
                vendor=each.vendor,
                model=each.model or "",
                ram=each.ram or "",
                interface=each.interface or "",
            )
            for each in value.gpu.alternatives
        ],
        storage=[
            pb.Volume(
                name=volume.name,
                size_bytes=volume.size_bytes,
                attributes=map(attribute_to_pb, volume.attributes),
            )
            for volume in value.storage
        ],
        endpoints=[
            # The market's numbers are one more than Akash's: proto3 keeps 0 for "not said".
            pb.Endpoint(kind=pb.EndpointKind.ValueType(end.kind + 1), sequence_number=end.sequence_number)
            for end in value.endpoints
        ],
        cpu_attributes=map(attribute_to_pb, value.cpu_attributes),
    )


def resources_from_pb(wire: pb.Resources, path: str = "resources") -> Resources:
    units = at_least(wire.gpu_units, 0, f"{path}.gpu_units")
    alternatives = each(wire.gpu_alternatives, _gpu_alternative, f"{path}.gpu_alternatives")
    if bool(units) != bool(alternatives):
        raise broken(f"{path}.gpu_alternatives", f"has {len(alternatives)} items for {units} GPUs")
    return Resources(
        id=at_least(wire.id, 1, f"{path}.id"),
        cpu_millis=at_least(wire.cpu_millis, 1, f"{path}.cpu_millis"),
        memory_bytes=at_least(wire.memory_bytes, 1, f"{path}.memory_bytes"),
        gpu=GpuAsk(units=units, alternatives=alternatives),
        storage=each(wire.storage, _volume, f"{path}.storage"),
        endpoints=each(wire.endpoints, _endpoint, f"{path}.endpoints"),
        cpu_attributes=each(wire.cpu_attributes, attribute_from_pb, f"{path}.cpu_attributes"),
    )


def _gpu_alternative(wire: pb.GpuAlternative, path: str) -> GpuAlternative:
    return GpuAlternative(
        vendor=word(wire.vendor, f"{path}.vendor"),
        model=text(wire.model, f"{path}.model") or None,
        ram=text(wire.ram, f"{path}.ram") or None,
        interface=text(wire.interface, f"{path}.interface") or None,
    )


def _volume(wire: pb.Volume, path: str) -> Volume:
    return Volume(
        name=word(wire.name, f"{path}.name"),
        size_bytes=at_least(wire.size_bytes, 1, f"{path}.size_bytes"),
        attributes=each(wire.attributes, attribute_from_pb, f"{path}.attributes"),
    )


def _endpoint(wire: pb.Endpoint, path: str) -> Endpoint:
    try:
        kind = EndpointKind(wire.kind - 1)
    except ValueError:
        raise broken(f"{path}.kind", f"{wire.kind} is no kind of endpoint") from None
    return Endpoint(
        kind=kind,
        sequence_number=at_least(wire.sequence_number, 0, f"{path}.sequence_number"),
    )


def group_to_pb(value: GroupSpec) -> pb.GroupSpec:
    signed_by = value.requirements.signed_by
    return pb.GroupSpec(
        name=value.name,
        signed_by=pb.SignedBy(all_of=signed_by.all_of or (), any_of=signed_by.any_of or ()),
        attributes=map(attribute_to_pb, value.requirements.attributes),
        notice_ms=value.requirements.notice or 0,
        hostnames=value.hostnames,
        units=[
            pb.ResourceUnit(
                resources=resources_to_pb(unit.resources), count=unit.count, price=rate_to_pb(unit.price)
            )
            for unit in value.units
        ],
    )


def group_from_pb(wire: pb.GroupSpec, path: str = "group") -> GroupSpec:
    """Auditors that are not listed are ``None``: the wire cannot tell an empty list from none."""
    units = each(wire.units, _unit, f"{path}.units")
    if not units:
        raise broken(f"{path}.units", "is empty")
    if len({unit.price.denom for unit in units}) > 1:
        raise broken(f"{path}.units", "has prices of more than one denom")
    signed_by = SignedBy(
        all_of=each(wire.signed_by.all_of, word, f"{path}.signed_by.all_of") or None,
        any_of=each(wire.signed_by.any_of, word, f"{path}.signed_by.any_of") or None,
    )
    attributes = each(wire.attributes, attribute_from_pb, f"{path}.attributes")
    notice = Span(at_least(wire.notice_ms, 0, f"{path}.notice_ms")) or None
    return GroupSpec(
        name=word(wire.name, f"{path}.name"),
        units=units,
        requirements=Requirements(signed_by=signed_by, attributes=attributes, notice=notice),
        hostnames=tuple(sorted(set(each(wire.hostnames, _hostname, f"{path}.hostnames")))),
    )


def _hostname(value: str, path: str) -> str:
    if not is_host(value.lower()):
        raise broken(path, "is not a host name")
    return value.lower()


def _unit(wire: pb.ResourceUnit, path: str) -> ResourceUnit:
    return ResourceUnit(
        resources=resources_from_pb(wire.resources, present(wire, "resources", path)),
        count=at_least(wire.count, 1, f"{path}.count"),
        price=rate_from_pb(wire.price, present(wire, "price", path)),
    )
