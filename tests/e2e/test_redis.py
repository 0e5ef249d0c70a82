"""A stranger's file, unmodified, goes the whole way: Redis keeps what it was told while the agent dies.

The image that the file names is answered by a registry on loopback, with an image made of Debian's redis
packages.
"""

from __future__ import annotations

import asyncio
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
import redis

from provider.app.loopback_registry import ImageConfig, Registry
from tests.e2e.world import ROOT, TOOLS, World, running, until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]
FILE = ROOT.parent / "shared" / "sdl-corpus" / "awesome" / "redis__deploy.yaml"
IMAGE = "library/redis:8.2.2"


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, registry: Registry, engine: docker.DockerClient
) -> Iterator[World]:
    """A world whose engine finds the file's image in a mirror."""
    if not FILE.exists():
        pytest.skip(f"needs other people's files beside the project: {FILE.relative_to(ROOT.parent)}")
    asyncio.run(
        registry.push(
            root_of_debian_redis(),
            IMAGE,
            ImageConfig(entrypoint=("/usr/bin/redis-server",), command=("--protected-mode", "no")),
        )
    )
    made = World(
        folder=tmp_path_factory.mktemp("redis"),
        provider_name=f"redis-{os.getpid()}",
        provider_environment={"PROVIDER_IMAGES__MIRRORS": f"{{docker.io: {registry.address!r}}}"},
    )
    with running(made, engine):
        yield made
    for image in engine.images.list():
        if any("redis:8.2.2" in tag for tag in image.tags):
            engine.images.remove(str(image.id), force=True)  # with the mirror's name for it


def root_of_debian_redis() -> bytes:
    """The unpacked packages as a tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in sorted((TOOLS / "redis-server").iterdir()):
            tar.add(path, arcname=path.name)
        for name in ("data", "tmp"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
            tar.addfile(folder)
    return buffer.getvalue()


def connect(world: World, dseq: int) -> redis.Redis:
    return redis.Redis(host="127.0.0.1", port=world.host_port(dseq), socket_timeout=5)


def ping(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def test_a_strangers_redis_answers_before_and_after_the_agent_dies(world: World) -> None:
    before = FILE.read_bytes()
    dseq = world.rent(FILE)
    client = connect(world, dseq)
    until(lambda: ping(client), "Redis answers at the leased port")
    assert client.set("kept", "over a crash")
    assert client.get("kept") == b"over a crash"

    world.kill("provider")
    assert client.get("kept") == b"over a crash"
    world.start_provider()

    again = connect(world, dseq)
    assert again.get("kept") == b"over a crash"
    assert again.set("kept", "and on")
    assert again.get("kept") == b"and on"
    assert again.info("server")["redis_version"].startswith("7.")
    assert Path(FILE).read_bytes() == before
    again.close()
    client.close()
    assert world.tenant("close", str(dseq)).status == 0
    until(lambda: world.provider("leases", "--json").json == [], "the provider has let go")
