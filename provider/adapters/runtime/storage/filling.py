"""Filling a volume that an image declares with what the image has at its path, as engines do with their own.

By way of two containers that are made from the image and never run: the engine itself takes the files out
of one and puts them into the other, so that nothing that an image holds is ever a path on the host. Two,
because an engine does not put into a container while it takes out of it.
Owns these containers, which are gone in the end. Invariant: it is done before the tenant's container is
made, so that an agent that was killed in between begins with an empty volume again.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import docker
import docker.errors
import requests

from provider.adapters.runtime import containers, naming
from provider.adapters.runtime.storage.proof import FULL
from provider.domain.errors import Permanent
from provider.domain.ids import LeaseId

INTO = "/gp-volume"
"""Where the volumes are in the second container."""
ROOM_BYTES = 256 * 1024
"""Less than this is none: of a file that did not fit, the beginning is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filling:
    """Which volumes of a replica, from which image."""

    lease: LeaseId
    name: str
    """That the containers' begin with."""
    image: str
    owner: tuple[int, int]
    """Whom root in a container is on the host."""
    places: Mapping[str, Path]
    """By the path in the image, the empty directory on the host."""


def fill(client: docker.APIClient, filling: Filling) -> None:
    """``Permanent`` when what the image has there is more than the volume takes."""
    with _container(client, filling, "from", []) as source, _target(client, filling) as target:
        for number, (path, place) in enumerate(filling.places.items()):
            try:
                chunks, _ = client.get_archive(source, f"{path.rstrip('/')}/.")
            except docker.errors.APIError as error:
                if error.status_code == 404 or "not a directory" in str(error.explanation):
                    continue  # the image only names it
                raise
            first = next(chunks)
            _own(place, filling.owner, first[: tarfile.BLOCKSIZE])
            try:
                client.put_archive(target, f"{INTO}/{number}", chain([first], chunks))
            except (docker.errors.APIError, requests.ConnectionError) as error:
                for _ in chunks:  # the engine removes no container that somebody still takes out of
                    pass
                # An engine that cannot go on answers while it is still being written to, or hangs up.
                facts = os.statvfs(place)
                if facts.f_bavail * facts.f_frsize > ROOM_BYTES and not _speaks_of_room(error):
                    raise
                raise Permanent(
                    f"what the image has at {path} does not fit into the service's ephemeral storage",
                    remedy="order more of it: the volume without attributes in the compute profile",
                ) from error


def _speaks_of_room(error: Exception) -> bool:
    return any(word in str(getattr(error, "explanation", "")).lower() for word in FULL)


def _own(place: Path, root: tuple[int, int], head: bytes) -> None:
    """As the directory is in the image: its own entry comes first, and an engine leaves it alone."""
    entry = tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    if entry.isdir():
        os.chown(place, root[0] + entry.uid, root[1] + entry.gid)
        place.chmod(entry.mode & 0o7777)


def _target(client: docker.APIClient, filling: Filling) -> AbstractContextManager[str]:
    mounts = [
        {"Type": "bind", "Source": str(place), "Target": f"{INTO}/{number}"}
        for number, place in enumerate(filling.places.values())
    ]
    return _container(client, filling, "into", mounts)


@contextmanager
def _container(
    client: docker.APIClient, filling: Filling, what: str, mounts: list[dict[str, str]]
) -> Iterator[str]:
    """Made, and never started."""
    name = f"{filling.name}-{what}"
    config = {
        "Image": filling.image,
        "Cmd": ["/none"],
        "Entrypoint": [],
        "Labels": {naming.FILLS: str(filling.lease)},
        "HostConfig": {"NetworkMode": "none", "Mounts": mounts},
    }
    containers.remove(client, name)
    made = str(client.create_container_from_config(config, name)["Id"])  # type: ignore[no-untyped-call]
    try:
        yield made
    finally:
        containers.remove(client, made)


def end_fillings(client: docker.APIClient, lease: LeaseId) -> None:
    """Remove containers that a killed agent left in the middle of it."""
    for told in client.containers(all=True, filters={"label": f"{naming.FILLS}={lease}"}):
        containers.remove(client, told["Id"])
