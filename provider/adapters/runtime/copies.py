"""Files in and out of a container, as tar archives that only pass through here.

The engine unpacks and packs, inside the container's own file systems: a name with ``..`` and a link that
points outside are followed from the container's root, never from ours. Owns the cap on how much passes
and what the engine's refusals mean. Nothing is kept in memory but one piece. What goes in is plain
(``tar_check``), so that the cap is also one on what comes out.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator

from provider.adapters.runtime.containers import Found
from provider.adapters.runtime.engine import Engine
from provider.adapters.runtime.errors import refused
from provider.adapters.runtime.tar_check import TarCheck
from provider.adapters.runtime.wire import Answer, Request
from provider.domain.errors import Permanent
from provider.domain.resources import MIB
from provider.ports import CopyRequest

_BROKEN = re.compile(r"archive/tar: .*|unexpected EOF|invalid (?:tar|hardlink|symlink).*|.*breakout.*")


class _Counted:
    """``pieces`` on their way, counted. ``Permanent`` when there are more than ``most`` bytes."""

    def __init__(self, pieces: AsyncIterator[bytes], most: int) -> None:
        self._pieces = pieces
        self._most = most
        self.bytes = 0

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        async for piece in self._pieces:
            self.bytes += len(piece)
            if self.bytes > self._most:
                raise Permanent(
                    f"the archive is larger than {self._most // MIB} MiB, the most that one copy may be",
                    remedy="copy less at once, or load it from inside the container",
                )
            yield piece


async def copy_in(engine: Engine, found: Found, request: CopyRequest, archive: AsyncIterator[bytes]) -> int:
    """As ``ports.Runtime.copy_in``, for the container ``found``."""
    doing = f"copying to {_place(found, request)}"
    counted = _Counted(_plain(archive), engine.settings.copy_bytes_most)
    put = Request(
        method="PUT",
        path=f"/containers/{found.id}/archive",
        # A folder never takes the place of a file, nor a file that of a folder.
        query={"path": request.path, "noOverwriteDirNonDir": "true"},
        headers={"Content-Type": "application/x-tar"},
        upload=aiter(counted),
    )
    async with engine.stream(doing, put) as answer:
        await _accepted(answer, doing)
    return counted.bytes


async def copy_out(engine: Engine, found: Found, request: CopyRequest) -> AsyncGenerator[bytes, None]:
    """As ``ports.Runtime.copy_out``, for the container ``found``."""
    doing = f"copying from {_place(found, request)}"
    get = Request(method="GET", path=f"/containers/{found.id}/archive", query={"path": request.path})
    async with engine.stream(doing, get) as answer:
        await _accepted(answer, doing)
        async for piece in _Counted(answer.pieces(), engine.settings.copy_bytes_most):
            yield piece


async def _plain(archive: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    check, first = TarCheck(), b""
    async for piece in archive:
        check.feed(piece)
        first += piece
        if check.has_begun:
            yield first
            first = b""
    check.end()


def _place(found: Found, request: CopyRequest) -> str:
    return f"{found.service}/{found.replica}:{request.path}"


async def _accepted(answer: Answer, doing: str) -> None:
    """The engine's words are matched, since its status is 500 for most of these (20.10 and 26.1)."""
    if answer.status < 400:
        return
    text = await answer.text()
    if "not a directory" in text:
        raise Permanent(f"{doing}: it is not a folder", remedy="name a folder that exists, absolute")
    if answer.status == 404:
        raise Permanent(
            f"{doing}: there is no such file or folder", remedy="name a path that exists, absolute"
        )
    if answer.status == 403 or "read-only" in text:
        raise Permanent(f"{doing}: it is read-only", remedy="copy to another folder")
    if broken := _BROKEN.search(text):
        raise Permanent(
            f"{doing}: the archive cannot be unpacked: {broken[0][:200]}", remedy="send a tar archive"
        )
    raise refused(answer.status, text, doing)
