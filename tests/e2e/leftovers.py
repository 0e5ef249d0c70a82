"""What one provider has on the machine's engine, seen without anything of ours between."""

from __future__ import annotations

import subprocess
from pathlib import Path

import docker

Filters = dict[str, str | list[str] | bool]


def _of(provider: str) -> Filters:
    return {"label": f"gp.provider={provider}"}


def containers_of(engine: docker.DockerClient, provider: str) -> list[str]:
    """Ids of the containers that run."""
    return [str(each.id) for each in engine.containers.list(filters=_of(provider))]


def left_of(engine: docker.DockerClient, provider: str) -> set[str]:
    """Names of containers, running or not, networks, volumes, mounts, and the table of firewall rules."""
    found = {str(each.name) for each in engine.containers.list(all=True, filters=_of(provider))}
    found |= {str(each.name) for each in engine.networks.list(filters=_of(provider))}
    found |= {str(each.name) for each in engine.volumes.list(filters=_of(provider))}
    return found | _tables_of(provider) | set(_mounts_of(provider))


def _tables_of(provider: str) -> set[str]:
    listed = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    return {line for line in listed.splitlines() if line == f"table inet gp-{provider}"}


def _mounts_of(provider: str) -> list[str]:
    """Where its volumes are mounted."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [each.split()[4] for each in lines if f"/volumes/{provider}/" in each]


def sweep(engine: docker.DockerClient, provider: str) -> None:
    """Remove what a failed test left."""
    for container in engine.containers.list(all=True, filters=_of(provider)):
        container.remove(v=True, force=True)
    for network in engine.networks.list(filters=_of(provider)):
        network.remove()
    for volume in engine.volumes.list(filters=_of(provider)):
        volume.remove(force=True)
    for place in _mounts_of(provider):
        subprocess.run(["umount", place], check=True)
    for table in _tables_of(provider):
        subprocess.run(["nft", "delete", *table.split()], check=True)


def has_image(engine: docker.DockerClient, name: str) -> bool:
    """Whether the engine holds an image under that name."""
    return any(name in image.tags for image in engine.images.list())
