"""What many tests share: the image that the containers of the tests are made of, and logs as they begin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import docker
import pytest
import structlog
from hypothesis import settings

from provider.app import busybox_image
from tests.launches import IMAGE

TOOLS = Path("build/tools")
ENGINE = "unix:///var/run/docker.sock"

# No example has a time to keep: that would test the machine and what else it does.
settings.register_profile("house", deadline=None)
settings.load_profile("house")


@pytest.fixture(scope="session")
def hello_image() -> Iterator[str]:
    """The test image on the machine's engine, as long as the tests run."""
    client = docker.APIClient(base_url=ENGINE, version="1.41")
    busybox_image.import_into(client, busybox_image.find_busybox(TOOLS), IMAGE)
    yield IMAGE
    busybox_image.remove_from(client, IMAGE)
    client.close()


@pytest.fixture(autouse=True)
def logs_as_they_begin() -> Iterator[None]:
    """A command that ran in this process has set what is logged, and how."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder in which sockets have room: their paths have 107 bytes at most, and a test's own is long."""
    with TemporaryDirectory(prefix="gp-") as folder:
        yield Path(folder)
