"""Calls to a market, of tenants and of its owner. A tenant's calls to a provider are ``lease_client``'s.

Owns channels and deadlines; every call is cancelled and every failure is one of ``domain.errors``. The
answers stay in the wire's own messages: they are shown, not decided upon.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc.aio

from provider.app.lease_client import LeaseCalls, reaching
from provider.app.roads import road
from provider.domain.ids import LeaseId
from provider.domain.market import GroupSpec
from provider.domain.money import Money
from provider.rpc import codec, settings
from provider.rpc.calls import cancelled_after
from provider.rpc.calls import unary as answered
from provider.rpc.identity import Identity
from provider.rpc.member import Member, Role
from provider.rpc.tokens import Scope
from provider.rpc.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    operator_pb2,
    operator_pb2_grpc,
    tenant_pb2,
    tenant_pb2_grpc,
)

DEADLINE_S = settings.DEADLINE_S

Answer = TypeVar("Answer")


def new_key() -> str:
    """An idempotency key for one thing that somebody wants once."""
    return secrets.token_hex(16)


class Market:
    """A tenant's calls to its coordinator."""

    def __init__(self, who: Identity, say_road: Callable[[str], None] = lambda _: None) -> None:
        self._who = who
        self._say_road = say_road
        self._whom = f"the coordinator at {who.coordinator}"
        coordinator = Member(role=Role.COORDINATOR, market=who.member.market, name="")
        self._channel = settings.mtls_channel(who.coordinator, who, expect=coordinator)
        self._stub: tenant_pb2_grpc.TenantServiceAsyncStub = tenant_pb2_grpc.TenantServiceStub(self._channel)

    async def _ask(self, call: grpc.aio.UnaryUnaryCall[Any, Answer]) -> Answer:
        async with reaching(self._whom):
            return await answered(call)

    @property
    def owner(self) -> str:
        return self._who.member.name

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def balance(self) -> tenant_pb2.GetBalanceResponse:
        return await self._ask(self._stub.GetBalance(tenant_pb2.GetBalanceRequest(), timeout=DEADLINE_S))

    async def create(
        self, groups: Iterable[GroupSpec], manifest_hash: str, deposit: Money, key: str
    ) -> tenant_pb2.CreateDeploymentResponse:
        """Open an order for each group; ``key`` makes a repeat harmless."""
        request = tenant_pb2.CreateDeploymentRequest(
            key=key,
            groups=[codec.group_to_pb(group) for group in groups],
            manifest_hash=bytes.fromhex(manifest_hash),
            deposit=codec.money_to_pb(deposit),
        )
        return await self._ask(self._stub.CreateDeployment(request, timeout=DEADLINE_S))

    async def deployments(self, *, include_closed: bool) -> list[tenant_pb2.Deployment]:
        """Newest first."""
        request = tenant_pb2.ListDeploymentsRequest(include_closed=include_closed)
        return list((await self._ask(self._stub.ListDeployments(request, timeout=DEADLINE_S))).deployments)

    async def deployment(self, dseq: int) -> tenant_pb2.Deployment:
        """As it is now."""
        async for view in self.watch(dseq, follow=False):
            return view
        raise AssertionError("the coordinator answers with the deployment or with an error")

    async def watch(self, dseq: int, *, follow: bool = True) -> AsyncIterator[tenant_pb2.Deployment]:
        """As it is now and, following, at each change."""
        request = tenant_pb2.WatchDeploymentRequest(dseq=dseq, watch=follow)
        timeout = None if follow else DEADLINE_S
        watching = self._stub.WatchDeployment(request, timeout=timeout)
        async with reaching(self._whom), cancelled_after(watching) as call:
            async for answer in call:
                yield answer.deployment

    async def accept(self, bid: LeaseId, key: str) -> int:
        """Until when the provider has to confirm, UTC milliseconds."""
        request = tenant_pb2.AcceptBidRequest(key=key, bid=codec.lease_id_to_pb(bid))
        return (await self._ask(self._stub.AcceptBid(request, timeout=DEADLINE_S))).confirm_by_ms

    async def update(self, dseq: int, groups: Iterable[GroupSpec], manifest_hash: str, key: str) -> None:
        """Order another manifest with the same groups."""
        request = tenant_pb2.UpdateDeploymentRequest(
            key=key,
            dseq=dseq,
            manifest_hash=bytes.fromhex(manifest_hash),
            groups=[codec.group_to_pb(group) for group in groups],
        )
        await self._ask(self._stub.UpdateDeployment(request, timeout=DEADLINE_S))

    async def close(self, dseq: int, key: str) -> None:
        request = tenant_pb2.CloseDeploymentRequest(key=key, dseq=dseq)
        await self._ask(self._stub.CloseDeployment(request, timeout=DEADLINE_S))

    async def lease_token(self, lease: LeaseId, scopes: Iterable[Scope]) -> str:
        request = tenant_pb2.IssueLeaseTokenRequest(lease=codec.lease_id_to_pb(lease), scopes=list(scopes))
        return (await self._ask(self._stub.IssueLeaseToken(request, timeout=DEADLINE_S))).token

    def lease(self, lease: LeaseId, address: str, token: str) -> LeaseCalls:
        """The way to a lease at its provider; without an ``address``, through the coordinator alone."""
        return LeaseCalls(
            self._who, lease, token, lambda make: road(lease, address, make, self._channel), self._say_road
        )


