"""``OperatorService``: what the operator's commands ask of the running daemon, over a local socket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from grpc import StatusCode

from provider.adapters.gateway import status_stream
from provider.adapters.gateway.gpu_views import known, meant, report_to_pb
from provider.adapters.gateway.ledger_views import order_from_text, query_from_pb, story_to_pb
from provider.adapters.gateway.slots import Slots
from provider.adapters.gateway.streams import until_closing
from provider.adapters.gateway.views import agent_lease_to_pb, earned_to_pb, node_to_pb
from provider.core.events import DrainSet, GpuCordoned, GpuUncordoned, OperatorCloses
from provider.core.gpu_records import holders
from provider.core.step import GpuSignalMoved
from provider.domain.ids import LeaseId, MarketId
from provider.domain.market import Refusal
from provider.domain.moment import HOUR, Instant, Span, after
from provider.domain.usage import LeaseUsage
from provider.ports import Clock, GpuProbe, Ledger, LiveAgent, Reloaded
from provider.rpc.codec import lease_id_to_pb, own_lease_id_from_pb
from provider.rpc.fields import at_least, at_most, line, present, text
from provider.rpc.identity import LiveIdentity
from provider.rpc.status import Denied
from provider.rpc.v1 import operator_pb2 as pb
from provider.rpc.v1.operator_pb2_grpc import OperatorServiceServicer

WATCHERS_MOST = 8
"""Streams of the status at once: of sixteen calls, so that commands go through beside them."""
NOTICE_MOST = Span(30 * 24 * HOUR)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatedMarket:
    """One market, as far as the agent's state does not tell."""

    id: MarketId
    identity: LiveIdentity
    lease_address: str = ""
    certificate_problem: Callable[[], str | None] = lambda: None
    """Why the certificate could not be renewed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorWorld:
    """What the daemon is made of, as far as its operator may see it."""

    agent: LiveAgent
    probe: GpuProbe
    clock: Clock
    markets: tuple[OperatedMarket, ...]
    """The one that was joined first first."""
    started_at: Instant
    software: str
    ledger: Ledger
    reload: Callable[[], Awaitable[Reloaded]]
    exposition: Callable[[], bytes]
    """The metrics, in Prometheus' text format."""
    usage: Callable[[LeaseId], LeaseUsage | None] = lambda _: None
    """What a lease uses, as last sampled."""
    usage_problem: Callable[[], str | None] = lambda: None
    """Why that cannot be read."""


