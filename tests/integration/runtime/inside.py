"""Looking into containers, and images that differ from the test image by one instruction."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import docker

from provider.adapters.runtime import DockerRuntime
from provider.domain.ids import LeaseId
from provider.ports import ExecRequest
from tests.launches import IMAGE, collect


async def shell(runtime: DockerRuntime, lease: LeaseId, script: str, of: str = "web") -> str:
    """What ``sh -c script`` prints inside."""
    request = ExecRequest(service=of, argv=("sh", "-c", script))
    async with await runtime.exec(lease, request) as session:
        output = await collect(session.output())
    return b"".join(each.data for each in output).decode().strip()


@contextmanager
def changed_image(client: docker.APIClient, change: str, content: bytes = b"") -> Iterator[str]:
    """The test image with one instruction of a Dockerfile more, and the files of a tar archive."""
    source = client.create_container(IMAGE)["Id"]
    if content:
        client.put_archive(source, "/", content)
    tag = str(os.getpid())  # another run of the tests has its own
    client.commit(source, repository="gp-test/changed", tag=tag, changes=change)
    client.remove_container(source)
    try:
        yield f"gp-test/changed:{tag}"
    finally:
        client.remove_image(f"gp-test/changed:{tag}", force=True)
