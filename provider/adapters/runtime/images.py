"""Images: is it here, get it if not, and what does it bring along.

Owns references, the pull with its watchdog, and the registry's login, which is sent with one pull and
kept nowhere. Does not own which images may be used, nor when one is thrown away.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

import docker
import docker.auth
import docker.errors

from provider.adapters.runtime.engine import Engine
from provider.adapters.runtime.errors import pull_error
from provider.adapters.runtime.wire import Answer, Request
from provider.domain.errors import ImageUnavailable, ProviderError, Temporary
from provider.domain.manifest import Credentials

_REFERENCE = re.compile(
    r"(?P<name>[a-z0-9][a-zA-Z0-9._:/-]*?)(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
DEFAULT_REGISTRY = "docker.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """An image's name, taken apart (github.com/distribution/reference)."""

    repository: str
    """As written, without tag and digest: what the engine is asked to pull."""
    registry: str
    path: str
    """Within the registry: ``library/redis``."""
    tag: str
    digest: str | None

    @property
    def is_floating(self) -> bool:
        """Whether a copy here may be an old one: ``latest`` is meant to move."""
        return self.digest is None and self.tag == "latest"

    @classmethod
    def parse(cls, image: str) -> Reference:
        """``ImageUnavailable`` when it cannot name an image."""
        match = _REFERENCE.fullmatch(image)
        if match is None or match["name"].lower() != match["name"]:
            raise ImageUnavailable(
                f"{image!r} does not name an image", remedy="write it like registry.example/name:tag"
            )
        repository = match["name"]
        first, slash, rest = repository.partition("/")
        if slash and ("." in first or ":" in first or first == "localhost"):
            registry, path = first, rest
        else:
            registry, path = DEFAULT_REGISTRY, repository if slash else f"library/{repository}"
        return cls(
            repository=repository,
            registry=registry,
            path=path.removeprefix("/"),
            tag=match["tag"] or "latest",
            digest=match["digest"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What an image brings along."""

    id: str
    architecture: str
    volumes: tuple[str, ...]
    """Sorted paths."""
    gpu_env: tuple[str, ...] = ()
    """Names of the environment by which it asks for GPUs, sorted."""


class Images:
    """The images of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._pulls = asyncio.Semaphore(engine.settings.pulls_at_once)

    async def ensure(self, image: str, credentials: Credentials | None) -> ImageFacts:
        """Have ``image`` here. Pulls when it is absent, and tries to when its tag is ``latest``."""
        reference = Reference.parse(image)
        here = await self.look(image)
        if here is None:
            await self._fetch(image, reference, credentials)
            here = await self.look(image)
        elif reference.is_floating:
            try:
                await self._fetch(image, reference, credentials)
            except Temporary:
                pass  # the registry is away: the copy that is here will do
            else:
                here = await self.look(image) or here
        if here is None:
            raise Temporary(f"{image} was removed while it was being looked at")
        wanted = (await self._engine.facts()).architecture
        if here.architecture not in {"", wanted}:
            raise ImageUnavailable(
                f"{image} is for {here.architecture}, this machine is {wanted}",
                remedy=f"use an image built for {wanted}",
            )
        return here

    async def look(self, image: str) -> ImageFacts | None:
        """What is here under that name; None when nothing is."""

        def look(client: docker.APIClient) -> ImageFacts | None:
            try:
                told = client.inspect_image(image)  # type: ignore[no-untyped-call]
            except docker.errors.ImageNotFound:
                return None
            config = told.get("Config") or {}
            volumes = config.get("Volumes") or {}
            names = {line.partition("=")[0] for line in config.get("Env") or ()}
            return ImageFacts(
                id=told["Id"],
                architecture=told.get("Architecture") or "",
                volumes=tuple(sorted(volumes)),
                gpu_env=tuple(sorted(name for name in names if name.startswith("NVIDIA_"))),
            )

        return await self._engine.call(f"looking at image {image}", look)

    async def _fetch(self, image: str, reference: Reference, credentials: Credentials | None) -> None:
        async with self._pulls:
            if await self._fetch_from_mirror(image, reference):
                return
            await self._pull(image, reference.repository, reference.digest or reference.tag, credentials)

    async def _fetch_from_mirror(self, image: str, reference: Reference) -> bool:
        """Pull from the operator's mirror, under the image's own name; False when that has it not."""
        mirror = self._engine.settings.mirror
        if not mirror or reference.registry != DEFAULT_REGISTRY or reference.digest:
            return False
        copy = f"{mirror}/{reference.path}"
        try:
            await self._pull(image, copy, reference.tag, None)
        except ProviderError:
            return False

        def rename(client: docker.APIClient) -> None:
            client.tag(f"{copy}:{reference.tag}", reference.repository, reference.tag)
            client.remove_image(f"{copy}:{reference.tag}", noprune=True)

        await self._engine.call(f"naming image {image}", rename)
        return True

    async def _pull(self, image: str, repository: str, tag: str, credentials: Credentials | None) -> None:
        settings = self._engine.settings
        headers = {}
        if credentials is not None:
            login = {
                "username": credentials.username,
                "password": credentials.password.reveal(),
                "email": credentials.email,
                "serveraddress": credentials.host,
            }
            headers["X-Registry-Auth"] = docker.auth.encode_header(login).decode()
        request = Request(
            method="POST",
            path="/images/create",
            query={"fromImage": repository, "tag": tag},
            headers=headers,
        )
        doing = f"pulling {image}"
        try:
            async with (
                asyncio.timeout(settings.pull_timeout_s),
                self._engine.stream(doing, request, settings.pull_stall_s) as answer,
            ):
                if answer.status >= 400:
                    raise pull_error(await answer.text(), image)
                await _watch(answer, image, settings.pull_stall_s)
        except TimeoutError as error:
            raise Temporary(f"{doing}: not done after {settings.pull_timeout_s} s") from error


async def _watch(answer: Answer, image: str, stall_s: float) -> None:
    """Read a pull's progress to its end; ``Temporary`` when nothing arrives for ``stall_s``."""
    progress = answer.objects()
    while True:
        try:
            async with asyncio.timeout(stall_s):
                step = await anext(progress, None)
        except TimeoutError as error:
            raise Temporary(f"pulling {image}: nothing arrived for {stall_s} s") from error
        if step is None:
            return
        if "error" in step:
            raise pull_error(str(step["error"]), image)
