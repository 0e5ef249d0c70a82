"""The market's messages on the wire, both ways: orders, bids, awards, reports, usage.

Same rules as ``codec``: ``to_pb`` is total, ``from_pb`` raises ``PeerError`` with the field's path.
Messages with one field of ours (LeaseConfirmed, OrderClosed ...) are made where they are sent.
"""

from __future__ import annotations

from dataclasses import dataclass

from provider.domain.ids import LeaseId
from provider.domain.manifest import Proto
from provider.domain.market import (
    Award,
    Bid,
    CloseReason,
    GpuOffer,
    LeaseHealth,
    Order,
    Refusal,
    Refused,
    Usage,
)
from provider.domain.moment import Instant
from provider.domain.workload import PortBinding
from provider.rpc.codec import (
    group_from_pb,
    group_to_pb,
    lease_id_from_pb,
    lease_id_to_pb,
    order_id_from_pb,
    order_id_to_pb,
    rate_from_pb,
    rate_to_pb,
)
from provider.rpc.fields import at_least, broken, each, line, one_of, present, sha256, text, word
from provider.rpc.v1 import market_pb2, resources_pb2

HEALTH_TO_PB: dict[LeaseHealth, resources_pb2.LeaseHealth.ValueType] = {
    health: resources_pb2.LeaseHealth.Value(f"LEASE_HEALTH_{health.name}") for health in LeaseHealth
}
_HEALTH_FROM_PB = {number: health for health, number in HEALTH_TO_PB.items()}
REASON_TO_PB: dict[CloseReason, resources_pb2.CloseReason.ValueType] = {
    reason: resources_pb2.CloseReason.Value(f"CLOSE_REASON_{reason.name}") for reason in CloseReason
}
_REASON_FROM_PB = {number: reason for reason, number in REASON_TO_PB.items()}


def order_to_pb(value: Order) -> resources_pb2.Order:
    return resources_pb2.Order(
        id=order_id_to_pb(value.id),
        group=group_to_pb(value.group),
        manifest_hash=bytes.fromhex(value.manifest_hash),
        bids_until_ms=value.bids_until or 0,
    )


def order_from_pb(wire: resources_pb2.Order, path: str = "order") -> Order:
    until = at_least(wire.bids_until_ms, 0, f"{path}.bids_until_ms")
    return Order(
        id=order_id_from_pb(wire.id, present(wire, "id", path)),
        group=group_from_pb(wire.group, present(wire, "group", path)),
        manifest_hash=sha256(wire.manifest_hash, f"{path}.manifest_hash"),
        bids_until=Instant(until) if until else None,
    )


def bid_to_pb(value: Bid) -> resources_pb2.Bid:
    gpus = [gpu_offer_to_pb(offer) for offer in value.gpus]
    return resources_pb2.Bid(id=lease_id_to_pb(value.id), rate=rate_to_pb(value.rate), gpus=gpus)


def bid_from_pb(wire: resources_pb2.Bid, path: str = "bid") -> Bid:
    return Bid(
        id=lease_id_from_pb(wire.id, present(wire, "id", path)),
        rate=rate_from_pb(wire.rate, present(wire, "rate", path)),
        gpus=each(wire.gpus, gpu_offer_from_pb, f"{path}.gpus"),
    )


def gpu_offer_to_pb(value: GpuOffer) -> resources_pb2.GpuOffer:
    return resources_pb2.GpuOffer(
        model=value.model,
        count=value.count,
        memory_bytes=value.memory_bytes or 0,
        interface=value.interface or "",
        simulated=value.simulated,
    )


def gpu_offer_from_pb(wire: resources_pb2.GpuOffer, path: str = "gpu") -> GpuOffer:
    return GpuOffer(
        model=word(wire.model, f"{path}.model"),
        count=at_least(wire.count, 1, f"{path}.count"),
        memory_bytes=at_least(wire.memory_bytes, 0, f"{path}.memory_bytes") or None,
        interface=text(wire.interface, f"{path}.interface") or None,
        simulated=wire.simulated,
    )


def award_to_pb(value: Award) -> market_pb2.LeaseAwarded:
    return market_pb2.LeaseAwarded(
        lease=lease_id_to_pb(value.id),
        rate=rate_to_pb(value.rate),
        manifest_hash=bytes.fromhex(value.manifest_hash),
        confirm_by_ms=value.confirm_by,
    )


def award_from_pb(wire: market_pb2.LeaseAwarded, path: str = "lease_awarded") -> Award:
    return Award(
        id=lease_id_from_pb(wire.lease, present(wire, "lease", path)),
        rate=rate_from_pb(wire.rate, present(wire, "rate", path)),
        manifest_hash=sha256(wire.manifest_hash, f"{path}.manifest_hash"),
        confirm_by=Instant(at_least(wire.confirm_by_ms, 1, f"{path}.confirm_by_ms")),
    )


def update_to_pb(lease: LeaseId, manifest_hash: str) -> market_pb2.LeaseUpdated:
    return market_pb2.LeaseUpdated(lease=lease_id_to_pb(lease), manifest_hash=bytes.fromhex(manifest_hash))


