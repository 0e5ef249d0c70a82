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
HEAD_BYTES_MAX = 4096
"""Of a chunk."""


@dataclass(slots=True)
class ChunkDecoder:
    """Takes the chunked transfer coding (RFC 9112 section 7.1) off a stream of any pieces.

    An engine writes each line of a log as a chunk of its own, so this is made for many small ones.
    """

    _buffer: bytes = b""
    """The beginning of a chunk's head."""
    _left: int = 0
    """Of the current chunk, its line end included."""
    ended: bool = False

    def feed(self, data: bytes) -> bytes:
        """The payload that ``data`` completes; ``EOFError`` when it is no chunked stream."""
        buffer = self._buffer + data if self._buffer else data
        payload: list[bytes] = []
        at, end = 0, len(buffer)
        while at < end and not self.ended:
            if self._left:
                after = at + self._left
                payload.append(buffer[at : min(after - 2, end)] if self._left > 2 else b"")
                self._left = max(0, after - end)
                at = min(after, end)
                continue
            line_end = buffer.find(b"\r\n", at)
            if line_end < 0:
                break
            self._left = self._size(buffer[at:line_end]) + 2
            self.ended = self._left == 2
            at = line_end + 2
        self._buffer = buffer[at:]
        if len(self._buffer) > HEAD_BYTES_MAX:
            raise EOFError("the engine's stream is not chunked as it said")
        return b"".join(payload)

    def _size(self, head: bytes) -> int:
        try:
            return int(head.partition(b";")[0], 16)
        except ValueError as error:
            raise EOFError("the engine's stream is not chunked as it said") from error


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
    upload: AsyncIterator[bytes] | None = None
    """The body in place of ``body``: sent piece by piece, no faster than the engine takes it."""

    def encode(self) -> bytes:
        """All of it but an upload."""
        target = self.path + (f"?{urlencode(self.query)}" if self.query else "")
        payload = b"" if self.body is None else json.dumps(self.body).encode()
        headers = {"Host": "docker", **self.headers}
        if self.upload is None:
            headers["Content-Length"] = str(len(payload))
        else:
            headers["Transfer-Encoding"] = "chunked"
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

    async def gather(self, span_s: float) -> None:
        """Leave what comes where it is for so long: many small pieces become one."""
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is one for both ways
        try:
            await asyncio.sleep(span_s)
        finally:
            self.writer.transport.resume_reading()  # type: ignore[attr-defined]

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

    ``timeout_s`` bounds the time until the answer's head is there, or that between two steps of an upload,
    not the body. Raises ``OSError`` and ``EOFError`` when the engine is away, ``TimeoutError`` when it is
    silent, and whatever the upload's source raises.
    """
    async with asyncio.timeout(timeout_s):
        reader, writer = await asyncio.open_unix_connection(socket_path)
    try:
        async with asyncio.timeout(timeout_s):
            writer.write(request.encode())
            await writer.drain()
        if request.upload is not None:
            await _upload(reader, writer, request.upload, timeout_s)
        async with asyncio.timeout(timeout_s):
            status, headers = await _head(reader)
        yield Answer(status=status, headers=headers, reader=reader, writer=writer)
    finally:
        writer.close()


async def _upload(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pieces: AsyncIterator[bytes], timeout_s: float
) -> None:
    """``pieces`` in the chunked coding. Ends early when the engine hangs up: its answer says why."""
    try:
        async for piece in pieces:
            if piece:
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            async with asyncio.timeout(timeout_s):
                await writer.drain()
        writer.write(b"0\r\n\r\n")
        async with asyncio.timeout(timeout_s):
            await writer.drain()
    except ConnectionError:
        if reader.at_eof():
            raise


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
