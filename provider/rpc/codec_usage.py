"""What a lease uses, as the wire has it: seconds and bytes, absent where nobody could tell."""

from __future__ import annotations

from provider.domain.usage import GpuUsage, LeaseUsage, ServiceUsage, UsageCounter
from provider.rpc.v1 import usage_pb2 as pb

_MICROS = 1_000_000


def usage_to_pb(usage: LeaseUsage | None) -> pb.LeaseUsage | None:
    """None for a lease that was not sampled yet."""
    if usage is None:
        return None
    return pb.LeaseUsage(
        at_ms=usage.at,
        gpus=map(_gpu_to_pb, usage.gpus),
        services=map(_service_to_pb, usage.services),
        disk_bytes=usage.disk_bytes,
    )


def _gpu_to_pb(gpu: GpuUsage) -> pb.GpuUsage:
    return pb.GpuUsage(
        uuid=gpu.uuid,
        utilization_ratio=gpu.utilization_ratio,
        busy_s=gpu.busy_s,
        memory_bytes=gpu.memory_bytes,
        power_watts=gpu.power_watts,
        energy_joules=gpu.energy_joules,
        energy_estimated=gpu.is_energy_estimated,
        allocated_s=gpu.allocated_s,
    )


def _service_to_pb(service: ServiceUsage) -> pb.ServiceUsage:
    told = service.counters.get
    return pb.ServiceUsage(
        service=service.service,
        cpu_s=_seconds(told(UsageCounter.CPU_US)),
        cpu_throttled_s=_seconds(told(UsageCounter.THROTTLED_US)),
        memory_bytes=service.memory_bytes,
        memory_limit_bytes=service.memory_limit_bytes,
        oom_kills=told(UsageCounter.OOM_KILLS),
        received_bytes=told(UsageCounter.RECEIVED_BYTES),
        sent_bytes=told(UsageCounter.SENT_BYTES),
        read_bytes=told(UsageCounter.READ_BYTES),
        written_bytes=told(UsageCounter.WRITTEN_BYTES),
        restarts=service.restarts,
    )


def _seconds(micros: int | None) -> float | None:
    return None if micros is None else micros / _MICROS
