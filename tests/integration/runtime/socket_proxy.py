"""A unix socket in front of an engine's: sees every request, and can hold one of them up for ever."""

from __future__ import annotations

import asyncio
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

    async def __aenter__(self) -> EngineProxy:
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream_reader, upstream_writer = await asyncio.open_unix_connection(self.target)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._forward(reader, upstream_writer))
                    group.create_task(_pump(upstream_reader, writer))
            finally:
                upstream_writer.close()
        except* OSError:
            pass
        finally:
            writer.close()

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
