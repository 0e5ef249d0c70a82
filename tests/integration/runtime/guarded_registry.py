"""A registry that wants a login, and can stop in the middle of a layer: a guard in front of a real one."""

from __future__ import annotations

import base64
import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(slots=True)
class GuardedRegistry:
    """What the guard lets through, and what it saw."""

    address: str = ""
    login: tuple[str, str] | None = None
    stalls: bool = False
    """Whether blobs begin and never end."""
    let_go: threading.Event = field(default_factory=threading.Event)
    asked: list[str] = field(default_factory=list)

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
            if not guard.admits(self.headers.get("Authorization")):
                self._reply(401, {"WWW-Authenticate": 'Basic realm="test"'}, b"{}", method)
                return
            connection = http.client.HTTPConnection(upstream, timeout=10)
            accept = {"Accept": ", ".join(self.headers.get_all("Accept", ["*/*"]))}
            connection.request(method, self.path, headers=accept)
            answer = connection.getresponse()
            body = answer.read()
            headers = {
                name: text for name, text in answer.getheaders() if name.lower() != "transfer-encoding"
            }
            connection.close()
            self._reply(answer.status, headers, body, method)

        def _reply(self, status: int, headers: dict[str, str], body: bytes, method: str) -> None:
            self.send_response(status)
            lengths = {"content-length": str(len(body))} if method == "GET" else {}
            for name, text in ({name.lower(): text for name, text in headers.items()} | lengths).items():
                self.send_header(name, text)
            self.end_headers()
            if method == "GET" and guard.stalls and "/blobs/" in self.path:
                self.wfile.write(body[:100])
                self.wfile.flush()
                guard.let_go.wait(60)
                self.close_connection = True
                return
            if method == "GET":
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
