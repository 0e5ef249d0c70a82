"""The server for ``/metrics``, ``/healthz`` and ``/readyz``.

Owns connections: how many, how long they may keep silent, how long a slow reader is waited for. A handshake
is a wait like any other, in the connection's own task. Bound to loopback unless told otherwise. Invariant: no
client, however many, silent or slow, keeps another from an answer; when all places are taken, the connection
that has kept us waiting longest gives up its own.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Self

from provider.adapters.telemetry.exposition import Exposition
from provider.adapters.telemetry.tls import TlsFiles, server_context
from provider.domain.errors import ConfigError
from provider.domain.secret import Secret
from provider.rpc.http_message import (
    HEAD_MOST_BYTES,
    BadRequest,
    Request,
    Response,
    parse,
    plain,
    serialize,
    takes_gzip,
)

CLOSE_S = 1.0
"""For the other side to agree that a connection is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """``port`` 0 takes a free one. With a ``token``, metrics want it as a bearer token."""

    host: str = "127.0.0.1"
    port: int = 9464
    token: Secret | None = None
    tls: TlsFiles | None = None
    """None for plain HTTP."""
    silence_s: float = 5.0
    """Until a handshake, and then a request's head, must be complete; a kept-alive connection may idle as
    long."""
    write_s: float = 10.0
    """Until a response must be taken."""
    connections_most: int = 64
    """That keep us waiting; those that are being answered do not count, and take milliseconds."""


def _why(error: OSError) -> str:
    """asyncio wraps the errno's words in a sentence of its own; a failed look-up of the host has none."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """May this daemon be counted on now? ``reason`` is one line, also when it may."""

    is_ready: bool
    reason: str


@dataclass(eq=False, slots=True, kw_only=True)
class _Connection:
    """``outer`` is the TCP connection, by which it is cut; ``reader`` and ``writer`` are talked over."""

    outer: asyncio.StreamWriter
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def secure(self, context: ssl.SSLContext, patience_s: float) -> None:
        """Shake hands; ``OSError`` when that comes to nothing."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(HEAD_MOST_BYTES, loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport = await loop.start_tls(
            self.outer.transport,
            protocol,
            context,
            server_side=True,
            ssl_handshake_timeout=patience_s,
            ssl_shutdown_timeout=CLOSE_S,
        )
        if transport is None:  # how asyncio says that the other side went in the middle of it
            raise ConnectionResetError
        protocol.connection_made(transport)
        self.reader, self.writer = reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    async def close(self) -> None:
        """In order, if the other side agrees soon."""
        self.writer.close()
        async with asyncio.timeout(CLOSE_S):
            await self.writer.wait_closed()


