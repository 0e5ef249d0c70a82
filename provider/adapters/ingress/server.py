"""Where the proxy asks: a small HTTP server on a free port of loopback.

Names and addresses are no secrets to whoever has an account on this machine, and nothing can be changed here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Self

from provider.rpc.http_message import BadRequest, Request, Response, parse, plain, serialize

HEAD_MOST_BYTES = 128 * 1024
"""More than the proxy takes from a client."""
SILENCE_S = 150.0
"""A connection that asks nothing is closed: later than the proxy closes its own."""

Answer = Callable[[Request], Awaitable[Response]]


class QuestionServer:
    """An async context manager: entering binds, leaving closes everything."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=HEAD_MOST_BYTES)
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for writer in tuple(self._open):
            writer.transport.abort()
        await self._tasks.__aexit__(None, None, None)
        await self._server.wait_closed()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port, *_ = self._server.sockets[0].getsockname()
        return host, port

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        self._tasks.create_task(self._serve(reader, writer))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                await writer.drain()
        except (ConnectionError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            writer.transport.abort()
        finally:
            self._open.discard(writer)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One question and its answer; whether another may follow."""
        async with asyncio.timeout(SILENCE_S):
            head = await reader.readuntil(b"\r\n\r\n")
        try:
            request = parse(head)
        except BadRequest as refused:
            writer.write(serialize(plain(refused.status, "400"), keep_alive=False, with_body=True))
            return False
        response = await self._answer(request)
        writer.write(serialize(response, keep_alive=request.keep_alive, with_body=True))
        return request.keep_alive
