"""The last lines of containers that were removed: written before the removal, read for a day after.

Owns the files, ``<folder>/<lease key>/<service>-<replica>-<n>-<id>.log.gz``: one line each, its time in
nanoseconds, ``o`` or ``e`` for its stream, its text; ``zcat`` shows them. Best effort: no trouble here ever
keeps a container from being removed. A file ``closed`` says since when the lease is over.
Invariant: a container's log is kept once, under its own id, however often its removal is tried.
"""

from __future__ import annotations

import asyncio
import gzip
import shutil
from collections import deque
from collections.abc import AsyncGenerator, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from provider.adapters.runtime import logs
from provider.adapters.runtime.containers import Found
from provider.adapters.runtime.engine import Engine
from provider.adapters.runtime.kept_log_settings import KeptLogSettings
from provider.domain.errors import ProviderError
from provider.domain.ids import LeaseId
from provider.domain.moment import Instant
from provider.domain.workload import LogBatch
from provider.ports import LogRequest

LINES_MOST = 200_000
"""Asked of the engine: shorter lines than 40 bytes do not fill what is kept."""
LINES_TOGETHER = 1_000
ID_DIGITS = 12
CLOSED = "closed"
_SUFFIX = ".log.gz"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class KeptFile:
    service: str
    replica: int
    number: int
    container: str
    path: Path


async def keep(engine: Engine, found: Found) -> None:
    """Before ``found`` is removed. Never raises, and never takes longer than its patience."""
    settings = engine.settings.kept_logs
    if settings is None or "/" in found.service:
        return
    with suppress(ProviderError, OSError, EOFError, TimeoutError):
        async with asyncio.timeout(settings.patience_s):
            held: deque[bytes] = deque()
            size = 0
            async for batch in logs.of_container(engine, found, LogRequest(tail=LINES_MOST)):
                held.append(_written(batch))
                size += len(held[-1])
                while size > settings.container_bytes and len(held) > 1:
                    size -= len(held.popleft())
            if held:
                await asyncio.to_thread(_write, settings, found, held)


def close(settings: KeptLogSettings, lease: LeaseId, at: Instant) -> None:
    """``lease`` is over: from now on its logs are kept for so long and no longer. Never raises."""
    folder = settings.folder / lease.key
    with suppress(OSError):
        if folder.exists() and not (folder / CLOSED).exists():
            (folder / CLOSED).write_text(str(at))


def sweep(settings: KeptLogSettings, at: Instant) -> None:
    """Remove what has been kept long enough, and the oldest where it is too much. Never raises."""
    for folder in _folders(settings):
        with suppress(OSError, ValueError):
            if int((folder / CLOSED).read_text()) + settings.keep_s * 1000 <= at:
                shutil.rmtree(folder)
    _shrink(settings)


def files(settings: KeptLogSettings, lease: LeaseId, request: LogRequest) -> tuple[KeptFile, ...]:
    """Those of ``lease`` that are asked for, oldest first for each replica."""
    found = _listed(settings.folder / lease.key)
    return tuple(
        sorted(
            each
            for each in found
            if request.service in {None, each.service} and request.replica in {None, each.replica}
        )
    )


async def read(
    kept: Collection[KeptFile], there: Collection[Found], request: LogRequest
) -> AsyncGenerator[LogBatch, None]:
    """The lines of ``kept`` that precede those of the containers that are ``there``.

    With a tail only those of replicas without a container: the newest container's are the newest.
    """
    live = {each.id[:ID_DIGITS] for each in there}
    replicas = {(each.service, each.replica) for each in there}
    left: dict[tuple[str, int], deque[LogBatch]] = {}
    for each in kept:
        name = (each.service, each.replica)
        if each.container in live or (request.tail is not None and name in replicas):
            continue
        batches = await asyncio.to_thread(_read, each, request.since_ns)
        if request.tail is None:
            for batch in batches:
                yield batch
        else:
            left[name] = _last([*left.get(name, ()), *batches], request.tail)
    for tail in left.values():
        for batch in tail:
            yield batch