class Admin:
    """The market's owner, over the coordinator's socket."""

    def __init__(self, socket: Path) -> None:
        self._channel = settings.unix_channel(socket)
        self._stub: admin_pb2_grpc.AdminServiceAsyncStub = admin_pb2_grpc.AdminServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def invite(self, role: Role, name: str, ttl_ms: int) -> admin_pb2.InviteResponse:
        request = admin_pb2.InviteRequest(key=new_key(), role=role, name=name, ttl_ms=ttl_ms)
        return await answered(self._stub.Invite(request, timeout=DEADLINE_S))

    async def fund(self, role: Role, name: str, amount: Money) -> admin_pb2.FundResponse:
        money = codec.money_to_pb(amount)
        request = admin_pb2.FundRequest(key=new_key(), owner=name, amount=money, role=role)
        return await answered(self._stub.Fund(request, timeout=DEADLINE_S))

    async def market(self) -> admin_pb2.GetMarketResponse:
        return await answered(self._stub.GetMarket(admin_pb2.GetMarketRequest(), timeout=DEADLINE_S))

    async def screen(
        self, groups: Iterable[GroupSpec], providers: Iterable[str], owner: str, patience_s: float
    ) -> admin_pb2.ScreenOrderResponse:
        """What ``providers``, or all of them, say within ``patience_s`` of an order of ``owner``."""
        request = admin_pb2.ScreenOrderRequest(
            groups=[codec.group_to_pb(group) for group in groups],
            providers=providers,
            owner=owner,
            patience_ms=round(patience_s * 1000),
        )
        return await answered(self._stub.ScreenOrder(request, timeout=patience_s + DEADLINE_S))


class Daemon:
    """The operator, over the provider daemon's socket."""

    def __init__(self, socket: Path) -> None:
        self._channel = settings.unix_channel(socket)
        self._stub: operator_pb2_grpc.OperatorServiceAsyncStub = operator_pb2_grpc.OperatorServiceStub(
            self._channel
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def close_lease(
        self, lease: LeaseId, notice_ms: int, why: str, *, force: bool = False
    ) -> operator_pb2.CloseLeaseResponse:
        request = operator_pb2.CloseLeaseRequest(
            lease=codec.lease_id_to_pb(lease), notice_ms=notice_ms, why=why, force=force
        )
        return await answered(self._stub.CloseLease(request, timeout=DEADLINE_S))

    async def set_drain(self, *, drain: bool) -> operator_pb2.SetDrainResponse:
        request = operator_pb2.SetDrainRequest(drain=drain)
        return await answered(self._stub.SetDrain(request, timeout=DEADLINE_S))

    async def gpu_health(self, gpu: str) -> operator_pb2.GetGpuHealthResponse:
        request = operator_pb2.GetGpuHealthRequest(gpu=gpu)
        return await answered(self._stub.GetGpuHealth(request, timeout=DEADLINE_S))

    async def cordon_gpu(self, gpu: str, why: str) -> operator_pb2.CordonGpuResponse:
        request = operator_pb2.CordonGpuRequest(gpu=gpu, why=why)
        return await answered(self._stub.CordonGpu(request, timeout=DEADLINE_S))

    async def uncordon_gpu(self, gpu: str) -> operator_pb2.UncordonGpuResponse:
        request = operator_pb2.UncordonGpuRequest(gpu=gpu)
        return await answered(self._stub.UncordonGpu(request, timeout=DEADLINE_S))

    async def reload(self) -> operator_pb2.ReloadResponse:
        return await answered(self._stub.Reload(operator_pb2.ReloadRequest(), timeout=DEADLINE_S))

    async def decisions(
        self, request: operator_pb2.ListDecisionsRequest
    ) -> operator_pb2.ListDecisionsResponse:
        return await answered(self._stub.ListDecisions(request, timeout=DEADLINE_S))

    async def explain(self, order: str) -> operator_pb2.ExplainOrderResponse:
        request = operator_pb2.ExplainOrderRequest(order=order)
        return await answered(self._stub.ExplainOrder(request, timeout=DEADLINE_S))

    async def metrics(self) -> bytes:
        """In Prometheus' text format."""
        answer = await answered(self._stub.GetMetrics(operator_pb2.GetMetricsRequest(), timeout=DEADLINE_S))
        return answer.exposition

    async def statuses(self) -> AsyncGenerator[operator_pb2.GetStatusResponse, None]:
        """Again and again, until it is left."""
        call = self._stub.StreamStatus(operator_pb2.StreamStatusRequest())
        async with cancelled_after(call):
            async for told in call:
                yield told.status

    async def status(self) -> operator_pb2.GetStatusResponse:
        return await answered(self._stub.GetStatus(operator_pb2.GetStatusRequest(), timeout=DEADLINE_S))
