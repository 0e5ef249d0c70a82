"""A real Caddy in front of services on loopback; what the agent knows of them is the test's to say.

Each replica has an address of 127.0.0.0/8 of its own, as a container has one of its network.
"""

from __future__ import annotations

import asyncio
import http.client
import shutil
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from provider.adapters.clock import SystemClock
from provider.adapters.ingress.ingress import Ingress
from provider.adapters.ingress.settings import IngressSettings, Tls
from provider.app.demo.stage import free_port
from provider.core.state import AgentState, Lease
from provider.domain.errors import Temporary
from provider.domain.ids import LeaseId
from provider.domain.workload import Container, ContainerState, Workload
from tests.named import Port, running, state

UNPACKED = Path(__file__).parents[3] / "build/tools/caddy/usr/bin/caddy"
PATIENCE_S = 15.0


def caddy() -> Path:
    """Unpacked, or installed; the test is skipped where it is neither."""
    found = UNPACKED if UNPACKED.exists() else Path(shutil.which("caddy") or "")
    if not found.is_file():
        pytest.skip("caddy is not here: run scripts/unpack-tools.sh caddy")
    return found


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that the proxy's user may pass through, with the program in it."""
    folder = Path(tempfile.mkdtemp(prefix="gp-ingress-"))
    try:
        folder.chmod(0o755)
        shutil.copy(caddy(), folder / "caddy")
        yield folder
    finally:
        shutil.rmtree(folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A request as a service got it."""

    line: str
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes


class Service:
    """A replica: tells what it is asked, answers ``/silent`` never, and echoes where it is upgraded."""

    def __init__(self, name: str, address: str, port: int) -> None:
        self.name = name
        self.address = address
        self.port = port
        self.heard: list[Heard] = []
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Service:
        self._server = await asyncio.start_server(self._serve, self.address, self.port)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for writer in tuple(self._open):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines if line)
        headers = {name.lower(): text.strip() for name, _, text in pairs}
        body = await _body(reader, headers)
        self.heard.append(Heard(line=first, headers=headers, body=body))
        if "upgrade" in headers:
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
            while data := await reader.read(1000):
                writer.write(self.name.encode() + b" " + data)
            return False
        if first.split()[1] == "/silent":
            await reader.read()
            return False
        text = f"{self.name} {len(body)}".encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))
        await writer.drain()
        return True


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
        return body
    return await reader.readexactly(int(headers.get("content-length", "0")))


@dataclass(slots=True)
class Engine:
    """What ``look`` finds."""

    there: dict[LeaseId, Workload] = field(default_factory=dict)
    is_away: bool = False
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def look(self, lease: LeaseId) -> Workload | None:
        if self.is_away:
            raise Temporary("the engine is away")
        return self.there.get(lease)

    async def hints(self) -> AsyncIterator[None]:
        while True:
            yield
            async with self.changed:
                await self.changed.wait()

    async def has(self, lease: LeaseId, *replicas: Service, service: str = "web") -> None:
        """From now on these are the containers of ``lease``, and everyone is told so."""
        containers = tuple(
            Container(
                service=service,
                replica=number,
                state=ContainerState.RUNNING,
                id=str(number),
                address=each.address,
            )
            for number, each in enumerate(replicas)
        )
        self.there[lease] = Workload(lease=lease, containers=containers)
        async with self.changed:
            self.changed.notify_all()
        await asyncio.sleep(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str


@dataclass(slots=True, kw_only=True)
class World:
    """The ingress, and what it is told."""

    settings: IngressSettings
    engine: Engine
    stack: AsyncExitStack
    ingress: Ingress
    state: AgentState = field(default_factory=state)
    numbers: int = 1

    async def service(self, name: str, port: int | None = None) -> Service:
        """One that listens at an address of its own."""
        self.numbers += 1
        return await self.stack.enter_async_context(
            Service(name, f"127.0.0.{self.numbers}", free_port() if port is None else port)
        )

    async def lease(
        self, number: int, *replicas: Service, owner: str = "alice", port: Port | None = None
    ) -> Lease:
        """A lease whose service ``web`` is served by ``replicas``."""
        asked = replace(port or Port(), port=replicas[0].port)
        made = running(number, {"web": [asked]}, owner, asked.hosts)
        self.put(made)
        await self.engine.has(made.id, *replicas)
        return made

    def put(self, lease: Lease) -> None:
        self.state = replace(self.state, leases={**self.state.leases, lease.id: lease})

    def drop(self, lease: Lease) -> None:
        leases = {key: each for key, each in self.state.leases.items() if key != lease.id}
        self.state = replace(self.state, leases=leases)

    async def get(
        self,
        name: str,
        path: str = "/",
        *,
        headers: Mapping[str, str] | None = None,
        trust: Path | None = None,
    ) -> Answer:
        return await self.ask("GET", name, path, headers=headers, trust=trust)

    async def ask(
        self,
        method: str,
        name: str,
        path: str = "/",
        *,
        body: bytes | Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        trust: Path | None = None,
    ) -> Answer:
        """A request for ``name``; over TLS with the authority ``trust``."""

        def go() -> Answer:
            connection = self._connection(name, trust)
            try:
                connection.request(
                    method,
                    path,
                    body=body,
                    headers={"Host": name, **(headers or {})},
                    encode_chunked=True,
                )
                response = connection.getresponse()
                told = {key.lower(): text for key, text in response.getheaders()}
                return Answer(status=response.status, headers=told, text=response.read().decode())
            finally:
                connection.close()

        return await asyncio.to_thread(go)

    def _connection(self, name: str, trust: Path | None) -> http.client.HTTPConnection:
        if trust is None:
            return http.client.HTTPConnection(*self.settings.http, timeout=PATIENCE_S)
        context = ssl.create_default_context(cafile=str(trust))
        plain = socket.create_connection(self.settings.https, timeout=PATIENCE_S)
        connection = http.client.HTTPConnection(*self.settings.https, timeout=PATIENCE_S)
        try:
            connection.sock = context.wrap_socket(plain, server_hostname=name)
        except BaseException:
            plain.close()
            raise
        return connection


@asynccontextmanager
async def serving(tls: Tls = Tls.NONE, **changes: object) -> AsyncIterator[World]:
    with open_folder() as folder:
        settings = IngressSettings(
            http=("127.0.0.1", free_port()),
            https=("127.0.0.1", free_port()),
            tls=tls,
            program=str(folder / "caddy"),
            folder=folder / "state" / "ingress",
        )
        settings = replace(settings, **changes)  # type: ignore[arg-type]
        engine, stack = Engine(), AsyncExitStack()
        now: list[World] = []
        ingress = Ingress(settings, lambda: now[0].state, engine, SystemClock())
        async with stack:
            now.append(World(settings=settings, engine=engine, stack=stack, ingress=ingress))
            async with ingress:
                yield now[0]


Check = Callable[[World], Awaitable[None]]


def run(check: Check, tls: Tls = Tls.NONE, **changes: object) -> None:
    async def main() -> None:
        async with serving(tls, **changes) as world:
            await check(world)

    asyncio.run(main())
