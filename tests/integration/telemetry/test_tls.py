"""Scrapes over TLS: who gets an answer, and clients that begin a handshake and mean no good."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from provider.adapters.telemetry.http import HttpSettings
from provider.adapters.telemetry.tls import TlsFiles
from provider.domain.errors import ConfigError
from provider.domain.moment import Instant
from provider.domain.secret import Secret
from provider.rpc.identity import Identity
from provider.rpc.member import Role
from provider.sim.authority import ThrowawayAuthority
from provider.sim.clock import EPOCH
from tests.integration.telemetry.test_http_server import get, response, serving

PATIENCE_S = 10
CROWD = 200
FAR = Instant(4_000_000_000_000)


class Certificates:
    """A server's, a scraper's, and those of a stranger's authority, as files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ours, theirs = ThrowawayAuthority("ours"), ThrowawayAuthority("theirs")
        self.name = self._write("server", self._member(ours)).member.dns_name
        self._write("scraper", self._member(ours))
        self._write("stranger", self._member(theirs))
        (folder / "ca.pem").write_text(ours.pem)

    def _member(self, authority: ThrowawayAuthority) -> Identity:
        return authority.member(Role.PROVIDER, "p", at=EPOCH, until=FAR)

    def _write(self, name: str, who: Identity) -> Identity:
        (self.folder / f"{name}.pem").write_text(who.certificate_pem)
        (self.folder / f"{name}.key").write_text(who.key.reveal())
        return who

    def files(self, *, mutual: bool = True) -> TlsFiles:
        return TlsFiles(
            certificate=self.folder / "server.pem",
            key=self.folder / "server.key",
            client_ca=self.folder / "ca.pem" if mutual else None,
        )

    def client(self, name: str | None = "scraper") -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        if name is not None:
            context.load_cert_chain(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        return context

    async def scrape(self, address: tuple[str, int], name: str | None = "scraper") -> tuple[int, bytes]:
        """Status and body of a scrape, within ``PATIENCE_S``."""
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection(
                *address, ssl=self.client(name), server_hostname=self.name
            )
            try:
                writer.write(get("/metrics", "Authorization: Bearer t0ken").encode())
                status, _, body = await response(reader)
            finally:
                writer.transport.abort()
            return status, body


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def test_a_scraper_of_our_authority_gets_an_answer_and_nobody_else(certificates: Certificates) -> None:
    async def body() -> None:
        async with serving(HttpSettings(port=0, tls=certificates.files())) as address:
            status, text = await certificates.scrape(address)
            assert (status, b"provider_build_info{" in text) == (200, True)
            for name in ("stranger", None):
                with pytest.raises((OSError, asyncio.IncompleteReadError)):
                    await certificates.scrape(address, name)
            assert (await certificates.scrape(address))[0] == 200

    asyncio.run(body())


def test_without_a_client_authority_a_token_is_enough(certificates: Certificates) -> None:
    async def body() -> None:
        settings = HttpSettings(port=0, tls=certificates.files(mutual=False), token=Secret("t0ken"))
        async with serving(settings) as address:
            assert (await certificates.scrape(address, None))[0] == 200

    asyncio.run(body())


def test_plain_http_gets_nothing(certificates: Certificates) -> None:
    async def body() -> None:
        async with serving(HttpSettings(port=0, tls=certificates.files())) as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(get("/metrics").encode())
            async with asyncio.timeout(PATIENCE_S):
                try:
                    said = await reader.read()
                except ConnectionError:
                    said = b""
            assert b"provider_" not in said
            writer.transport.abort()

    asyncio.run(body())


Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def silent(_certificates: Certificates, address: tuple[str, int]) -> Client:
    """A connection, and not a byte."""
    return await asyncio.open_connection(*address)


async def half_a_handshake(_certificates: Certificates, address: tuple[str, int]) -> Client:
    """The beginning of a ClientHello that never goes on."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"\x16\x03\x01\x02\x00\x01\x00")
    return reader, writer


async def greeting_only(certificates: Certificates, address: tuple[str, int]) -> Client:
    """A whole ClientHello; the server's answer is never taken up."""
    reader, writer = await asyncio.open_connection(*address)
    outgoing = ssl.MemoryBIO()
    talk = certificates.client().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=certificates.name)
    with pytest.raises(ssl.SSLWantReadError):
        talk.do_handshake()
    writer.write(outgoing.read())
    return reader, writer


async def half_a_request(certificates: Certificates, address: tuple[str, int]) -> Client:
    """Everything right, and then a head without an end."""
    reader, writer = await asyncio.open_connection(
        *address, ssl=certificates.client(), server_hostname=certificates.name
    )
    writer.write(b"GET /metrics HTTP/1.1\r\nX-Slow: ")
    return reader, writer


async def is_open(reader: asyncio.StreamReader) -> bool:
    """Nothing more comes, and no end either."""
    try:
        async with asyncio.timeout(0.5):
            while await reader.read(65_536):
                pass
    except TimeoutError:
        return True
    except OSError:
        pass
    return False


Attack = Callable[[Certificates, tuple[str, int]], Awaitable[Client]]
ATTACKS: tuple[Attack, ...] = (silent, half_a_handshake, greeting_only, half_a_request)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_a_crowd_keeps_nobody_from_an_answer(certificates: Certificates, attack: Attack) -> None:
    async def body() -> None:
        settings = HttpSettings(port=0, tls=certificates.files(), silence_s=60, connections_most=64)
        async with serving(settings) as address:
            crowd = [await attack(certificates, address) for _ in range(CROWD)]
            assert (await certificates.scrape(address))[0] == 200
            still_there = await asyncio.gather(*(is_open(reader) for reader, _ in crowd))
            assert sum(still_there) <= settings.connections_most
            for _, writer in crowd:
                writer.transport.abort()

    asyncio.run(body())


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_silence_is_waited_for_so_long_and_no_longer(certificates: Certificates, attack: Attack) -> None:
    async def body() -> None:
        async with serving(HttpSettings(port=0, tls=certificates.files(), silence_s=0.3)) as address:
            reader, writer = await attack(certificates, address)
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    try:
                        if not await reader.read(4096):
                            break
                    except OSError:
                        break
            writer.transport.abort()

    asyncio.run(body())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"certificate": "missing.pem"}, "telemetry.certificate .* cannot be read"),
        ({"key": "missing.key"}, "telemetry.key .* cannot be read"),
        ({"key": "scraper.key"}, "do not fit"),
        ({"certificate": "server.key"}, "do not fit"),
        ({"client_ca": "missing.pem"}, "telemetry.client_ca .* cannot be read"),
        ({"client_ca": "server.key"}, "holds no certificate"),
    ],
)
def test_files_that_will_not_do(certificates: Certificates, change: dict[str, str], said: str) -> None:
    names = {"certificate": "server.pem", "key": "server.key", "client_ca": "ca.pem"} | change
    paths = {setting: certificates.folder / name for setting, name in names.items()}

    async def body() -> None:
        with pytest.raises(ConfigError, match=said) as refused:
            async with serving(HttpSettings(port=0, tls=TlsFiles(**paths))):
                pass
        assert refused.value.remedy

    asyncio.run(body())
