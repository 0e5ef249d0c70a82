"""One executed command: a tenant's stream on one side, a container's on the other.

Both ways are bounded: output waits for the tenant (gRPC's flow control), input waits for the container.
Invariant: when either side goes, the command is ended; leaving the ``ExecSession`` kills it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc.aio

from provider.adapters.gateway.streams import closed_after, stopping_error
from provider.ports import ExecSession
from provider.rpc.fields import at_least, broken
from provider.rpc.settings import CHUNK_BYTES
from provider.rpc.v1.lease_pb2 import ExecRequest, ExecResponse

INPUT_MOST = 64 * 1024
"""Bytes of one message of input."""
_Context = grpc.aio.ServicerContext[Any, Any]


async def bridge(
    session: ExecSession,
    requests: AsyncIterator[ExecRequest],
    context: _Context,
    closing: asyncio.Event,
) -> None:
    """Until the command has ended. ``Temporary`` when ``closing`` is set, ``PeerError`` for bad input."""
    async with session, asyncio.TaskGroup() as tasks:
        speaking = tasks.create_task(_speak(session, context))
        listening = tasks.create_task(_listen(session, requests))
        stopping = tasks.create_task(closing.wait())
        # Input may end long before output does, so only these two end a session; a bad message raises.
        await asyncio.wait({speaking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in (speaking, listening, stopping):
            task.cancel()
        if not speaking.done():
            raise stopping_error()


async def _speak(session: ExecSession, context: _Context) -> None:
    async with aclosing(closed_after(session.output())) as outputs:
        async for output in outputs:
            if output.exit_code is not None:
                await context.write(ExecResponse(exit_code=output.exit_code))
                return
            for start in range(0, len(output.data), CHUNK_BYTES):
                piece = output.data[start : start + CHUNK_BYTES]
                response = ExecResponse(stderr=piece) if output.is_stderr else ExecResponse(stdout=piece)
                await context.write(response)


async def _listen(session: ExecSession, requests: AsyncIterator[ExecRequest]) -> None:
    """The end of the tenant's half is the end of input, whether it was announced or not."""
    async for request in requests:
        match request.WhichOneof("body"):
            case "input":
                if len(request.input) > INPUT_MOST:
                    raise broken("input", f"has more than {INPUT_MOST} bytes")
                await session.write(request.input)
            case "resize":
                rows = at_least(request.resize.rows, 1, "resize.rows")
                await session.resize(rows, at_least(request.resize.columns, 1, "resize.columns"))
            case "input_closed":
                break
            case body:
                raise broken(body or "body", "is not expected here")
    await session.close_input()