def _written(batch: LogBatch) -> bytes:
    stream = b"e" if batch.is_stderr else b"o"
    texts = batch.text.split(b"\n")
    return b"".join(
        b"%d %b %b\n" % (at_ns, stream, text) for at_ns, text in zip(batch.at_ns, texts, strict=True)
    )


def _write(settings: KeptLogSettings, found: Found, held: Collection[bytes]) -> None:
    folder = settings.folder / found.lease.key
    settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    of_replica = sorted(
        each for each in _listed(folder) if (each.service, each.replica) == (found.service, found.replica)
    )
    container = found.id[:ID_DIGITS]
    numbers = [each.number for each in of_replica]
    same = [each.number for each in of_replica if each.container == container]
    number = same[0] if same else max(numbers, default=0) + 1
    name = f"{found.service}-{found.replica}-{number}-{container}{_SUFFIX}"
    part = folder / f"{name}.part"
    part.touch(mode=0o600)
    with gzip.open(part, "wb", compresslevel=1) as file:
        for piece in held:
            file.write(piece)
    part.replace(folder / name)
    for old in of_replica[: max(0, len(of_replica) + 1 - settings.files_per_replica)]:
        if old.container != container:
            old.path.unlink(missing_ok=True)
    _shrink(settings)


def _shrink(settings: KeptLogSettings) -> None:
    sizes = []
    for folder in _folders(settings):
        for path in folder.glob("*"):
            with suppress(OSError):
                told = path.stat()
                sizes.append((told.st_mtime_ns, told.st_size, path))
    total = sum(size for _, size, _ in sizes)
    for _, size, path in sorted(sizes):
        if total <= settings.disk_bytes:
            return
        if path.name != CLOSED:
            with suppress(OSError):
                path.unlink()
                total -= size


def _folders(settings: KeptLogSettings) -> list[Path]:
    try:
        return [each for each in settings.folder.iterdir() if each.is_dir()]
    except OSError:
        return []


def _listed(folder: Path) -> Iterator[KeptFile]:
    for path in folder.glob(f"*{_SUFFIX}") if folder.is_dir() else ():
        parts = path.name.removesuffix(_SUFFIX).rsplit("-", 3)
        if len(parts) == 4 and parts[1].isdigit() and parts[2].isdigit():
            yield KeptFile(
                service=parts[0], replica=int(parts[1]), number=int(parts[2]), container=parts[3], path=path
            )


def _read(kept: KeptFile, since_ns: int) -> list[LogBatch]:
    """What can be read of it: one that was cut off is read up to there."""
    lines: list[tuple[bool, int, bytes]] = []
    with suppress(OSError, EOFError, ValueError), gzip.open(kept.path, "rb") as file:
        for line in file:
            at, stream, text = line.split(b" ", 2)
            if int(at) > since_ns:
                lines.append((stream == b"e", int(at), text.removesuffix(b"\n")))
    return list(_batches(kept, lines))


def _batches(kept: KeptFile, lines: list[tuple[bool, int, bytes]]) -> Iterator[LogBatch]:
    start = 0
    while start < len(lines):
        end, size = start, 0
        while end < len(lines) and lines[end][0] == lines[start][0] and size < logs.LINE_BYTES_MAX:
            size += len(lines[end][2]) + 1
            end += 1
            if end - start == LINES_TOGETHER:
                break
        some = lines[start:end]
        yield LogBatch(
            service=kept.service,
            replica=kept.replica,
            is_stderr=some[0][0],
            at_ns=tuple(at for _, at, _ in some),
            text=b"\n".join(text for _, _, text in some),
        )
        start = end


def _last(batches: list[LogBatch], count: int) -> deque[LogBatch]:
    """Of ``batches`` the last ``count`` lines."""
    held: deque[LogBatch] = deque()
    for batch in reversed(batches):
        if count <= 0:
            break
        held.appendleft(batch.last(count))
        count -= len(batch.at_ns)
    return held
