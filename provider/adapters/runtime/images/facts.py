"""What the engine says of an image that is here."""

from __future__ import annotations

from dataclasses import dataclass

import docker
import docker.errors

from provider.adapters.runtime.engine import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What an image brings along."""

    id: str
    architecture: str
    volumes: tuple[str, ...]
    """Sorted paths."""
    gpu_env: tuple[str, ...] = ()
    """Names of the environment by which it asks for GPUs, sorted."""


async def look(engine: Engine, name: str) -> ImageFacts | None:
    """The image of that full name or id; None when there is none."""

    def look_up(client: docker.APIClient) -> ImageFacts | None:
        try:
            told = client.inspect_image(name)  # type: ignore[no-untyped-call]
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

    return await engine.call(f"looking at image {name}", look_up)
