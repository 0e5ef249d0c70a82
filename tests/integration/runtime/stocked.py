"""A registry with images that no engine has seen, a watcher of pulls, and what of it is on the engine."""

from __future__ import annotations

import io
import secrets
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import docker

from provider.adapters.runtime.images.observer import PullProgress
from provider.app import busybox_image
from provider.app.loopback_registry import ImageConfig, Registry, loopback_registry
from provider.domain.ids import LeaseId
from provider.domain.manifest import Service
from tests.conftest import TOOLS
from tests.launches import service

PLAIN = ImageConfig(env=("PATH=/bin",))
HELLO = "hello-gpu:1"


def root_tar() -> bytes:
    """A file system that no engine has seen: a layer that it has is not pulled again."""
    buffer = io.BytesIO(busybox_image.root_tar(busybox_image.find_busybox(TOOLS)))
    with tarfile.open(fileobj=buffer, mode="a") as tar:
        mark = tarfile.TarInfo("mark")
        mark.size = 64
        tar.addfile(mark, io.BytesIO(secrets.token_bytes(mark.size)))
    return buffer.getvalue()


@asynccontextmanager
async def stocked(*names: str) -> AsyncIterator[Registry]:
    """A registry with an image of each name in it, all different."""
    async with loopback_registry(TOOLS) as registry:
        for name in names or (HELLO,):
            await registry.push(root_tar(), name, PLAIN)
        yield registry


def of_image(image: str) -> Service:
    return service(image=image)


def names_on(client: docker.APIClient) -> set[str]:
    """Every name, by tag and by digest, of the images that tests can have pulled."""
    return {
        name
        for image in client.images()
        for name in (*(image["RepoTags"] or ()), *(image["RepoDigests"] or ()))
        if name.startswith(("127.0.0.1:", "gp-test"))
    }


@dataclass(slots=True)
class WatchedPulls:
    """``PullObserver`` that keeps what it is told."""

    told: list[tuple[str, LeaseId | None, str]] = field(default_factory=list)
    steps: list[PullProgress] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    transferred_bytes: int = 0

    def began(self, lease: LeaseId | None, image: str) -> None:
        self.told.append(("began", lease, image))

    def progressed(self, lease: LeaseId | None, image: str, progress: PullProgress) -> None:
        self.steps.append(progress)

    def done(self, lease: LeaseId | None, image: str, took_s: float, transferred_bytes: int) -> None:
        assert took_s >= 0
        self.told.append(("done", lease, image))
        self.transferred_bytes += transferred_bytes

    def failed(self, lease: LeaseId | None, image: str, problem: str) -> None:
        self.told.append(("failed", lease, image))
        self.problems.append(problem)

    @property
    def outcomes(self) -> list[str]:
        return [what for what, _, _ in self.told]
