"""EnrolmentService: join token to certificate, old certificate to new.

It is served on two ports. gRPC in Python either asks every client for a certificate or none, so newcomers
have a port of their own (TLS, our certificate only); there ``Renew`` finds no caller and says so.
"""

# ruff: noqa: N802 -- the proto names the methods

from __future__ import annotations

import hashlib
from typing import Any

import grpc.aio

from provider.coordinator.authority import Authority, proven_key_digest
from provider.coordinator.gate import Gate
from provider.coordinator.market import requests
from provider.coordinator.refusals import granted
from provider.coordinator.writer import Clock, Writer
from provider.rpc.fields import word
from provider.rpc.member import Member
from provider.rpc.v1 import enrolment_pb2 as pb
from provider.rpc.v1 import enrolment_pb2_grpc

_Context = grpc.aio.ServicerContext[Any, Any]


class EnrolmentServicer(enrolment_pb2_grpc.EnrolmentServiceServicer):
    def __init__(self, writer: Writer, authority: Authority, clock: Clock) -> None:
        self._writer = writer
        self._gate = Gate(writer)
        self._authority = authority
        self._clock = clock

    async def Enrol(self, request: pb.EnrolRequest, context: _Context) -> pb.EnrolResponse:
        ask = requests.Enrol(
            key=word(request.key, "enrol.key"),
            digest=hashlib.sha256(request.token.encode()).hexdigest(),
            csr=proven_key_digest(request.csr_pem),
        )
        enrolled = granted(await self._writer.ask(ask), requests.Enrolled).member
        market = self._authority.market
        member = Member.checked(role=enrolled.role, market=market, name=enrolled.name)
        return pb.EnrolResponse(
            certificate_pem=self._authority.issue(member, request.csr_pem, self._clock.now()),
            authority_pem=self._authority.pem,
            role=enrolled.role,
            name=enrolled.name,
            market=market,
        )

    async def Renew(self, request: pb.RenewRequest, context: _Context) -> pb.RenewResponse:
        member = self._gate.anybody(context)
        certificate = self._authority.issue(member, request.csr_pem, self._clock.now())
        return pb.RenewResponse(certificate_pem=certificate, authority_pem=self._authority.pem)
