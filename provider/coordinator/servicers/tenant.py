"""TenantService: the buyers' side, and the public record."""

# ruff: noqa: N802 -- the proto names the methods

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc.aio

from provider.coordinator import views
from provider.coordinator.authority import Authority
from provider.coordinator.denial import Denial, Denied
from provider.coordinator.gate import Gate
from provider.coordinator.market import requests
from provider.coordinator.market.permission import token_denied
from provider.coordinator.refusals import error_of, granted
from provider.coordinator.rows import Accepted, Created, DeploymentRow, Done
from provider.coordinator.store import RECORD_PAGE_MAX
from provider.coordinator.watchers import Watchers
from provider.coordinator.writer import Clock, Writer
from provider.domain.ids import DeploymentId, Owner
from provider.domain.moment import after
from provider.rpc import codec, tokens
from provider.rpc.fields import at_least, each, present, sha256, word
from provider.rpc.v1 import tenant_pb2 as pb
from provider.rpc.v1 import tenant_pb2_grpc

_Context = grpc.aio.ServicerContext[Any, Any]
Entropy = Callable[[int], bytes]
"""So many random bytes, good enough for secrets."""


class TenantServicer(tenant_pb2_grpc.TenantServiceServicer):
    def __init__(
        self, writer: Writer, watchers: Watchers, authority: Authority, clock: Clock, entropy: Entropy
    ) -> None:
        self._writer = writer
        self._gate = Gate(writer)
        self._watchers = watchers
        self._authority = authority
        self._clock = clock
        self._entropy = entropy

    async def GetBalance(self, request: pb.GetBalanceRequest, context: _Context) -> pb.GetBalanceResponse:
        return views.balance(self._writer.book, self._gate.owner(context))

    async def CreateDeployment(
        self, request: pb.CreateDeploymentRequest, context: _Context
    ) -> pb.CreateDeploymentResponse:
        ask = requests.CreateDeployment(
            owner=self._gate.owner(context),
            key=word(request.key, "create_deployment.key"),
            groups=each(request.groups, codec.group_from_pb, "create_deployment.groups"),
            manifest_hash=sha256(request.manifest_hash, "create_deployment.manifest_hash"),
            deposit=codec.money_from_pb(request.deposit, present(request, "deposit", "create_deployment")),
        )
        created = granted(await self._writer.ask(ask), Created).deployment
        return pb.CreateDeploymentResponse(owner=created.owner, dseq=created.dseq)

    async def ListDeployments(
        self, request: pb.ListDeploymentsRequest, context: _Context
    ) -> pb.ListDeploymentsResponse:
        owner = self._gate.owner(context)
        found = views.deployments_of(self._writer.book, owner, include_closed=request.include_closed)
        return pb.ListDeploymentsResponse(deployments=found)

    async def WatchDeployment(
        self, request: pb.WatchDeploymentRequest, context: _Context
    ) -> AsyncIterator[pb.WatchDeploymentResponse]:
        """Ends when the deployment is closed: nothing changes after that."""
        owner = self._gate.owner(context)
        deployment = DeploymentId(owner=owner, dseq=request.dseq)
        last: pb.Deployment | None = None
        with self._watchers.watch(deployment) as watcher:
            while True:
                row = self._own(owner, deployment)
                view = views.deployment(self._writer.book, row)
                if view != last:
                    last = view
                    yield pb.WatchDeploymentResponse(deployment=view)
                if not request.watch or row.closed_at is not None:
                    return
                await watcher.change()

    async def AcceptBid(self, request: pb.AcceptBidRequest, context: _Context) -> pb.AcceptBidResponse:
        ask = requests.AcceptBid(
            owner=self._gate.owner(context),
            key=word(request.key, "accept_bid.key"),
            bid=codec.lease_id_from_pb(request.bid, present(request, "bid", "accept_bid")),
        )
        accepted = granted(await self._writer.ask(ask), Accepted)
        return pb.AcceptBidResponse(confirm_by_ms=accepted.confirm_by)

    async def UpdateDeployment(
        self, request: pb.UpdateDeploymentRequest, context: _Context
    ) -> pb.UpdateDeploymentResponse:
        owner = self._gate.owner(context)
        ask = requests.UpdateDeployment(
            owner=owner,
            key=word(request.key, "update_deployment.key"),
            deployment=DeploymentId(owner=owner, dseq=request.dseq),
            groups=each(request.groups, codec.group_from_pb, "update_deployment.groups"),
            manifest_hash=sha256(request.manifest_hash, "update_deployment.manifest_hash"),
        )
        granted(await self._writer.ask(ask), Done)
        return pb.UpdateDeploymentResponse()

    async def CloseDeployment(
        self, request: pb.CloseDeploymentRequest, context: _Context
    ) -> pb.CloseDeploymentResponse:
        owner = self._gate.owner(context)
        ask = requests.CloseDeployment(
            owner=owner,
            key=word(request.key, "close_deployment.key"),
            deployment=DeploymentId(owner=owner, dseq=request.dseq),
        )
        granted(await self._writer.ask(ask), Done)
        return pb.CloseDeploymentResponse()

    async def IssueLeaseToken(
        self, request: pb.IssueLeaseTokenRequest, context: _Context
    ) -> pb.IssueLeaseTokenResponse:
        owner = self._gate.owner(context)
        lease = codec.lease_id_from_pb(request.lease, present(request, "lease", "issue_lease_token"))
        denied = token_denied(self._writer.book, owner, lease, frozenset(request.scopes))
        if denied is not None:
            raise error_of(denied)
        at = self._clock.now()
        token = tokens.LeaseToken(
            market=self._authority.market,
            lease=lease,
            scopes=tuple(tokens.Scope(scope) for scope in sorted(set(request.scopes))),
            issued_at=at,
            expires_at=after(at, tokens.LIFETIME_MOST),
            id=self._entropy(16).hex(),
        )
        text = tokens.issue(token, self._authority.token_key, self._authority.token_key_name)
        return pb.IssueLeaseTokenResponse(token=text, expires_ms=token.expires_at)

    async def ListRecord(self, request: pb.ListRecordRequest, context: _Context) -> pb.ListRecordResponse:
        self._gate.anybody(context)
        first = at_least(request.from_number, 0, "list_record.from_number") or 1
        limit = at_least(request.limit, 0, "list_record.limit") or RECORD_PAGE_MAX
        return pb.ListRecordResponse(entries=views.record_entries(await self._writer.record(first, limit)))

    def _own(self, owner: Owner, deployment: DeploymentId) -> DeploymentRow:
        row = self._writer.book.deployments.get(deployment)
        if row is None:
            raise error_of(
                Denied(
                    why=Denial.DEPLOYMENT_UNKNOWN,
                    what=f"{owner} has no deployment {deployment.dseq}",
                    remedy="list them with `tenant status`",
                )
            )
        return row
