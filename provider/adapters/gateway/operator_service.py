"""``OperatorService``: what the operator's commands ask of the running daemon, over a local socket."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from provider.adapters.gateway.views import agent_lease_to_pb, node_to_pb
from provider.domain.moment import Instant
from provider.ports import Clock, GpuProbe, LiveAgent
from provider.rpc.fields import line
from provider.rpc.identity import LiveIdentity
from provider.rpc.v1 import operator_pb2 as pb
from provider.rpc.v1.operator_pb2_grpc import OperatorServiceServicer


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorWorld:
    """What the daemon is made of, as far as its operator may see it."""

    agent: LiveAgent
    probe: GpuProbe
    clock: Clock
    identity: LiveIdentity
    started_at: Instant
    software: str
    certificate_problem: Callable[[], str | None] = lambda: None
    """Why the certificate could not be renewed."""


class OperatorGateway(OperatorServiceServicer):
    def __init__(self, world: OperatorWorld) -> None:
        self._world = world

    async def GetStatus(self, request: pb.GetStatusRequest, context: Any) -> pb.GetStatusResponse:  # noqa: N802
        world, state = self._world, self._world.agent.state
        identity, now = world.identity.now, world.clock.now()
        readings = world.probe.readings()
        problem = state.link_problem or world.certificate_problem() or ""
        return pb.GetStatusResponse(
            provider=identity.member.name,
            market=identity.member.market,
            coordinator_address=identity.coordinator,
            connected=state.connected,
            link_problem=line(problem),
            engine=state.runtime.engine if state.runtime else "",
            gpu_attachment=state.runtime.gpu_attachment if state.runtime else "none",
            nodes=[node_to_pb(state, node, readings) for node in state.nodes],
            leases=[agent_lease_to_pb(lease, now) for _, lease in sorted(state.leases.items())],
            open_bids=len(state.bids),
            started_ms=world.started_at,
            software=world.software,
            certificate_until_ms=identity.certificate.not_after,
        )
