"""A lease as its tenant sees it. Pure: state and a look at the engine in; a message out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from provider.core import hostnames
from provider.core.lease import Phase
from provider.core.leasing import health
from provider.core.metering import total_ms
from provider.core.state import AgentState, Lease
from provider.domain.manifest import ManifestGroup, Service
from provider.domain.moment import Instant
from provider.domain.usage import LeaseUsage
from provider.domain.workload import Container, ContainerState, Pull, Workload
from provider.rpc.codec_market import HEALTH_TO_PB, port_to_pb
from provider.rpc.codec_usage import usage_to_pb
from provider.rpc.fields import line
from provider.rpc.v1 import lease_pb2 as pb


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was seen besides the agent's state."""

    at: Instant
    host: str
    """At which the ports are reached."""
    is_answered: bool
    """Whether the engine told what it has; without, nothing is known of single replicas."""
    workload: Workload | None
    pulls: tuple[Pull, ...] = ()
    usage: LeaseUsage | None = None
    """As last sampled."""


def lease_status_to_pb(lease: Lease, state: AgentState, look: Look) -> pb.GetLeaseStatusResponse:
    """For the lease's tenant."""
    group = lease.manifest.group(lease.group.name) if lease.manifest else None
    return pb.GetLeaseStatusResponse(
        health=HEALTH_TO_PB[health(lease)],
        services=_services(lease, group, state, look) if group else (),
        ports=map(port_to_pb, lease.ports),
        gpu_uuids=lease.placement.gpus,
        simulated_gpus=lease.placement.simulated_gpus,
        detail=line(_detail(lease, look)),
        running_ms=total_ms(lease.meter, look.at),
        host=look.host,
        manifest_hash=bytes.fromhex(lease.current.manifest_hash) if lease.current else b"",
        pulls=[
            pb.PullStatus(image=pull.image, done_bytes=pull.done_bytes, total_bytes=pull.total_bytes or 0)
            for pull in look.pulls
        ],
        ends_ms=lease.ends_at or 0,
        usage=usage_to_pb(look.usage),
    )


def _detail(lease: Lease, look: Look) -> str:
    said = [lease.detail, lease.update_problem, lease.ends_because]
    said += [] if look.is_answered else ["the provider's container engine does not answer just now"]
    return "; ".join(each for each in said if each)


def _services(lease: Lease, group: ManifestGroup, state: AgentState, look: Look) -> list[pb.ServiceStatus]:
    there = {
        (each.service, each.replica): each for each in (look.workload.containers if look.workload else ())
    }
    gpus = gpus_of(lease, group)
    made = []
    for service in group.services:
        replicas = [
            _replica(service, number, there, gpus) for number in range(service.count) if look.is_answered
        ]
        runs = service.count if lease.phase is Phase.RUNNING else 0
        made.append(
            pb.ServiceStatus(
                name=service.name,
                image=service.image,
                total=service.count,
                available=sum(each.ready for each in replicas) if look.is_answered else runs,
                restarts=lease.restarts,
                uris=hostnames.uris(state, lease, service.name),
                replicas=replicas,
            )
        )
    return made


def _replica(
    service: Service,
    number: int,
    there: Mapping[tuple[str, int], Container],
    gpus: Mapping[tuple[str, int], tuple[str, ...]],
) -> pb.ReplicaStatus:
    container = there.get((service.name, number))
    held = gpus.get((service.name, number), ())
    if container is None:
        return pb.ReplicaStatus(replica=number, state="absent", gpu_uuids=held)
    runs = container.state is ContainerState.RUNNING
    waits = "" if container.is_ready or not runs else "a port that it exposes is not listened on yet"
    ended = f"ended: {container.cause}" if container.cause else ""
    return pb.ReplicaStatus(
        replica=number,
        state=container.state,
        ready=runs and container.is_ready,
        started_ms=container.started_at or 0,
        exit_code=container.exit_code,
        gpu_uuids=held,
        detail=line(container.problem or ended or waits),
    )


def gpus_of(lease: Lease, group: ManifestGroup) -> dict[tuple[str, int], tuple[str, ...]]:
    """The GPUs of each replica: services of one resource unit take its places in the manifest's order."""
    placed = {(each.resources_id, each.replica): each.gpus for each in lease.placement.replicas}
    taken: dict[int, int] = {}
    held: dict[tuple[str, int], tuple[str, ...]] = {}
    for service in group.services:
        for number in range(service.count):
            unit = service.resources.id
            place = taken.get(unit, 0)
            taken[unit] = place + 1
            held[service.name, number] = tuple(placed.get((unit, place), ()))
    return held
