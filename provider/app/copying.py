"""Files between this machine and a replica: ``docker cp`` by its rules, over tar archives.

Owns where things land (a folder takes them in, a free name renames them) and what of a provider's archive is
believed: nothing of it leaves the folder it is unpacked in. Only pieces are kept in memory.
"""

from __future__ import annotations

import asyncio
import os
import posixpath
import sys
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from provider.app.lease_client import COPY_BYTES, LeaseCalls
from provider.domain.errors import ConfigError, Permanent
from provider.ports import CopyRequest

STREAM = "-"
"""A tar archive on standard input or output instead of files."""


async def upload(calls: LeaseCalls, source: str, place: CopyRequest) -> int:
    """``source`` to ``place``; bytes of archive."""
    if source == STREAM:
        return await calls.copy_in(place, _read_all(sys.stdin.buffer))
    path = Path(source)
    if not (path.exists() or path.is_symlink()):
        raise ConfigError(f"{source} is not there", remedy="name a file or a folder, or - for a tar stream")
    if await is_folder(calls, place):
        folder, name = place.path, path.resolve().name if source.endswith((".", "..")) else path.name
        name = "." if source.endswith("/.") else name
    elif place.path.endswith("/"):
        raise Permanent(f"{place.path} is not a folder in the container", remedy="make it first")
    else:
        folder, name = posixpath.split(place.path.rstrip("/"))
    return await calls.copy_in(replace(place, path=folder or "/"), packed(path, name))


async def download(calls: LeaseCalls, place: CopyRequest, target: str) -> int:
    """``place`` to ``target``; bytes of archive."""
    pieces = calls.copy_out(place)
    if target == STREAM:
        return await _write_all(pieces, sys.stdout.buffer)
    into = Path(target)
    if into.is_dir():
        return await unpacked(pieces, into, None)
    if target.endswith("/") or not into.absolute().parent.is_dir():
        raise ConfigError(f"{into.absolute().parent} is not a folder", remedy="make it first")
    return await unpacked(pieces, into.absolute().parent, into.name)


async def is_folder(calls: LeaseCalls, place: CopyRequest) -> bool:
    """Asked by a copy of the folder itself that is broken off at its first piece."""
    try:
        async for _ in calls.copy_out(replace(place, path=f"{place.path.rstrip('/')}/.")):
            return True
    except Permanent as error:
        if "no such file" not in error.what and "not a folder" not in error.what:
            raise
    return False


async def packed(path: Path, name: str) -> AsyncIterator[bytes]:
    """An archive of ``path``, called ``name`` in it, made while it is sent."""

    def pack(pipe: BinaryIO) -> None:
        with tarfile.open(fileobj=pipe, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            archive.add(path, arcname=name)

    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as end:
        packing = asyncio.create_task(_in_thread(pack, os.fdopen(writing, "wb")))
        try:
            while piece := await asyncio.to_thread(end.read, COPY_BYTES):
                yield piece
        finally:
            end.close()  # a packer whose archive nobody wants stops at a broken pipe
            with suppress(BrokenPipeError):
                await packing


async def unpacked(pieces: AsyncIterator[bytes], folder: Path, name: str | None) -> int:
    """Unpack below ``folder``, under ``name`` instead of the archive's own; bytes of archive."""

    def unpack(pipe: BinaryIO) -> None:
        with tarfile.open(fileobj=pipe, mode="r|") as archive:
            members = _renamed(archive, name)
            archive.extractall(folder, members=members, filter=_believed)  # noqa: S202 - see the filter
        while pipe.read(COPY_BYTES):
            pass  # an archive may be padded beyond its end

    reading, writing = os.pipe()
    unpacking = asyncio.create_task(_in_thread(unpack, os.fdopen(reading, "rb")))
    try:
        with os.fdopen(writing, "wb") as end:
            total = await _write_all(pieces, end)
    except BrokenPipeError:
        await unpacking
        raise
    except BaseException:
        with suppress(tarfile.TarError, OSError, Permanent):
            await unpacking  # of what came; the first failure is the one to tell
        raise
    await unpacking
    return total


async def _in_thread(work: Callable[[BinaryIO], None], pipe: BinaryIO) -> None:
    def run() -> None:
        try:
            with pipe:
                work(pipe)
        except tarfile.TarError as error:
            raise Permanent(f"the archive cannot be unpacked: {error}") from error

    await asyncio.to_thread(run)


def _renamed(archive: tarfile.TarFile, name: str | None) -> Iterator[tarfile.TarInfo]:
    """Members under ``name`` in place of their first part, hard links between them likewise."""
    for member in archive:
        if name is not None:
            member.name = _under(name, member.name)
            if member.islnk():
                member.linkname = _under(name, member.linkname)
        yield member


def _under(name: str, path: str) -> str:
    _, slash, rest = path.strip("/").partition("/")
    return name + slash + rest


def _believed(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
    """As ``tarfile.data_filter`` allows, with the mode that the file had; a device, a pipe or anything that
    leads out of the folder is an error."""
    safe = tarfile.data_filter(member, folder)
    if not safe.issym():
        return safe.replace(mode=member.mode & 0o777, deep=False)
    return safe


async def _read_all(file: BinaryIO) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(file.read, COPY_BYTES):
        yield piece


async def _write_all(pieces: AsyncIterator[bytes], file: BinaryIO) -> int:
    total = 0
    async for piece in pieces:
        await asyncio.to_thread(file.write, piece)
        total += len(piece)
    await asyncio.to_thread(file.flush)
    return total