class OperatorGateway(OperatorServiceServicer):
    def __init__(self, world: OperatorWorld) -> None:
        self._world = world
        self.slots = Slots(in_all=WATCHERS_MOST, per_lease=WATCHERS_MOST + 1)

    async def GetStatus(self, request: pb.GetStatusRequest, context: Any) -> pb.GetStatusResponse:  # noqa: N802
        return self._status()

    async def StreamStatus(self, request: pb.StreamStatusRequest, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        every_s = status_stream.interval_s(request.interval_ms)

        async def make() -> pb.StreamStatusResponse:
            return pb.StreamStatusResponse(status=self._status())

        with self.slots.take(None):
            sending = status_stream.send(make, lambda: self._world.agent.state, every_s, context)
            await until_closing(sending, self.slots.closing)

    def _status(self) -> pb.GetStatusResponse:
        world, state = self._world, self._world.agent.state
        now, readings = world.clock.now(), world.probe.readings()
        markets = [self._market(each) for each in world.markets]
        first = markets[0]
        return pb.GetStatusResponse(
            provider=state.policy.provider,
            market=first.market,
            coordinator_address=first.coordinator_address,
            connected=first.connected,
            link_problem=first.link_problem,
            engine=state.runtime.engine if state.runtime else "",
            gpu_attachment=state.runtime.gpu_attachment if state.runtime else "none",
            nodes=[node_to_pb(state, node, readings, now) for node in state.nodes],
            leases=[
                agent_lease_to_pb(lease, now, world.usage(name))
                for name, lease in sorted(state.leases.items())
            ],
            open_bids=len(state.bids),
            started_ms=world.started_at,
            software=world.software,
            certificate_until_ms=first.certificate_until_ms,
            draining=state.is_draining,
            markets=markets,
            usage_problem=line(world.usage_problem() or ""),
        )

    def _market(self, market: OperatedMarket) -> pb.MarketStatus:
        state, identity = self._world.agent.state, market.identity.now
        known = state.market(market.id)
        leases = [lease for lease in state.leases.values() if lease.id.market == market.id]
        return pb.MarketStatus(
            market=identity.member.market,
            provider=identity.member.name,
            coordinator_address=identity.coordinator,
            connected=known.connected,
            link_problem=line(known.problem or market.certificate_problem() or ""),
            since_ms=known.since or 0,
            certificate_until_ms=identity.certificate.not_after,
            leases=len(leases),
            open_bids=sum(bid.market == market.id for bid in state.bids),
            earned=earned_to_pb(leases, self._world.clock.now()),
            lease_address=market.lease_address,
        )

    async def CloseLease(self, request: pb.CloseLeaseRequest, context: Any) -> pb.CloseLeaseResponse:  # noqa: N802
        lease = own_lease_id_from_pb(request.lease, present(request, "lease", "close_lease"))
        notice = Span(at_most(at_least(request.notice_ms, 0, "notice_ms"), NOTICE_MOST, "notice_ms"))
        ends_at = after(self._world.clock.now(), notice)
        why = " ".join(text(request.why, "why").split())
        wish = OperatorCloses(lease=lease, ends_at=ends_at, why=why, is_forced=request.force)
        step = await self._world.agent.submit(wish)
        if step.refused is not None and step.refused.why is Refusal.NOTICE_TOO_SHORT:
            raise Denied(
                StatusCode.FAILED_PRECONDITION,
                step.refused.why.name,
                f"the tenant of {lease} was promised {step.refused.required} of notice",
                remedy=f"provider close --notice {step.refused.required}; --force breaks the promise",
            )
        if step.refused is not None:
            raise Denied(
                StatusCode.NOT_FOUND,
                step.refused.why.name,
                f"there is no lease {lease} that has not ended",
                remedy="list them with `provider leases`",
            )
        return pb.CloseLeaseResponse(ends_ms=ends_at)

    async def Reload(self, request: pb.ReloadRequest, context: Any) -> pb.ReloadResponse:  # noqa: N802
        done = await self._world.reload()
        return pb.ReloadResponse(
            changes=done.changes, waits=done.waits, problem=done.problem, remedy=done.remedy
        )

    async def SetDrain(self, request: pb.SetDrainRequest, context: Any) -> pb.SetDrainResponse:  # noqa: N802
        step = await self._world.agent.submit(DrainSet(is_draining=request.drain))
        return pb.SetDrainResponse(leases=len(step.state.leases))

    async def GetGpuHealth(self, request: pb.GetGpuHealthRequest, context: Any) -> pb.GetGpuHealthResponse:  # noqa: N802
        state = self._world.agent.state
        wanted = [meant(state, request.gpu)] if request.gpu else list(known(state))
        return pb.GetGpuHealthResponse(gpus=[report_to_pb(state, uuid) for uuid in wanted])

    async def CordonGpu(self, request: pb.CordonGpuRequest, context: Any) -> pb.CordonGpuResponse:  # noqa: N802
        gpu = meant(self._world.agent.state, text(request.gpu, "gpu"))
        why = " ".join(text(request.why, "why").split())
        step = await self._world.agent.submit(GpuCordoned(gpu=gpu, why=why))
        having = holders(step.state, gpu)
        return pb.CordonGpuResponse(uuid=gpu, lease=lease_id_to_pb(having[0].id) if having else None)

    async def UncordonGpu(self, request: pb.UncordonGpuRequest, context: Any) -> pb.UncordonGpuResponse:  # noqa: N802
        gpu = meant(self._world.agent.state, text(request.gpu, "gpu"))
        step = await self._world.agent.submit(GpuUncordoned(gpu=gpu))
        over = [each.line.signal for each in step.notes if isinstance(each, GpuSignalMoved)]
        return pb.UncordonGpuResponse(uuid=gpu, acknowledged=over)

    async def ListDecisions(  # noqa: N802
        self, request: pb.ListDecisionsRequest, context: Any
    ) -> pb.ListDecisionsResponse:
        stories = await self._world.ledger.stories(query_from_pb(request))
        return pb.ListDecisionsResponse(decisions=map(story_to_pb, stories))

    async def ExplainOrder(self, request: pb.ExplainOrderRequest, context: Any) -> pb.ExplainOrderResponse:  # noqa: N802
        order = order_from_text(request.order)
        stories = await self._world.ledger.of_order(order)
        if not stories:
            raise Denied(
                StatusCode.NOT_FOUND,
                "ORDER_UNKNOWN",
                f"nothing is known of the order {order}: it never reached this provider, or is forgotten",
                remedy="list those that are kept: provider bids --limit 1000",
            )
        return pb.ExplainOrderResponse(decisions=map(story_to_pb, stories))

    async def GetMetrics(self, request: pb.GetMetricsRequest, context: Any) -> pb.GetMetricsResponse:  # noqa: N802
        return pb.GetMetricsResponse(exposition=self._world.exposition())
