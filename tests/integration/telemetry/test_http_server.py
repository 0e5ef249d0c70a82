"""The metrics server over real sockets on loopback: formats, refusals, and clients that mean no good."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress

import pytest

from provider.adapters.telemetry.dcgm import DcgmMetrics
from provider.adapters.telemetry.exposition import Exposition
from provider.adapters.telemetry.http import HttpSettings, Readiness, TelemetryServer
from provider.adapters.telemetry.lag import watch_loop_lag
from provider.adapters.telemetry.metrics import Metrics
from provider.adapters.telemetry.view import Feed, TelemetryView
from provider.domain.errors import ConfigError
from provider.domain.secret import Secret

READY = Readiness(is_ready=True, reason="ready")


class Daemon:
    """Counts how often it is looked at."""

    def __init__(self) -> None:
        self.looks = 0
        self.readiness = READY

    def view(self) -> TelemetryView:
        self.looks += 1
        return TelemetryView(bids_open=self.looks)

    def ready(self) -> Readiness:
        return self.readiness


@asynccontextmanager
async def serving(
    settings: HttpSettings, daemon: Daemon | None = None, *, cache_s: float = 1.0
) -> AsyncIterator[tuple[str, int]]:
    daemon = daemon or Daemon()
    feed = Feed(view=daemon.view, readings=tuple)
    exposition = Exposition(Metrics(version="0.1.0"), feed, cache_s=cache_s)
    async with TelemetryServer(settings, exposition, daemon.ready) as server:
        yield server.address


FREE = HttpSettings(port=0)


async def talk(address: tuple[str, int], request: str) -> tuple[int, dict[str, str], bytes]:
    """One request on a connection of its own: status, headers, body."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(request.encode())
        async with asyncio.timeout(10):
            return await response(reader)
    finally:
        writer.close()
        await writer.wait_closed()


async def response(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    line, *rest = head.removesuffix("\r\n\r\n").split("\r\n")
    headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in rest)}
    return int(line.split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


def get(path: str, *headers: str) -> str:
    return f"GET {path} HTTP/1.1\r\n" + "".join(f"{each}\r\n" for each in headers) + "\r\n"


def run(body: Coroutine[None, None, None]) -> None:
    asyncio.run(body)


def test_metrics_in_both_formats_plain_and_gzipped() -> None:
    async def body() -> None:
        async with serving(FREE) as address:
            status, headers, text = await talk(address, get("/metrics"))
            assert status == 200
            assert headers["content-type"].startswith("text/plain; version=")
            assert b"\nprovider_bids_open 1.0\n" in text or b"\nprovider_bids_open 2.0\n" in text
            assert b"\nprocess_resident_memory_bytes " in text
            accept = "Accept: application/openmetrics-text; version=1.0.0"
            status, headers, packed = await talk(address, get("/metrics", accept, "Accept-Encoding: gzip"))
            assert (status, headers["content-encoding"]) == (200, "gzip")
            assert headers["content-type"].startswith("application/openmetrics-text")
            assert gzip.decompress(packed).endswith(b"# EOF\n")

    run(body())


def test_many_scrapes_look_once() -> None:
    async def body() -> None:
        daemon = Daemon()
        async with serving(FREE, daemon, cache_s=60) as address:
            await asyncio.gather(*(talk(address, get("/metrics")) for _ in range(20)))
            assert daemon.looks == 2, "once at the start, once for all of them"

    run(body())


def test_health_and_readiness() -> None:
    async def body() -> None:
        daemon = Daemon()
        async with serving(FREE, daemon) as address:
            assert (await talk(address, get("/healthz")))[0] == 200
            assert (await talk(address, get("/readyz")))[::2] == (200, b"ready\n")
            daemon.readiness = Readiness(is_ready=False, reason="the coordinator is away")
            assert (await talk(address, get("/readyz")))[::2] == (503, b"the coordinator is away\n")
            assert (await talk(address, get("/healthz")))[0] == 200

    run(body())


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        ("GET /nowhere HTTP/1.1\r\n\r\n", 404),
        ("POST /metrics HTTP/1.1\r\n\r\n", 405),
        ("nonsense\r\n\r\n", 400),
        ("POST /metrics HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 400),
        ("GET /metrics HTTP/1.1\r\nX: " + "y" * 20_000 + "\r\n\r\n", 431),
        ("GET /metrics HTTP/1.1\r\nHost:", 408),
    ],
)
def test_what_is_refused_and_how(request_text: str, status: int) -> None:
    async def body() -> None:
        async with serving(HttpSettings(port=0, silence_s=0.2)) as address:
            found, headers, _ = await talk(address, request_text)
            assert found == status
            assert ("allow" in headers) == (status == 405)
            assert (await talk(address, get("/healthz")))[0] == 200

    run(body())


