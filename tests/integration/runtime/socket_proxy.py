"""A unix socket in front of an engine's: sees every request, and can hold one of them up for ever."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase


@dataclass(slots=True)
class EngineProxy:
    """Between a runtime and its engine: sees every request, and can hold one up or cut the line."""

    target: str
    """The engine's socket, a path."""
    path: str
    held: str = ""
    """A pattern of the request that is not let through, without version: ``POST /containers/*/start``."""
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the held request came."""
    requests: list[str] = field(default_factory=list)
    _server: asyncio.Server | None = None
    _tasks: asyncio.TaskGroup = field(default_factory=asyncio.TaskGroup)
    _relays: list[asyncio.Task[None]] = field(default_factory=list)
    _accepted: list[asyncio.StreamWriter] = field(default_factory=list)

    async def __aenter__(self) -> EngineProxy:
        await self._tasks.__aenter__()
        self._server = await asyncio.start_unix_server(self._accept, self.path)
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for relay in self._relays:
            relay.cancel()
        await self._tasks.__aexit__(None, None, None)
        for each in self._accepted:  # also of relays that were cancelled before they began
            each.close()
            with suppress(OSError):
                await each.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._accepted.append(writer)
        self._relays.append(self._tasks.create_task(self._relay(reader, writer)))

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_unix_connection(self.target)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forward(reader, upstream_writer))
                group.create_task(_pump(upstream_reader, writer))
        except* OSError:
            pass  # one side hung up: so does the other
        finally:
            for each in (upstream_writer, writer):
                each.close()
                with suppress(OSError):
                    await each.wait_closed()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            for line in data.split(b"\r\n"):
                words = line.split(b" ")
                if len(words) == 3 and words[2] == b"HTTP/1.1":
                    target = words[1].decode().partition("?")[0]
                    version, _, rest = target.removeprefix("/").partition("/")
                    asked = (
                        f"{words[0].decode()} /{rest if version.startswith('v1.') else target.lstrip('/')}"
                    )
                    self.requests.append(asked)
                    if fnmatchcase(asked, self.held):
                        self.reached.set()
                        await asyncio.Event().wait()
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
