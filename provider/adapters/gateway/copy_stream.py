"""Files on their way between a tenant and a container, as tar archives.

Both ways are bounded: gRPC's flow control on one side, the engine's on the other, nothing kept between.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc.aio

from provider.adapters.gateway.streams import closed_after, stopping_error
from provider.domain.ids import LeaseId
from provider.ports import CopyRequest, Runtime
from provider.rpc.fields import at_least, broken, word
from provider.rpc.v1.lease_pb2 import CopyInRequest, CopyInStart, CopyOutRequest, CopyOutResponse

DATA_MOST = 64 * 1024
"""Bytes of one message."""
SILENCE_S = 60.0
"""A tenant who sends nothing for that long has given up."""
_Context = grpc.aio.ServicerContext[Any, Any]


def place_of(start: CopyInStart | CopyOutRequest, path: str) -> CopyRequest:
    """``PeerError`` names the field below ``path`` that cannot be."""
    inside = word(start.path, f"{path}path")
    if not inside.startswith("/") or "\0" in inside:
        raise broken(f"{path}path", "is not an absolute path")
    return CopyRequest(
        service=word(start.service, f"{path}service"),
        replica=at_least(start.replica, 0, f"{path}replica"),
        path=inside,
    )


async def archive_of(requests: AsyncIterator[CopyInRequest]) -> AsyncIterator[bytes]:
    """The archive behind the first message."""
    while True:
        try:
            async with asyncio.timeout(SILENCE_S):
                request = await anext(requests, None)
        except TimeoutError as error:
            raise broken("data", f"did not come for {SILENCE_S:g} s") from error
        if request is None:
            return
        if not request.HasField("data"):
            raise broken(request.WhichOneof("body") or "body", "is not expected here")
        if len(request.data) > DATA_MOST:
            raise broken("data", f"has more than {DATA_MOST} bytes")
        yield request.data


async def send_out(
    runtime: Runtime, lease: LeaseId, request: CopyRequest, context: _Context, closing: asyncio.Event
) -> None:
    """``Temporary`` when ``closing`` is set."""
    async with aclosing(closed_after(runtime.copy_out(lease, request))) as pieces:
        async for piece in pieces:
            for start in range(0, len(piece), DATA_MOST):
                await context.write(CopyOutResponse(data=piece[start : start + DATA_MOST]))
            if closing.is_set():
                raise stopping_error()
