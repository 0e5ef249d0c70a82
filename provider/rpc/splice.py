"""A member's end of a tunnel: a local connection's bytes, as the messages of its call, and back.

Owns the two flows. Does not own the call, the connection, nor what is in the bytes: TLS, end to end.
Invariant: at most one piece each way is held here; a side that does not take slows the other down. Each
side's end of writing is passed on as such (``closed``), and a side that just stops ends both.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio

from provider.domain.errors import PeerError, ProviderError, Temporary
from provider.rpc.settings import TUNNEL_PIECE_BYTES
from provider.rpc.v1.tunnel_pb2 import AnswerRequest, AnswerResponse, DialRequest, DialResponse

_Call = grpc.aio.StreamStreamCall[Any, Any]
_Message = type[DialRequest] | type[AnswerRequest]


async def splice(
    call: _Call, message: _Message, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Until both ways are closed. Raises what ended it before: ``ProviderError``, gRPC's or the socket's.

    The call is the caller's to cancel; the connection is closed, or reset where not all went through.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_send(call, message, reader))
            tasks.create_task(_receive(call, writer))
    except* (ProviderError, grpc.aio.AioRpcError, OSError) as group:
        writer.transport.abort()
        raise group.exceptions[0] from None
    finally:
        writer.close()


async def _send(call: _Call, message: _Message, reader: asyncio.StreamReader) -> None:
    try:
        while data := await reader.read(TUNNEL_PIECE_BYTES):
            await call.write(message(data=data))
        await call.write(message(closed=True))
    except asyncio.InvalidStateError:
        return  # the call is over; whoever reads it learns why


async def _receive(call: _Call, writer: asyncio.StreamWriter) -> None:
    while isinstance(response := await call.read(), DialResponse | AnswerResponse):
        match response.WhichOneof("body"):
            case "data":
                writer.write(response.data)
                await writer.drain()
            case "closed":
                if writer.can_write_eof():
                    writer.write_eof()
                return
            case body:
                raise PeerError(f"a tunnel does not carry {body or 'nothing'}")
    raise Temporary("the tunnel has ended")
