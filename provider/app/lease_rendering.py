"""A running lease as its provider tells it, for people: services, replicas, GPUs, addresses."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.console import Console, RenderableType

from provider.app import render, usage_tables
from provider.rpc.v1 import lease_pb2, usage_pb2


def show(out: Console, answer: lease_pb2.GetLeaseStatusResponse) -> None:
    rows = [
        (
            each.name,
            each.image,
            f"{each.available}/{each.total}",
            str(each.restarts),
            "\n".join(each.uris) or "-",
        )
        for each in answer.services
    ]
    out.print(render.table(("SERVICE", "IMAGE", "READY", "RESTARTS", "URI"), rows))
    for service in answer.services:
        for replica in service.replicas:
            if not replica.ready or service.total > 1:
                out.print(f"  {service.name}/{replica.replica}: {_replica(replica)}")
    for pull in answer.pulls:
        of = f" of {render.size(pull.total_bytes)}" if pull.total_bytes else ""
        out.print(f"pulling {pull.image}: {render.size(pull.done_bytes)}{of}")
    if answer.gpu_uuids:
        simulated = f" {render.SIMULATED}" if answer.simulated_gpus else ""
        out.print("GPUs: " + ", ".join(answer.gpu_uuids) + simulated)
    if answer.ports:
        out.print("Ports: " + render.ports(answer.ports, answer.host))
    for part in usage_drawn(answer.usage):
        out.print(part)
    if answer.ends_ms:
        ends = datetime.fromtimestamp(answer.ends_ms / 1000, UTC)
        out.print(f"[yellow]The provider ends this lease at {ends:%Y-%m-%dT%H:%M:%SZ}[/yellow]")


def usage_drawn(
    usage: usage_pb2.LeaseUsage, growth: usage_tables.Rates | None = None
) -> list[RenderableType]:
    """A table of services, one of cards, and the disk; with ``growth`` how fast they grow."""
    parts: list[RenderableType] = []
    if usage.services:
        parts.append(usage_tables.services(usage, growth))
    if usage.gpus:
        parts.append(usage_tables.gpus(usage))
    if usage.HasField("disk_bytes"):
        parts.append(f"Disk: {usage_tables.amount(usage.disk_bytes)}")
    return parts


def _replica(replica: lease_pb2.ReplicaStatus) -> str:
    words = [replica.state, "ready" if replica.ready else "not ready"]
    words += [f"exit status {replica.exit_code}"] if replica.HasField("exit_code") else []
    words += [f"GPUs {' '.join(replica.gpu_uuids)}"] if replica.gpu_uuids else []
    words += [replica.detail] if replica.detail else []
    return ", ".join(words)
