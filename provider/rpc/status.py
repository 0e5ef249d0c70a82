"""Errors on the wire: ``domain.errors`` to google.rpc.Status and back, in one table.

Owns: which failure is which gRPC code, what travels with it (ErrorInfo: a reason for programs, the
remedy for people; RetryInfo), and who the caller is. Does not own when to fail.
Invariant: what a servicer raises arrives with the same two lines of text, and says the same about a
repeat: ``Temporary`` may be repeated, ``Permanent`` (as ``Denied``) and ``ConfigError`` may not. A
``PeerError`` there (the caller's message cannot be) is ``Denied`` here; ``PeerError`` here is its bug.

Codes and their meaning: google/rpc/code.proto; details: google/rpc/error_details.proto (googleapis).
"""

from __future__ import annotations

from typing import Any, Never

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from grpc import StatusCode

from provider.domain.errors import ConfigError, PeerError, Permanent, ProviderError, Temporary
from provider.domain.moment import Span
from provider.rpc.member import Member, Role

DOMAIN = "provider.rpc.v1"
"""Of ErrorInfo: whose reasons these are."""
_DETAILS_KEY = "grpc-status-details-bin"
"""Where gRPC carries google.rpc.Status (grpc_status does the same)."""
_DETAIL_BYTES = 1024
"""Of the message: details travel in trailers, which peers bound to 8 KiB or so."""

_BROKEN = ("Socket closed", "Stream removed", "Connection reset")
"""gRPC's words for a connection that broke (seen with 1.85.1)."""


class Denied(Permanent):
    """A refusal with a name: ``reason`` is for programs (``LEASE_UNKNOWN``), ``code`` for gRPC's tools."""

    def __init__(self, code: StatusCode, reason: str, what: str, *, remedy: str | None = None) -> None:
        super().__init__(what, remedy=remedy)
        self.code = code
        self.reason = reason


_CODES: tuple[tuple[type[ProviderError], StatusCode, str], ...] = (
    # kind, code, reason. First match counts; the reverse is _KINDS.
    (Temporary, StatusCode.UNAVAILABLE, "TEMPORARY"),
    (PeerError, StatusCode.INVALID_ARGUMENT, "MALFORMED"),
    (ConfigError, StatusCode.INVALID_ARGUMENT, "CONFIGURATION"),
    (Permanent, StatusCode.FAILED_PRECONDITION, "REFUSED"),
)

_KINDS: dict[StatusCode, type[ProviderError]] = {
    # grpc/doc/statuscodes.md: which codes the library makes itself, and when.
    StatusCode.UNAVAILABLE: Temporary,  # no connection, or it broke; servers that are stopping
    StatusCode.DEADLINE_EXCEEDED: Temporary,
    StatusCode.CANCELLED: Temporary,  # the other side or its proxy gave up the call
    StatusCode.ABORTED: Temporary,  # fenced by a newer session: dial again
    StatusCode.RESOURCE_EXHAUSTED: Temporary,  # a limit on calls; see _TOO_LARGE for messages
    StatusCode.UNKNOWN: PeerError,  # an exception in the servicer: its bug
    StatusCode.INTERNAL: PeerError,  # bytes that are no message
    StatusCode.DATA_LOSS: PeerError,
    StatusCode.UNIMPLEMENTED: Permanent,  # an older peer
    StatusCode.UNAUTHENTICATED: Permanent,
    StatusCode.PERMISSION_DENIED: Permanent,
    StatusCode.INVALID_ARGUMENT: Permanent,
    StatusCode.NOT_FOUND: Permanent,
    StatusCode.ALREADY_EXISTS: Permanent,
    StatusCode.FAILED_PRECONDITION: Permanent,
    StatusCode.OUT_OF_RANGE: Permanent,
}

_TOO_LARGE = "larger than max"
"""grpc core's words for a message over the limit, as measured: "Received message larger than max"."""


def status_of(error: ProviderError) -> tuple[StatusCode, str]:
    """The code and the reason that ``error`` travels under."""
    if isinstance(error, Denied):
        return error.code, error.reason
    return next((code, reason) for kind, code, reason in _CODES if isinstance(error, kind))


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: ProviderError) -> Never:
    """End the call with ``error``. Never returns: gRPC raises inside."""
    code, reason = status_of(error)
    message = error.what[:_DETAIL_BYTES]
    status = status_pb2.Status(code=code.value[0], message=message)
    info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN)
    if error.remedy:
        info.metadata["remedy"] = error.remedy[:_DETAIL_BYTES]
    status.details.add().Pack(info)
    if isinstance(error, Temporary) and error.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(error.retry_after)
        status.details.add().Pack(retry)
    await context.abort(code, message, trailing_metadata=((_DETAILS_KEY, status.SerializeToString()),))
    raise AssertionError("abort returned")


def error_from_rpc(error: grpc.aio.AioRpcError) -> ProviderError:
    """What a failed call means here, as the other side raised it, or as gRPC itself reports it."""
    code = error.code()
    what = error.details() or f"the call failed with {code.name}"
    reason, remedy, retry_after = _details(error)
    if code is StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE in what:
        return Denied(code, "MESSAGE_TOO_LARGE", what, remedy="send less at once")
    kind = _KINDS.get(code, PeerError)
    if reason == "CONFIGURATION":
        return ConfigError(what, remedy=remedy)
    if kind is Temporary:
        return Temporary(what, remedy=remedy, retry_after=retry_after)
    if kind is Permanent:
        return Denied(code, reason or code.name, what, remedy=remedy)
    return PeerError(what, remedy=remedy)


def _details(error: grpc.aio.AioRpcError) -> tuple[str, str | None, Span | None]:
    """Reason, remedy and retry delay of google.rpc.Status; whatever is not ours to read is left out."""
    trailers = dict(error.trailing_metadata() or ())
    raw = trailers.get(_DETAILS_KEY)
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    if isinstance(raw, bytes):
        try:
            for detail in status_pb2.Status.FromString(raw).details:
                _ = detail.Unpack(info) or detail.Unpack(retry)
        except DecodeError:
            return "", None, None
    if info.domain != DOMAIN:
        return "", None, None
    delay = Span(retry.retry_delay.ToMilliseconds()) if retry.HasField("retry_delay") else None
    return info.reason, info.metadata.get("remedy"), delay


def caller(context: grpc.aio.ServicerContext[Any, Any]) -> Member:
    """Who calls, by the one URI name in the certificate that TLS has verified. ``Denied`` if nobody."""
    names = tuple(context.auth_context().get("peer_uri") or ())
    try:
        return Member.parse(names[0].decode() if len(names) == 1 else "")
    except ValueError as error:
        raise Denied(
            StatusCode.UNAUTHENTICATED,
            "CERTIFICATE_MISSING",
            f"the caller shows no certificate of a member: {error}",
            remedy="enroll first, and connect with that certificate",
        ) from error


def caller_as(context: grpc.aio.ServicerContext[Any, Any], role: Role, market: str) -> Member:
    """The caller, who must be a ``role`` of ``market``: ``Denied`` with PERMISSION_DENIED otherwise."""
    member = caller(context)
    if member.role is not role or member.market != market:
        raise Denied(
            StatusCode.PERMISSION_DENIED,
            "WRONG_MEMBER",
            f"this is for a {role} of {market}; the certificate is of the {member}",
            remedy=f"use a certificate of a {role} of {market}",
        )
    return member


def is_broken(error: ProviderError) -> bool:
    """Whether it only says that a connection that was there broke."""
    return any(words in error.what for words in _BROKEN)