class TelemetryServer:
    """An async context manager: entering binds (``ConfigError`` if it cannot), leaving closes everything."""

    def __init__(
        self,
        settings: HttpSettings,
        exposition: Exposition,
        ready: Callable[[], Readiness],
        dcgm: Exposition | None = None,
    ) -> None:
        """``dcgm`` is served at ``/metrics/dcgm``, if there is one."""
        self._settings = settings
        self._pages = {"/metrics": exposition} | ({"/metrics/dcgm": dcgm} if dcgm else {})
        self._ready = ready
        self._tls = None if settings.tls is None else server_context(settings.tls)
        self._waiting: dict[_Connection, None] = {}
        self._open: set[_Connection] = set()

    async def __aenter__(self) -> Self:
        try:
            self._server = await asyncio.start_server(
                self._accept, self._settings.host, self._settings.port, limit=HEAD_MOST_BYTES
            )
        except OSError as error:
            raise ConfigError(
                f"metrics cannot be served on {self._settings.host}:{self._settings.port}: {_why(error)}",
                remedy="choose another port for metrics, or stop what uses this one",
            ) from error
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for connection in tuple(self._open):
            connection.outer.transport.abort()
        await self._tasks.__aexit__(None, None, None)
        await self._server.wait_closed()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port, *_ = self._server.sockets[0].getsockname()
        return host, port

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._tls is not None:
            # What comes before the handshake has begun would be taken for a request.
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is one for both ways
        connection = _Connection(outer=writer, reader=reader, writer=writer)
        self._open.add(connection)
        self._wait_for(connection)
        self._tasks.create_task(self._serve(connection))

    def _wait_for(self, connection: _Connection) -> None:
        """From now on it is the client that keeps us waiting, and its place may be wanted."""
        self._waiting[connection] = None
        if len(self._waiting) > self._settings.connections_most:
            longest = next(iter(self._waiting))
            del self._waiting[longest]
            longest.outer.transport.abort()

    async def _serve(self, connection: _Connection) -> None:
        try:
            if self._tls is not None:
                await connection.secure(self._tls, self._settings.silence_s)
            connection.writer.transport.set_write_buffer_limits(0)  # drained is then sent, not just buffered
            while await self._exchange(connection):
                pass
            await connection.close()
        except OSError:  # it went away, does not read, or does not get through the handshake
            pass
        finally:
            connection.outer.transport.abort()
            self._waiting.pop(connection, None)
            self._open.discard(connection)

    async def _exchange(self, connection: _Connection) -> bool:
        """One request and its response; whether another may follow."""
        self._wait_for(connection)
        try:
            async with asyncio.timeout(self._settings.silence_s):
                head = await connection.reader.readuntil(b"\r\n\r\n")
            request = parse(head)
        except BadRequest as refused:
            await self._send(connection, plain(refused.status, refused.status.phrase))
            return False
        except asyncio.LimitOverrunError:
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            await self._send(connection, plain(status, status.phrase))
            return False
        except asyncio.IncompleteReadError:
            return False
        except TimeoutError:
            await self._send(connection, plain(HTTPStatus.REQUEST_TIMEOUT, "no request came"))
            return False
        self._waiting.pop(connection, None)
        response = self._answer(request)
        with_body = request.method != "HEAD"
        await self._send(connection, response, keep_alive=request.keep_alive, with_body=with_body)
        return request.keep_alive

    async def _send(
        self,
        connection: _Connection,
        response: Response,
        *,
        keep_alive: bool = False,
        with_body: bool = True,
    ) -> None:
        self._wait_for(connection)
        connection.writer.write(serialize(response, keep_alive=keep_alive, with_body=with_body))
        async with asyncio.timeout(self._settings.write_s):
            await connection.writer.drain()
        if keep_alive:
            self._waiting.pop(connection, None)

    def _answer(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return plain(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD", ("Allow", "GET, HEAD"))
        if request.path in self._pages:
            return self._metrics(request, self._pages[request.path])
        match request.path:
            case "/healthz":
                return plain(HTTPStatus.OK, "alive")
            case "/readyz":
                readiness = self._ready()
                status = HTTPStatus.OK if readiness.is_ready else HTTPStatus.SERVICE_UNAVAILABLE
                return plain(status, readiness.reason)
            case _:
                return plain(HTTPStatus.NOT_FOUND, "there are /metrics, /healthz and /readyz")

    def _metrics(self, request: Request, exposition: Exposition) -> Response:
        token = self._settings.token
        if token is not None:
            given = request.headers.get("authorization", "").encode("latin-1")
            if not hmac.compare_digest(given, f"Bearer {token.reveal()}".encode()):
                return plain(
                    HTTPStatus.UNAUTHORIZED, "a bearer token is wanted", ("WWW-Authenticate", "Bearer")
                )
        gzipped = takes_gzip(request.headers.get("accept-encoding", ""))
        page = exposition.page(request.headers.get("accept", ""), gzipped=gzipped)
        encoding = (("Content-Encoding", "gzip"),) if page.is_gzipped else ()
        headers = (("Content-Type", page.content_type), ("Vary", "Accept, Accept-Encoding"), *encoding)
        return Response(status=HTTPStatus.OK, body=page.body, headers=headers)
