"""One world a test module, and a registry on loopback that all of them pull from."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from provider.app.loopback_registry import Registry, loopback_registry
from tests.e2e.leftovers import left_of
from tests.e2e.world import DOCKER, TOOLS, World, running


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """The machine's engine, without anything of ours between."""
    client = docker.DockerClient(base_url=DOCKER, version="1.41")
    yield client
    client.close()


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    """Runs as long as the session, on a loop of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    context = loopback_registry(TOOLS)
    try:
        yield asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result(60)
        asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result(60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@pytest.fixture(scope="session")
def hello(registry: Registry, engine: docker.DockerClient) -> Iterator[str]:
    """The hello-gpu image's name in the registry; not on the engine until somebody pulls it."""
    name = asyncio.run(registry.push_hello(TOOLS))
    yield name
    if engine.images.list(name):
        engine.images.remove(name, force=True)


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest, engine: docker.DockerClient
) -> Iterator[World]:
    """A market with a provider and a funded tenant, all running; swept away even after a failure."""
    folder: Path = tmp_path_factory.mktemp("world")
    made = World(folder=folder, provider_name=f"{request.module.__name__.rpartition('_')[2]}-{os.getpid()}")
    with running(made, engine):
        yield made


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test of a world: no container, network or volume of its provider is on the engine."""
    yield
    if "world" not in request.fixturenames:
        return
    client: docker.DockerClient = request.getfixturevalue("engine")
    world: World = request.getfixturevalue("world")
    assert left_of(client, world.provider_name) == set()
