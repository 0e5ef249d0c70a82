"""Tar archives of a simulated container's files: regular ones and folders, named from its root.

A folder is a path with no bytes. Invariant: like an engine it lets no name out of the container.
"""

from __future__ import annotations

import io
import posixpath
import tarfile


def unpacked(data: bytes, folder: str) -> dict[str, bytes]:
    """Absolute path to contents. ``ValueError`` when ``data`` is no archive."""
    files: dict[str, bytes] = {}
    if not data:
        return files
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for member in archive:
                held = archive.extractfile(member) if member.isfile() else None
                path = posixpath.normpath("/" + folder + "/" + member.name)
                files["/" + path.lstrip("/")] = held.read() if held else b""
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(str(error)) from error
    return files


def packed(files: dict[str, bytes], path: str) -> bytes | None:
    """What is at and below ``path``, under its last name; None when there is nothing."""
    path = path.rstrip("/")
    below = {name: data for name, data in files.items() if name == path or name.startswith(path + "/")}
    if not below:
        return None
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, data in sorted(below.items()):
            member = tarfile.TarInfo(posixpath.basename(path) + name.removeprefix(path))
            member.type = tarfile.REGTYPE if data else tarfile.DIRTYPE
            member.mode, member.size = (0o644 if data else 0o755), len(data)
            archive.addfile(member, io.BytesIO(data))
    return made.getvalue()
