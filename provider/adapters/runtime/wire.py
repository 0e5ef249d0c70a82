"""The engine's HTTP over its unix socket, for what streams: events, logs, pulls, exec.

The SDK serves calls that end. For streams it needs a thread each, which only closing a private
socket can interrupt; over asyncio's own streams a cancelled task is a closed connection. One
connection a stream, none is reused.

Owns the two framings of the engine's streams: HTTP chunks, and the 8-byte frames in which stdout and
stderr share a connection (Engine API, "Attach to a container": type, three zero bytes, length).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlencode

READ_BYTES = 65_536
FRAME_BYTES_MAX = 64 * 1024 * 1024
"""No engine writes longer ones; a longer length means that this is not a framed stream."""


@dataclass(slots=True)
class ChunkDecoder:
    """Takes the chunked transfer coding (RFC 9112 section 7.1) off a stream of any pieces."""

    _buffer: bytearray = field(default_factory=bytearray)
    _left: int = 0
    """Of the current chunk, its line end included."""
    ended: bool = False

    def feed(self, data: bytes) -> bytes:
        """The payload that ``data`` completes; ``EOFError`` when it is no chunked stream."""
        self._buffer += data
        payload = bytearray()
        while self._buffer and not self.ended:
            if self._left > 2:
                piece = self._buffer[: self._left - 2]
                payload += piece
                del self._buffer[: len(piece)]
                self._left -= len(piece)
            elif self._left:
                dropped = min(self._left, len(self._buffer))
                del self._buffer[:dropped]
                self._left -= dropped
            elif not self._next_chunk():
                break
        return bytes(payload)

    def _next_chunk(self) -> bool:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return False
        try:
            size = int(bytes(self._buffer[:end]).partition(b";")[0], 16)
        except ValueError as error:
            raise EOFError("the engine's stream is not chunked as it said") from error
        del self._buffer[: end + 2]
        self.ended = size == 0
        self._left = size + 2
        return True


@dataclass(slots=True)
class FrameDecoder:
    """Cuts a multiplexed stream into frames."""

    _buffer: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> Iterator[tuple[bool, bytes]]:
        """``(is stderr, payload)`` for each frame that ``data`` completes, in order."""
        self._buffer += data
        start = 0
        while len(self._buffer) - start >= 8:
            size = int.from_bytes(self._buffer[start + 4 : start + 8], "big")
            if size > FRAME_BYTES_MAX:
                raise EOFError("the engine's stream is not framed as it said")
            if len(self._buffer) - start < 8 + size:
                break
            yield self._buffer[start] == 2, bytes(self._buffer[start + 8 : start + 8 + size])
            start += 8 + size
        del self._buffer[:start]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request to the engine. ``path`` starts with the version, ``/v1.41/events``."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, object] | None = None
    upgrade: bool = False
    """Whether the connection becomes a raw two-way stream (exec)."""

    def encode(self) -> bytes:
        target = self.path + (f"?{urlencode(self.query)}" if self.query else "")
        payload = b"" if self.body is None else json.dumps(self.body).encode()
        headers = {"Host": "docker", "Content-Length": str(len(payload)), **self.headers}
        if payload:
            headers["Content-Type"] = "application/json"
        headers |= {"Connection": "Upgrade", "Upgrade": "tcp"} if self.upgrade else {"Connection": "close"}
        lines = [f"{self.method} {target} HTTP/1.1", *(f"{name}: {text}" for name, text in headers.items())]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + payload


@dataclass(slots=True, kw_only=True)
class Answer:
    """The head of an answer, and the connection it came on."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it arrives, never empty. ``EOFError`` when the engine breaks off in the middle."""
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            left = int(self.headers.get("content-length", "-1"))
            while left != 0 and (data := await self.reader.read(READ_BYTES)):
                left -= len(data) if left > 0 else 0
                yield data
            if left > 0:
                raise EOFError("the engine hung up")
            return
        decoder = ChunkDecoder()
        while not decoder.ended:
            data = await self.reader.read(READ_BYTES)
            if not data:
                raise EOFError("the engine hung up")
            if payload := decoder.feed(data):
                yield payload

    async def text(self) -> str:
        """The whole body; of an error it is the engine's message."""
        body = b"".join([piece async for piece in self.pieces()]).decode(errors="replace")
        if self.status < 400:
            return body
        try:
            return str(json.loads(body)["message"])
        except (ValueError, KeyError, TypeError):
            return body

    async def objects(self) -> AsyncIterator[dict[str, object]]:
        """The body as JSON objects, one a line."""
        rest = b""
        async for piece in self.pieces():
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                if line.strip():
                    yield json.loads(line)
        if rest.strip():
            yield json.loads(rest)


@asynccontextmanager
async def ask(socket_path: str, request: Request, timeout_s: float) -> AsyncIterator[Answer]:
    """The engine's answer to ``request``; leaving closes the connection.

    ``timeout_s`` bounds the time until the answer's head is there, not the body. Raises ``OSError``
    and ``EOFError`` when the engine is away, ``TimeoutError`` when it is silent.
    """
    async with asyncio.timeout(timeout_s):
        reader, writer = await asyncio.open_unix_connection(socket_path)
    try:
        async with asyncio.timeout(timeout_s):
            writer.write(request.encode())
            await writer.drain()
            status, headers = await _head(reader)
        yield Answer(status=status, headers=headers, reader=reader, writer=writer)
    finally:
        writer.close()


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError as error:
        raise EOFError("the engine's answer has no end of its head") from error
    first, *lines = head.decode("latin-1").split("\r\n")
    try:
        status = int(first.split(" ", 2)[1])
    except (IndexError, ValueError) as error:
        raise EOFError(f"not an engine's answer: {first[:80]!r}") from error
    pairs = (line.partition(":") for line in lines if line)
    return status, {name.strip().lower(): text.strip() for name, _, text in pairs}
