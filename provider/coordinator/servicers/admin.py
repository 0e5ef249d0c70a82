"""AdminService: what the market's owner does, over a socket file that only the owner may open."""

# ruff: noqa: N802 -- the proto names the methods

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable
from typing import Any

import grpc.aio
from grpc import StatusCode

from provider.coordinator import views
from provider.coordinator.authority import Authority
from provider.coordinator.market import requests
from provider.coordinator.refusals import granted
from provider.coordinator.rows import MemberId, Role
from provider.coordinator.screenings import Question, Screenings
from provider.coordinator.writer import Writer
from provider.domain.ids import ProviderId
from provider.domain.moment import HOUR, Span
from provider.rpc import codec
from provider.rpc.fields import at_least, one_of, present, word
from provider.rpc.status import Denied
from provider.rpc.v1 import admin_pb2 as pb
from provider.rpc.v1 import admin_pb2_grpc
from provider.rpc.v1.resources_pb2 import GroupSpec

_Context = grpc.aio.ServicerContext[Any, Any]
PATIENCE_S = 5.0
"""For answers of providers, where whoever asks says nothing."""
SELF = "coordinator"
"""Whose order it would be, where nobody is named: no tenant's."""
SECRET_BYTES = 20
"""160 bits: it is guessed over the network, or not at all."""


class AdminServicer(admin_pb2_grpc.AdminServiceServicer):
    """``addresses``: where members and newcomers reach the coordinator, host:port each."""

    def __init__(
        self,
        writer: Writer,
        screenings: Screenings,
        authority: Authority,
        addresses: tuple[str, str],
        entropy: Callable[[int], bytes],
    ) -> None:
        self._writer = writer
        self._screenings = screenings
        self._authority = authority
        self._addresses = addresses
        self._entropy = entropy

    async def Invite(self, request: pb.InviteRequest, context: _Context) -> pb.InviteResponse:
        secret = base64.b32encode(self._entropy(SECRET_BYTES)).decode().lower()
        ask = requests.Invite(
            key=word(request.key, "invite.key"),
            member=MemberId(role=one_of(Role, request.role, "invite.role"), name=request.name),
            digest=hashlib.sha256(secret.encode()).hexdigest(),
            ttl=Span(at_least(request.ttl_ms, 0, "invite.ttl_ms") or HOUR),
        )
        invited = granted(await self._writer.ask(ask), requests.Invited)
        address, enrolment_address = self._addresses
        return pb.InviteResponse(
            secret=secret,
            authority_pem=self._authority.pem,
            market=self._authority.market,
            address=address,
            expires_ms=invited.expires_at,
            enrolment_address=enrolment_address,
        )

    async def Fund(self, request: pb.FundRequest, context: _Context) -> pb.FundResponse:
        ask = requests.Fund(
            key=word(request.key, "fund.key"),
            owner=request.owner,
            role=one_of(Role, request.role or Role.TENANT, "fund.role"),
            amount=codec.money_from_pb(request.amount, present(request, "amount", "fund")),
        )
        funded = granted(await self._writer.ask(ask), requests.Funded)
        return pb.FundResponse(available=codec.money_to_pb(funded.available))

    async def GetMarket(self, request: pb.GetMarketRequest, context: _Context) -> pb.GetMarketResponse:
        return views.market(self._writer.book, self._screenings.sessions)

    async def ScreenOrder(self, request: pb.ScreenOrderRequest, context: _Context) -> pb.ScreenOrderResponse:
        """All are asked at once. One that does not answer is a line of the answer, not an error."""
        patience_s = at_least(request.patience_ms, 0, "screen_order.patience_ms") / 1000 or PATIENCE_S
        for place, wanted in enumerate(request.groups):
            codec.group_from_pb(wanted, f"screen_order.groups[{place}]")
        names = dict.fromkeys(self._known(name) for name in request.providers) or self._all()
        owner = request.owner or SELF

        async def ask(group: GroupSpec, provider: ProviderId) -> pb.ScreeningView:
            told = await self._screenings.ask(provider, Question(group=group, owner=owner), patience_s)
            answer = told.answer if told.HasField("answer") else None
            return pb.ScreeningView(group=group.name, provider=provider, answer=answer, problem=told.problem)

        asking = (ask(group, provider) for group in request.groups for provider in names)
        return pb.ScreenOrderResponse(screenings=await asyncio.gather(*asking))

    def _all(self) -> list[ProviderId]:
        members = self._writer.book.members.values()
        return sorted(ProviderId(each.id.name) for each in members if each.id.role is Role.PROVIDER)

    def _known(self, name: str) -> ProviderId:
        """``Denied`` where this market has no such provider."""
        if self._writer.book.provider(ProviderId(name)) is None:
            raise Denied(
                StatusCode.NOT_FOUND,
                "MEMBER_UNKNOWN",
                f"{name} is not a provider of this market",
                remedy="see coordinator status",
            )
        return ProviderId(name)
