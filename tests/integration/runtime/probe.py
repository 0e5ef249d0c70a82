"""A program that tries things from inside, compiled here and put into containers of any image."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import docker

PLACE = "/tmp/probe"


def build(directory: Path) -> Path:
    """Static, so that it needs nothing of an image."""
    program = directory / "probe"
    source = Path(__file__).with_name("probe.c")
    subprocess.run(["gcc", "-static", "-O1", "-Wall", "-Werror", "-o", str(program), str(source)], check=True)
    return program


def put(client: docker.APIClient, container: str, program: Path) -> None:
    """At ``PLACE`` in it, belonging to root, with the set-user-id bit."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        about = tarfile.TarInfo(Path(PLACE).name)
        about.size, about.mode = program.stat().st_size, 0o4755
        archive.addfile(about, io.BytesIO(program.read_bytes()))
    client.put_archive(container, str(Path(PLACE).parent), packed.getvalue())
