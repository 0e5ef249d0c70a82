"""The server for ``/metrics``, ``/healthz`` and ``/readyz``.

Owns connections: how many, how long they may keep silent, how long a slow reader is waited for. Bound to
loopback unless told otherwise. Invariant: no client, however many, silent or slow, keeps another from an
answer; when all places are taken, the connection that has kept us waiting longest gives up its own.
"""

from __future__ import annotations

import asyncio
import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Self

from provider.adapters.telemetry.exposition import Exposition
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


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """``port`` 0 takes a free one. With a ``token``, ``/metrics`` wants it as a bearer token."""

    host: str = "127.0.0.1"
    port: int = 9464
    token: Secret | None = None
    silence_s: float = 5.0
    """Until a request's head must be complete; a kept-alive connection may idle as long."""
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


class TelemetryServer:
    """An async context manager: entering binds (``ConfigError`` if it cannot), leaving closes everything."""

    def __init__(
        self, settings: HttpSettings, exposition: Exposition, ready: Callable[[], Readiness]
    ) -> None:
        self._settings = settings
        self._exposition = exposition
        self._ready = ready
        self._waiting: dict[asyncio.StreamWriter, None] = {}
        self._open: set[asyncio.StreamWriter] = set()

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
        for writer in tuple(self._open):
            writer.transport.abort()
        await self._tasks.__aexit__(None, None, None)
        await self._server.wait_closed()
        self._exposition.close()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port, *_ = self._server.sockets[0].getsockname()
        return host, port

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(0)  # drained is then sent, not merely buffered
        self._open.add(writer)
        self._wait_for(writer)
        self._tasks.create_task(self._serve(reader, writer))

    def _wait_for(self, writer: asyncio.StreamWriter) -> None:
        """From now on it is the client that keeps us waiting, and its place may be wanted."""
        self._waiting[writer] = None
        if len(self._waiting) > self._settings.connections_most:
            longest = next(iter(self._waiting))
            del self._waiting[longest]
            longest.transport.abort()

    def _forget(self, writer: asyncio.StreamWriter) -> None:
        self._waiting.pop(writer, None)
        self._open.discard(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, TimeoutError):
            writer.transport.abort()  # it went away, or does not read
        finally:
            self._forget(writer)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its response; whether another may follow."""
        self._wait_for(writer)
        try:
            async with asyncio.timeout(self._settings.silence_s):
                head = await reader.readuntil(b"\r\n\r\n")
            request = parse(head)
        except BadRequest as refused:
            await self._send(writer, plain(refused.status, refused.status.phrase))
            return False
        except asyncio.LimitOverrunError:
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            await self._send(writer, plain(status, status.phrase))
            return False
        except asyncio.IncompleteReadError:
            return False
        except TimeoutError:
            await self._send(writer, plain(HTTPStatus.REQUEST_TIMEOUT, "no request came"))
            return False
        self._waiting.pop(writer, None)
        response = await self._answer(request)
        await self._send(writer, response, keep_alive=request.keep_alive, with_body=request.method != "HEAD")
        return request.keep_alive

    async def _send(
        self,
        writer: asyncio.StreamWriter,
        response: Response,
        *,
        keep_alive: bool = False,
        with_body: bool = True,
    ) -> None:
        self._wait_for(writer)
        writer.write(serialize(response, keep_alive=keep_alive, with_body=with_body))
        async with asyncio.timeout(self._settings.write_s):
            await writer.drain()
        self._waiting.pop(writer, None)
        if not keep_alive:
            writer.close()

    async def _answer(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return plain(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD", ("Allow", "GET, HEAD"))
        match request.path:
            case "/metrics":
                return await self._metrics(request)
            case "/healthz":
                return plain(HTTPStatus.OK, "alive")
            case "/readyz":
                readiness = self._ready()
                status = HTTPStatus.OK if readiness.is_ready else HTTPStatus.SERVICE_UNAVAILABLE
                return plain(status, readiness.reason)
            case _:
                return plain(HTTPStatus.NOT_FOUND, "there are /metrics, /healthz and /readyz")

    async def _metrics(self, request: Request) -> Response:
        token = self._settings.token
        if token is not None:
            given = request.headers.get("authorization", "").encode("latin-1")
            if not hmac.compare_digest(given, f"Bearer {token.reveal()}".encode()):
                return plain(
                    HTTPStatus.UNAUTHORIZED, "a bearer token is wanted", ("WWW-Authenticate", "Bearer")
                )
        gzipped = takes_gzip(request.headers.get("accept-encoding", ""))
        page = await self._exposition.page(request.headers.get("accept", ""), gzipped=gzipped)
        encoding = (("Content-Encoding", "gzip"),) if page.is_gzipped else ()
        headers = (("Content-Type", page.content_type), ("Vary", "Accept, Accept-Encoding"), *encoding)
        return Response(status=HTTPStatus.OK, body=page.body, headers=headers)
