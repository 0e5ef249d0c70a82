"""The agent's state as its operator sees it. Pure: state, readings, an instant in; a message out."""

from __future__ import annotations

from collections.abc import Sequence

from provider.core.leasing import health
from provider.core.metering import total_ms
from provider.core.space import free
from provider.core.state import AgentState, Lease
from provider.domain.gpu import Gpu, GpuReading
from provider.domain.ids import GpuUuid, LeaseId
from provider.domain.moment import Instant
from provider.domain.money import Denom, Money, earned
from provider.domain.node import Node
from provider.domain.usage import LeaseUsage
from provider.rpc.codec import lease_id_to_pb, money_to_pb, rate_to_pb
from provider.rpc.codec_gpu import facts_to_pb, link_to_pb, mig_to_pb, sample_to_pb
from provider.rpc.codec_market import HEALTH_TO_PB, port_to_pb
from provider.rpc.codec_usage import usage_to_pb
from provider.rpc.fields import line
from provider.rpc.v1 import operator_pb2, resources_pb2


def node_to_pb(
    state: AgentState, node: Node, readings: Sequence[GpuReading], at: Instant
) -> operator_pb2.NodeStatus:
    """``readings``: the newest of each GPU, those that are fresh."""
    left = free(state, node)
    newest = {reading.uuid: reading for reading in readings}
    holders = {uuid: lease.id for lease in state.leases.values() for uuid in lease.placement.gpus}
    return operator_pb2.NodeStatus(
        name=node.name,
        cpu_millis=node.capacity.cpu_millis,
        cpu_millis_free=max(left.cpu_millis, 0),
        memory_bytes=node.capacity.memory_bytes,
        memory_bytes_free=max(left.memory_bytes, 0),
        storage_bytes=node.capacity.storage_bytes,
        storage_bytes_free=max(left.storage_bytes, 0),
        gpus=[
            _gpu_to_pb(gpu, newest.get(gpu.uuid), holders.get(gpu.uuid), _idle_to_pb(state, gpu.uuid, at))
            for gpu in node.gpus
        ],
        driver_version=node.inventory.driver_version or "",
        cuda_version=node.inventory.cuda_version or "",
        gpu_problem=line(node.inventory.problem or ""),
        simulated_gpus=node.inventory.simulated,
        gpu_links=map(link_to_pb, node.inventory.links),
        gpus_missing=node.inventory.missing,
    )


def _idle_to_pb(state: AgentState, gpu: GpuUuid, at: Instant) -> operator_pb2.IdleJobStatus | None:
    run = state.idle.get(gpu)
    if run is None or not run.is_on:
        return None
    return operator_pb2.IdleJobStatus(
        phase=run.phase,
        since_ms=run.since,
        ran_ms=run.total_ms(at),
        problem=line(run.problem),
        retry_ms=run.due,
    )


def _gpu_to_pb(
    gpu: Gpu, reading: GpuReading | None, holder: LeaseId | None, idle_job: operator_pb2.IdleJobStatus | None
) -> operator_pb2.GpuStatus:
    return operator_pb2.GpuStatus(
        uuid=gpu.uuid,
        index=gpu.index,
        name=gpu.name,
        model=gpu.model,
        memory_bytes=gpu.memory_bytes,
        interface=gpu.interface,
        health=gpu.health,
        problem=line(gpu.problem or ""),
        lease=lease_id_to_pb(holder) if holder else None,
        utilization_ratio=reading.utilization_ratio if reading else None,
        memory_used_bytes=reading.memory_used_bytes if reading else None,
        power_watts=reading.power_watts if reading else None,
        temperature_celsius=reading.temperature_celsius if reading else None,
        simulated=gpu.simulated,
        facts=facts_to_pb(gpu),
        sample=sample_to_pb(reading) if reading else None,
        mig=mig_to_pb(gpu.mig) if gpu.mig else None,
        idle_job=idle_job,
    )


def earned_to_pb(leases: Sequence[Lease], at: Instant) -> list[resources_pb2.Money]:
    """What ``leases`` have earned so far, one sum a currency."""
    sums: dict[Denom, int] = {}
    for lease in leases:
        money = earned(lease.rate, total_ms(lease.meter, at))
        sums[money.denom] = sums.get(money.denom, 0) + money.amount
    return [money_to_pb(Money(amount=amount, denom=denom)) for denom, amount in sorted(sums.items())]


def agent_lease_to_pb(lease: Lease, at: Instant, usage: LeaseUsage | None) -> operator_pb2.AgentLease:
    """For the operator."""
    running_ms = total_ms(lease.meter, at)
    return operator_pb2.AgentLease(
        id=lease_id_to_pb(lease.id),
        key=lease.id.key,
        health=HEALTH_TO_PB[health(lease)],
        rate=rate_to_pb(lease.rate),
        running_ms=running_ms,
        earned=money_to_pb(earned(lease.rate, running_ms)),
        gpu_uuids=lease.placement.gpus,
        ports=map(port_to_pb, lease.ports),
        detail=line(lease.detail),
        usage=usage_to_pb(usage),
    )
