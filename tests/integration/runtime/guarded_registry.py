"""A registry that wants a login, and can stop in the middle of a layer: a guard in front of a real one."""

from __future__ import annotations

import base64
import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LAYER_LEAST = 10_000
"""Bytes: what is smaller is an image's description."""


@dataclass(slots=True)
class GuardedRegistry:
    """What the guard lets through, and what it saw."""

    address: str = ""
    login: tuple[str, str] | None = None
    stalls: bool = False
    """Whether layers begin and never end."""
    trickles: bool = False
    """Whether such a layer goes on byte by byte: engines notice that a pull was given up at its next byte."""
    stalled: threading.Event = field(default_factory=threading.Event)
    """Set once somebody waits for such a layer."""
    dropped: threading.Event = field(default_factory=threading.Event)
    """Set once somebody who waited has gone."""
    let_go: threading.Event = field(default_factory=threading.Event)
    asked: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    """What was sent as ``Authorization``."""

    @property
    def layers_asked(self) -> int:
        return sum("/blobs/" in each for each in self.asked)

    def admits(self, header: str | None) -> bool:
        if self.login is None:
            return True
        return header == "Basic " + base64.b64encode(":".join(self.login).encode()).decode()


@contextmanager
def guarded_registry(upstream: str) -> Iterator[GuardedRegistry]:
    """On a free port of loopback, in front of the registry ``upstream`` (``host:port``)."""
    guard = GuardedRegistry()

    class Guarded(BaseHTTPRequestHandler):
        """One request to the guard."""

        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer("GET")

        def do_HEAD(self) -> None:
            self._answer("HEAD")

        def _answer(self, method: str) -> None:
            guard.asked.append(f"{method} {self.path}")
            guard.logins += self.headers.get_all("Authorization", [])
            if not guard.admits(self.headers.get("Authorization")):
                self._reply(401, {"WWW-Authenticate": 'Basic realm="test"'}, b"{}", method)
                return
            accept = ", ".join(self.headers.get_all("Accept", ["*/*"]))
            status, headers, body = _asked(upstream, method, self.path, accept)
            self._reply(status, headers, body, method)

        def _reply(self, status: int, headers: dict[str, str], body: bytes, method: str) -> None:
            self.send_response(status)
            lengths = {"content-length": str(len(body))} if method == "GET" else {}
            for name, text in ({name.lower(): text for name, text in headers.items()} | lengths).items():
                self.send_header(name, text)
            self.end_headers()
            if method != "GET":
                return
            if guard.stalls and "/blobs/" in self.path and len(body) > LAYER_LEAST:
                _stall(guard, self, body)
            else:
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that http.server gives it
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Guarded)
    server.daemon_threads = True
    guard.address = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield guard
    finally:
        guard.let_go.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _asked(upstream: str, method: str, path: str, accept: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(upstream, timeout=10)
    try:
        connection.request(method, path, headers={"Accept": accept})
        answer = connection.getresponse()
        body = answer.read()
        kept = {name: text for name, text in answer.getheaders() if name.lower() != "transfer-encoding"}
        return answer.status, kept, body
    finally:
        connection.close()


def _stall(guard: GuardedRegistry, request: BaseHTTPRequestHandler, body: bytes) -> None:
    """The beginning of ``body``, and no end of it until whoever waits has gone or is let go."""
    request.wfile.write(body[:100])
    request.wfile.flush()
    guard.stalled.set()
    for byte in body[100:]:
        if guard.let_go.wait(0.02) or guard.dropped.is_set():
            break
        try:
            request.wfile.write(bytes((byte,)) if guard.trickles else b"")
        except OSError:
            guard.dropped.set()
    request.close_connection = True
