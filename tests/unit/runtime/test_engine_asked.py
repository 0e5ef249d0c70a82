"""That requests to an engine are measured: on a socket that answers as one, or does not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from provider.adapters.runtime.engine import Engine
from provider.adapters.runtime.settings import DockerSettings
from provider.adapters.runtime.wire import Request
from provider.domain.errors import Temporary
from provider.domain.ids import ProviderId

VERSION = {"Version": "26.1", "ApiVersion": "1.45", "MinAPIVersion": "1.24", "Arch": "amd64"}
Said = list[tuple[str, bool]]


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One request a connection; ``/broken`` is an engine's own failure, ``/mute`` gets no answer."""
    line = (await reader.readuntil(b"\r\n\r\n")).decode().split(" ")[1]
    body = json.dumps(VERSION if line == "/version" else {"message": "so it is"}).encode()
    status = 500 if "broken" in line else 404 if "missing" in line else 200
    if "mute" not in line:
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
    writer.close()


def asked_by(folder: Path, use: Callable[[Engine], Awaitable[None]]) -> Said:
    said: Said = []

    def asked(op: str, seconds: float, /, *, ok: bool) -> None:
        assert 0 <= seconds < 30
        said.append((op, ok))

    async def body() -> None:
        socket = folder / "engine.sock"
        async with await asyncio.start_unix_server(answer, socket):
            engine = Engine(
                DockerSettings(provider=ProviderId("p"), socket=f"unix://{socket}", call_timeout_s=5), asked
            )
            await use(engine)
            await engine.close()

    asyncio.run(body())
    return said


def test_calls_by_the_sdk(tmp_path: Path) -> None:
    async def use(engine: Engine) -> None:
        await engine.call("looking", lambda api: api.get(api.base_url + "/v1.45/containers/json"))
        await engine.call("looking", lambda api: api.delete(api.base_url + "/v1.45/volumes/missing"))
        await engine.call("looking", lambda api: api.post(api.base_url + "/v1.45/networks/broken"))
        with pytest.raises(Temporary):
            await engine.call("looking", lambda api: api.get(api.base_url + "/v1.45/images/mute"))

    assert asked_by(tmp_path, use) == [
        ("container_read", True),
        ("volume_remove", True),
        ("network_write", False),
        ("image_read", False),
    ]


def test_streams(tmp_path: Path) -> None:
    async def use(engine: Engine) -> None:
        for path in ("/events", "/exec/broken/start"):
            async with engine.stream("listening", Request(method="POST", path=path)) as stream:
                await stream.text()

    assert asked_by(tmp_path, use) == [("engine_write", True), ("exec_write", False)]
