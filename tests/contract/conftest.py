"""Every runtime there is, as a fixture: ``enter`` opens a world with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import ENGINE
from tests.contract.runtime_worlds import Enter, dockers, simulated
from tests.integration.runtime.engines import newer_engine, second_engine


@pytest.fixture(scope="module")
def newer(hello_image: str) -> Iterator[str]:
    """The socket of Debian 13's engine, in a network namespace of its own."""
    program = newer_engine()
    if program is None:
        pytest.skip("no second engine: scripts/unpack-engine.sh")
    with second_engine(program) as engine:
        engine.load(hello_image)
        yield engine.socket


@pytest.fixture(
    params=[
        "simulated",
        pytest.param("docker", marks=pytest.mark.docker),
        pytest.param("docker-26", marks=pytest.mark.docker),
    ]
)
def enter_runtime(request: pytest.FixtureRequest) -> Enter:
    match request.param:
        case "simulated":
            return simulated
        case "docker":
            request.getfixturevalue("hello_image")
            return lambda: dockers(ENGINE)
        case _:
            socket: str = request.getfixturevalue("newer")
            return lambda: dockers(socket)