def test_one_connection_serves_many_requests_and_head_has_no_body() -> None:
    async def body() -> None:
        async with serving(FREE) as address, asyncio.timeout(10):
            reader, writer = await asyncio.open_connection(*address)
            for _ in range(3):
                writer.write(get("/healthz").encode())
                assert (await response(reader))[::2] == (200, b"alive\n")
            writer.write(b"HEAD /healthz HTTP/1.1\r\n\r\n")
            assert b"Content-Length: 6\r\n" in await reader.readuntil(b"\r\n\r\n")
            writer.write(get("/healthz", "Connection: close").encode())
            assert (await response(reader))[1]["connection"] == "close"
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()

    run(body())


def test_a_token_guards_metrics_and_nothing_else() -> None:
    async def body() -> None:
        settings = HttpSettings(port=0, token=Secret("s3cret"))
        assert "s3cret" not in repr(settings)
        async with serving(settings) as address:
            status, headers, _ = await talk(address, get("/metrics"))
            assert (status, headers["www-authenticate"]) == (401, "Bearer")
            assert (await talk(address, get("/metrics", "Authorization: Bearer wrong")))[0] == 401
            assert (await talk(address, get("/metrics", "Authorization: Bearer s3cret")))[0] == 200
            assert (await talk(address, get("/healthz")))[0] == 200

    run(body())


def test_two_hundred_silent_clients_keep_nobody_from_an_answer() -> None:
    async def body() -> None:
        async with serving(HttpSettings(port=0, silence_s=60, connections_most=64)) as address:
            silent = [await asyncio.open_connection(*address) for _ in range(200)]
            async with asyncio.timeout(5):
                status, _, _ = await talk(address, get("/metrics"))
            assert status == 200
            still_open = sum(not reader.at_eof() and reader.exception() is None for reader, _ in silent)
            assert still_open <= 64
            for _, writer in silent:
                writer.transport.abort()

    run(body())


def test_clients_that_do_not_read_keep_nobody_from_an_answer() -> None:
    async def body() -> None:
        async with serving(HttpSettings(port=0, write_s=60, connections_most=8), cache_s=60) as address:
            deaf = []
            for _ in range(20):
                deaf.append(await asyncio.open_connection(*address, limit=1))
                deaf[-1][1].write(get("/metrics").encode() * 400)
            async with asyncio.timeout(5):
                status, _, _ = await talk(address, get("/metrics"))
            assert status == 200
            for _, writer in deaf:
                writer.transport.abort()

    run(body())


def test_a_busy_port_is_one_line_and_a_remedy() -> None:
    async def body() -> None:
        async with serving(FREE) as (host, port):
            with pytest.raises(ConfigError, match=f"cannot be served on {host}:{port}") as refused:
                async with serving(HttpSettings(port=port)):
                    pass
            assert refused.value.remedy

    run(body())


def test_leaving_closes_every_connection() -> None:
    async def body() -> None:
        async with serving(HttpSettings(port=0, silence_s=60)) as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(get("/healthz").encode())
            await response(reader)
        with pytest.raises(ConnectionError):
            await asyncio.open_connection(*address)
        with suppress(ConnectionResetError):  # a reset closes it as well
            assert await reader.read() == b""
        writer.transport.abort()

    run(body())


def test_a_blocked_loop_is_noticed() -> None:
    async def body() -> None:
        seen: list[float] = []
        has_measured = asyncio.Event()

        def observe(lag: float) -> None:
            seen.append(lag)
            has_measured.set()

        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(watch_loop_lag(observe, every_s=0.01))
            async with asyncio.timeout(10):
                await has_measured.wait()
                has_measured.clear()
                time.sleep(0.2)  # noqa: ASYNC251 - what must not happen, and is to be noticed
                await has_measured.wait()
            watch.cancel()
        assert max(seen) > 0.1

    run(body())


def test_dcgms_names_are_on_a_path_of_their_own_where_they_are_wanted() -> None:
    async def body() -> None:
        daemon = Daemon()
        feed = Feed(view=daemon.view, readings=tuple)
        exposition = Exposition(Metrics(version="0.1.0"), feed)
        dcgm = Exposition(DcgmMetrics(), feed)
        settings = HttpSettings(port=0, token=Secret("s3cret"))
        async with TelemetryServer(settings, exposition, daemon.ready, dcgm) as server:
            authorized = "Authorization: Bearer s3cret"
            status, _, text = await talk(server.address, get("/metrics/dcgm", authorized))
            assert (status, text.count(b"# TYPE DCGM_FI_")) == (200, text.count(b"# TYPE "))
            status, _, text = await talk(server.address, get("/metrics", authorized))
            assert (status, b"DCGM_" in text) == (200, False)
            assert (await talk(server.address, get("/metrics/dcgm")))[0] == 401
        async with serving(FREE) as address:
            assert (await talk(address, get("/metrics/dcgm")))[0] == 404

    run(body())
