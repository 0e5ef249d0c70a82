"""Two questions that no engine answers truly, so they are tried out on a container that never runs.

Does the engine hold a container's layer to its size? Some refuse the option, some take it and ignore it.
Does the engine see what we mount? Not when it, or we, live in another mount namespace.
Owns an empty image and one container, both named after the provider; they are gone when an answer is there.
Invariant: only a write that was refused, beside the same write that was not, counts as a limit.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import docker.errors

from provider.adapters.runtime import naming
from provider.domain.ids import ProviderId
from provider.domain.resources import MIB

LIMIT_BYTES = 16 * MIB
WRITTEN_BYTES = 24 * MIB
PLACE = "/proof"
FULL = ("no space left on device", "disk quota exceeded")


def layers_are_held(client: docker.APIClient, provider: ProviderId) -> bool:
    """Whether a write beyond ``StorageOpt``'s size is refused."""
    with _image(client, provider) as image:
        try:
            with _container(client, provider, image, {"StorageOpt": {"size": str(LIMIT_BYTES)}}) as limited:
                if _takes(client, limited):
                    return False
        except docker.errors.APIError:
            return False  # it knows no such option here
        with _container(client, provider, image, {}) as free:
            return _takes(client, free)  # else the disk is just full


def sees(client: docker.APIClient, provider: ProviderId, folder: Path, file: str) -> bool:
    """Whether a container that ``folder`` is mounted into has ``file`` there."""
    mount = {"Type": "bind", "Source": str(folder), "Target": PLACE, "ReadOnly": True}
    try:
        with (
            _image(client, provider) as image,
            _container(client, provider, image, {"Mounts": [mount]}) as made,
        ):
            chunks, _ = client.get_archive(made, f"{PLACE}/{file}")
            return sum(len(chunk) for chunk in chunks) > 0
    except docker.errors.APIError:
        return False


def _takes(client: docker.APIClient, container: str) -> bool:
    try:
        client.put_archive(container, "/", _archive("filler", WRITTEN_BYTES))
    except docker.errors.APIError as error:
        if any(word in str(error.explanation).lower() for word in FULL):
            return False
        raise
    return True


@contextmanager
def _image(client: docker.APIClient, provider: ProviderId) -> Iterator[str]:
    name = f"gp-proof-{provider}"
    client.import_image_from_data(_archive(PLACE.strip("/"), 0), repository=name, tag="1")
    try:
        yield f"{name}:1"
    finally:
        client.remove_image(f"{name}:1", force=True)


@contextmanager
def _container(
    client: docker.APIClient, provider: ProviderId, image: str, host: dict[str, object]
) -> Iterator[str]:
    """Made, and never started."""
    name = f"gp-proof-{provider}"
    config = {
        "Image": image,
        "Cmd": ["/none"],
        "Labels": {naming.PROOF: provider},
        "HostConfig": {"NetworkMode": "none", **host},
    }
    _drop(client, name)
    made = str(client.create_container_from_config(config, name)["Id"])  # type: ignore[no-untyped-call]
    try:
        yield made
    finally:
        _drop(client, made)


def _drop(client: docker.APIClient, container: str) -> None:
    try:
        client.remove_container(container, v=True, force=True)
    except docker.errors.NotFound:
        return


def _archive(name: str, size_bytes: int) -> bytes:
    """One file of zeros; with no size, an empty directory."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = size_bytes
        if not size_bytes:
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(entry, io.BytesIO(bytes(size_bytes)))
    return written.getvalue()
