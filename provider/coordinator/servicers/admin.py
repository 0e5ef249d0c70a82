"""AdminService: what the market's owner does, over a socket file that only the owner may open."""

# ruff: noqa: N802 -- the proto names the methods

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any

import grpc.aio

from provider.coordinator import views
from provider.coordinator.authority import Authority
from provider.coordinator.market import requests
from provider.coordinator.refusals import granted
from provider.coordinator.rows import MemberId, Role
from provider.coordinator.sessions import Sessions
from provider.coordinator.writer import Writer
from provider.domain.ids import Owner
from provider.domain.moment import HOUR, Span
from provider.rpc import codec
from provider.rpc.fields import at_least, one_of, present, word
from provider.rpc.v1 import admin_pb2 as pb
from provider.rpc.v1 import admin_pb2_grpc

_Context = grpc.aio.ServicerContext[Any, Any]
SECRET_BYTES = 20
"""160 bits: it is guessed over the network, or not at all."""


class AdminServicer(admin_pb2_grpc.AdminServiceServicer):
    """``addresses``: where members and newcomers reach the coordinator, host:port each."""

    def __init__(
        self,
        writer: Writer,
        sessions: Sessions,
        authority: Authority,
        addresses: tuple[str, str],
        entropy: Callable[[int], bytes],
    ) -> None:
        self._writer = writer
        self._sessions = sessions
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
            owner=Owner(request.owner),
            amount=codec.money_from_pb(request.amount, present(request, "amount", "fund")),
        )
        funded = granted(await self._writer.ask(ask), requests.Funded)
        return pb.FundResponse(available=codec.money_to_pb(funded.available))

    async def GetMarket(self, request: pb.GetMarketRequest, context: _Context) -> pb.GetMarketResponse:
        return views.market(self._writer.book, self._sessions)