def update_from_pb(wire: market_pb2.LeaseUpdated, path: str = "lease_updated") -> tuple[LeaseId, str]:
    """The lease, and the hash of the manifest that it is to run from now on."""
    lease = lease_id_from_pb(wire.lease, present(wire, "lease", path))
    return lease, sha256(wire.manifest_hash, f"{path}.manifest_hash")


def health_from_pb(wire: resources_pb2.LeaseHealth.ValueType, path: str = "health") -> LeaseHealth:
    if wire not in _HEALTH_FROM_PB:
        raise broken(path, f"{wire} is no health of a lease")
    return _HEALTH_FROM_PB[wire]


def reason_from_pb(wire: resources_pb2.CloseReason.ValueType, path: str = "reason") -> CloseReason:
    if wire not in _REASON_FROM_PB:
        raise broken(path, f"{wire} is no reason for a lease to end")
    return _REASON_FROM_PB[wire]


def port_to_pb(value: PortBinding) -> resources_pb2.PortBinding:
    return resources_pb2.PortBinding(
        service=value.service,
        port=value.port,
        host_port=value.host_port,
        external_port=value.external_port,
        proto=value.proto,
    )


def port_from_pb(wire: resources_pb2.PortBinding, path: str = "port") -> PortBinding:
    return PortBinding(
        service=word(wire.service, f"{path}.service"),
        port=_port(wire.port, f"{path}.port"),
        host_port=_port(wire.host_port, f"{path}.host_port"),
        external_port=_port(wire.external_port, f"{path}.external_port"),
        proto=one_of(Proto, wire.proto, f"{path}.proto"),
    )


def _port(value: int, path: str) -> int:
    if not 1 <= value <= 65535:
        raise broken(path, f"{value} is no port")
    return value


def refused_to_pb(lease: LeaseId, why: Refused) -> market_pb2.LeaseRefused:
    return market_pb2.LeaseRefused(lease=lease_id_to_pb(lease), reason=why.why, detail=line(str(why)))


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRefusal:
    """An award that its provider cannot serve, as the market hears it."""

    lease: LeaseId
    reason: Refusal
    detail: str


def refusal_from_pb(wire: market_pb2.LeaseRefused, path: str = "lease_refused") -> LeaseRefusal:
    return LeaseRefusal(
        lease=lease_id_from_pb(wire.lease, present(wire, "lease", path)),
        reason=one_of(Refusal, wire.reason, f"{path}.reason"),
        detail=text(wire.detail, f"{path}.detail"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseReport:
    """How a lease does, as its provider tells the market."""

    lease: LeaseId
    health: LeaseHealth
    ports: tuple[PortBinding, ...] = ()
    detail: str = ""


def report_to_pb(value: LeaseReport) -> market_pb2.LeaseReport:
    return market_pb2.LeaseReport(
        lease=lease_id_to_pb(value.lease),
        health=HEALTH_TO_PB[value.health],
        ports=map(port_to_pb, value.ports),
        detail=line(value.detail),
    )


def report_from_pb(wire: market_pb2.LeaseReport, path: str = "lease_report") -> LeaseReport:
    return LeaseReport(
        lease=lease_id_from_pb(wire.lease, present(wire, "lease", path)),
        health=health_from_pb(wire.health, f"{path}.health"),
        ports=each(wire.ports, port_from_pb, f"{path}.ports"),
        detail=text(wire.detail, f"{path}.detail"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseEnding:
    """A lease that its provider ends."""

    lease: LeaseId
    reason: CloseReason
    detail: str = ""


def ending_to_pb(value: LeaseEnding) -> market_pb2.LeaseEnding:
    return market_pb2.LeaseEnding(
        lease=lease_id_to_pb(value.lease), reason=REASON_TO_PB[value.reason], detail=line(value.detail)
    )


def ending_from_pb(wire: market_pb2.LeaseEnding, path: str = "lease_ending") -> LeaseEnding:
    return LeaseEnding(
        lease=lease_id_from_pb(wire.lease, present(wire, "lease", path)),
        reason=reason_from_pb(wire.reason, f"{path}.reason"),
        detail=text(wire.detail, f"{path}.detail"),
    )


def usage_to_pb(key: str, value: Usage) -> market_pb2.ReportUsageRequest:
    return market_pb2.ReportUsageRequest(
        key=key,
        lease=lease_id_to_pb(value.lease),
        number=value.number,
        running_ms=value.running_ms,
        at_ms=value.at,
        is_final=value.is_final,
    )


def usage_from_pb(wire: market_pb2.ReportUsageRequest, path: str = "usage") -> Usage:
    return Usage(
        lease=lease_id_from_pb(wire.lease, present(wire, "lease", path)),
        number=at_least(wire.number, 1, f"{path}.number"),
        running_ms=at_least(wire.running_ms, 0, f"{path}.running_ms"),
        at=Instant(at_least(wire.at_ms, 1, f"{path}.at_ms")),
        is_final=wire.is_final,
    )
