"""TunnelService: both ends of a tunnel dial in here, and their bytes are passed on unread."""

# ruff: noqa: N802 -- the proto names the methods

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import grpc.aio
import structlog

from provider.coordinator.gate import Gate
from provider.coordinator.market.permission import tunnel_denied
from provider.coordinator.refusals import error_of
from provider.coordinator.sessions import Sessions
from provider.coordinator.tunnels import Tunnel, Tunnels
from provider.coordinator.writer import Writer
from provider.domain.errors import PeerError, ProviderError, Temporary
from provider.domain.ids import LeaseId
from provider.rpc import codec
from provider.rpc.calls import is_task_cancelled
from provider.rpc.fields import broken, word
from provider.rpc.settings import DEADLINE_S, TUNNEL_PIECE_BYTES
from provider.rpc.v1 import tunnel_pb2 as pb
from provider.rpc.v1 import tunnel_pb2_grpc
from provider.rpc.v1.market_pb2 import TunnelWanted

_Context = grpc.aio.ServicerContext[Any, Any]
AGAIN = "try again in a moment"
_log = structlog.get_logger()


class TunnelServicer(tunnel_pb2_grpc.TunnelServiceServicer):
    def __init__(self, writer: Writer, sessions: Sessions, tunnels: Tunnels) -> None:
        self._writer = writer
        self._gate = Gate(writer)
        self._sessions = sessions
        self._tunnels = tunnels

    async def Dial(  # type: ignore[override]  # a coroutine that reads and writes the context itself
        self, request_iterator: AsyncIterator[pb.DialRequest], context: _Context
    ) -> None:
        owner = self._gate.owner(context)
        first = await _first(context)
        if not isinstance(first, pb.DialRequest) or not first.HasField("lease"):
            raise PeerError("lease: the first message must name it")
        lease = codec.lease_id_from_pb(first.lease, "lease")
        denied = tunnel_denied(self._writer.book, owner, lease)
        if denied is not None:
            raise error_of(denied)
        with self._tunnels.dial(lease) as tunnel:
            await self._answered(tunnel)
            await context.write(pb.DialResponse(connected=True))
            with _logged(tunnel, len(self._tunnels)):
                end = _Stream(context, pb.DialResponse, "the tenant has hung up")
                await tunnel.carry(end, self._tunnels.limits.idle_s)

    async def Answer(  # type: ignore[override]  # as above
        self, request_iterator: AsyncIterator[pb.AnswerRequest], context: _Context
    ) -> None:
        provider = self._gate.provider(context)
        first = await _first(context)
        if not isinstance(first, pb.AnswerRequest):
            raise PeerError("tunnel: the first message must name it")
        gone = f"the provider {provider} has gone"
        end = _Stream(context, pb.AnswerResponse, gone)
        tunnel = self._tunnels.answer(provider, word(first.tunnel, "tunnel"), end)
        try:
            await tunnel.over()
        finally:
            tunnel.end(Temporary(gone, remedy=AGAIN))

    async def _answered(self, tunnel: Tunnel) -> None:
        provider, patience_s = tunnel.lease.provider, self._tunnels.limits.answer_s
        hint = {"tunnel_wanted": TunnelWanted(tunnel=tunnel.name)}
        with self._sessions.wanting(provider, tunnel.name, hint):
            try:
                await tunnel.answered(patience_s)
            except TimeoutError:
                is_away = provider not in self._sessions
                raise Temporary(
                    f"the provider {provider} is not connected to the market"
                    if is_away
                    else f"the provider {provider} did not open a tunnel within {patience_s:g} s",
                    remedy=f"try again later, or see how the lease does: tenant status {tunnel.lease.dseq}",
                ) from None


class _Stream:
    """A ``tunnels.End``: one call's messages as pieces of bytes."""

    def __init__(
        self, context: _Context, message: type[pb.DialResponse] | type[pb.AnswerResponse], gone: str
    ) -> None:
        self._context = context
        self._message = message
        self._gone = gone

    async def read(self) -> bytes | None:
        with self._told():
            request = await self._context.read()
        if not isinstance(request, pb.DialRequest | pb.AnswerRequest):
            # Who is done says so; a stream that just stops is a peer that died.
            raise Temporary(self._gone, remedy=AGAIN)
        match request.WhichOneof("body"):
            case "data":
                if len(request.data) > TUNNEL_PIECE_BYTES:
                    raise broken("data", f"has more than {TUNNEL_PIECE_BYTES} bytes")
                return request.data
            case "closed":
                return None
            case body:
                raise broken(body or "body", "is not expected here")

    async def write(self, data: bytes | None) -> None:
        message = self._message(closed=True) if data is None else self._message(data=data)
        with self._told():
            await self._context.write(message)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """The other end's call may be over at any moment, and gRPC says so in several ways."""
        try:
            yield
        except (grpc.aio.InternalError, grpc.aio.UsageError, grpc.aio.AbortError) as error:
            raise Temporary(self._gone) from error
        except asyncio.CancelledError:
            if is_task_cancelled():
                raise
            raise Temporary(self._gone) from None


async def _first(context: _Context) -> object:
    """The first message, which is not waited for for long."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            return await context.read()
    except TimeoutError:
        raise Temporary(f"no first message within {DEADLINE_S:g} s") from None


@contextmanager
def _logged(tunnel: Tunnel, count: int) -> Iterator[None]:
    lease: LeaseId = tunnel.lease
    _log.info("tunnel_opened", lease=str(lease), tunnels_open=count)
    why = "the tenant has hung up"
    try:
        yield
        why = "both sides are done"
    except ProviderError as error:
        why = error.what
        raise
    finally:
        _log.info(
            "tunnel_ended",
            lease=str(lease),
            why=why,
            to_provider_bytes=tunnel.to_provider_bytes,
            to_tenant_bytes=tunnel.to_tenant_bytes,
        )
