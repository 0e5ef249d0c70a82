"""Becoming a member and staying one, from the member's side: join token to certificate, old to new.

Every key is made here and never leaves; the coordinator sees signing requests only.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import grpc.aio

from provider.domain.errors import ConfigError, PeerError, Permanent, Temporary
from provider.domain.secret import Secret
from provider.rpc.calls import unary
from provider.rpc.identity import Identity, assemble, new_key, signing_request
from provider.rpc.join import JoinToken
from provider.rpc.member import Member, Role
from provider.rpc.settings import DEADLINE_S, tls_channel
from provider.rpc.v1.enrolment_pb2 import EnrolRequest, EnrolResponse, RenewRequest
from provider.rpc.v1.enrolment_pb2_grpc import EnrolmentServiceStub

if TYPE_CHECKING:
    from provider.rpc.v1.enrolment_pb2_grpc import EnrolmentServiceAsyncStub

_ATTEMPTS = 3


async def enrol(token: JoinToken) -> Identity:
    """Trade ``token`` for an identity, with a key made now. It is not saved.

    ``ConfigError``: the coordinator cannot be reached or does not take the token (used, expired). A lost
    answer is asked for again under the same idempotency key, since the token is good only once.
    """
    coordinator = Member(role=Role.COORDINATOR, market=token.member.market)
    key = new_key()
    csr = signing_request(key)
    request = EnrolRequest(key=_key_of(csr), token=token.secret.reveal(), csr_pem=csr)
    async with tls_channel(token.enrolment_address, token.authority_pem, expect=coordinator) as channel:
        try:
            response = await _ask(EnrolmentServiceStub(channel), request)
        except Temporary as error:
            raise ConfigError(
                f"the coordinator at {token.enrolment_address} does not answer: {error.what}",
                remedy="check that it runs and that this machine reaches that address",
            ) from error
        except Permanent as error:
            raise ConfigError(error.what, remedy=error.remedy) from error
    return _checked(key, response.certificate_pem, response.authority_pem, token.member, token.address)


async def _ask(stub: EnrolmentServiceAsyncStub, request: EnrolRequest) -> EnrolResponse:
    for _ in range(_ATTEMPTS - 1):
        try:
            return await unary(stub.Enrol(request, timeout=DEADLINE_S))
        except Temporary:
            continue
    return await unary(stub.Enrol(request, timeout=DEADLINE_S))


async def renew(channel: grpc.aio.Channel, identity: Identity) -> Identity:
    """A new certificate for a new key, over ``channel``, which the old one opened. It is not saved."""
    key = new_key()
    csr = signing_request(key)
    request = RenewRequest(key=_key_of(csr), csr_pem=csr)
    response = await unary(EnrolmentServiceStub(channel).Renew(request, timeout=DEADLINE_S))
    return _checked(
        key, response.certificate_pem, response.authority_pem, identity.member, identity.coordinator
    )


def _key_of(csr: str) -> str:
    """A new request has a new idempotency key, a repeat of it the same."""
    return hashlib.sha256(csr.encode()).hexdigest()[:32]


def _checked(key: Secret, certificate: str, authority: str, member: Member, address: str) -> Identity:
    made = assemble(key=key, certificate_pem=certificate, authority_pem=authority, coordinator=address)
    if made.member != member:
        raise PeerError(f"the coordinator made a certificate for the {made.member}, not for the {member}")
    return made
