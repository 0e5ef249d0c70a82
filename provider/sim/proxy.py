"""A TCP proxy with faults: connections that are cut, fall silent, are far, or stop after a number of bytes.

Invariant: what was forwarded was forwarded unchanged and in order; a fault only ever stops a flow.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Self

_PIECE = 64 * 1024


class FaultyProxy:
    """Listens on a loopback port (``address``) and forwards to ``target``, host:port."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._is_open = True
        self._cut_after: int | None = None
        self.distance_s = 0.0
        """What each piece takes, each way."""
        self.connections = 0
        """Accepted so far."""
        self.forwarded = 0
        """Bytes so far, both directions."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None, "entered before"
        self._server.close()
        self.cut()
        self._flowing.set()
        await self._server.wait_closed()

    @property
    def address(self) -> str:
        assert self._server is not None, "entered before"
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        """Reset every connection."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    def cut_after(self, count: int) -> None:
        """Reset every connection once ``count`` more bytes have passed, both directions together."""
        self._cut_after = count

    @property
    def will_cut(self) -> bool:
        """Whether a ``cut_after`` has not come true yet."""
        return self._cut_after is not None

    def close(self) -> None:
        """Reset every connection, and new ones as soon as they come."""
        self._is_open = False
        self.cut()

    def open(self) -> None:
        """Forward again."""
        self._is_open = True
        self._flowing.set()

    def freeze(self) -> None:
        """Bytes are accepted and go nowhere, as at a host that stands still."""
        self._flowing.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if not self._is_open:
            writer.transport.abort()
            return
        host, _, port = self._target.rpartition(":")
        try:
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self._writers |= ends
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump(reader, far_writer))
                tasks.create_task(self._pump(far_reader, writer))
        finally:
            self._writers -= ends
            for end in ends:
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(_PIECE):
                await asyncio.sleep(self.distance_s)
                await self._flowing.wait()
                if self._cut_after is not None and len(piece) >= self._cut_after:
                    writer.write(piece[: self._cut_after])
                    self._cut_after = None
                    with suppress(OSError):
                        await writer.drain()
                    self.cut()
                    return
                if self._cut_after is not None:
                    self._cut_after -= len(piece)
                self.forwarded += len(piece)
                writer.write(piece)
                await writer.drain()
        writer.transport.abort()
