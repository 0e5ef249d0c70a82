"""What containers wrote, as lines, in order per container.

Owns lines: the engine's frames cut and joined into them, with the engine's own timestamps.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import lru_cache

from provider.adapters.runtime.containers import Found, instant
from provider.adapters.runtime.engine import Engine, accepted
from provider.adapters.runtime.wire import FrameDecoder, Request
from provider.domain.errors import ProviderError
from provider.domain.moment import Instant
from provider.domain.workload import LogLine
from provider.ports import LogRequest

LINE_BYTES_MAX = 256 * 1024
"""A longer line is given in pieces: what a tenant writes must not fill our memory."""
QUEUED_BATCHES = 16
"""Between the readers of several containers and whoever reads them; then readers wait."""

Batch = list[LogLine]


class Pumps:
    """The tasks that read several containers at once, in a group whose owner outlives each reading."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, pump: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self._group.create_task(pump)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def cancel(self) -> None:
        """All that still read, since nobody will take what they bring."""
        for task in self._tasks:
            task.cancel()


async def read(
    engine: Engine, pumps: Pumps, found: list[Found], request: LogRequest
) -> AsyncGenerator[LogLine, None]:
    """The lines of ``found``: one container after the other, or all at once when following several."""
    if request.follow and len(found) > 1:
        async with aclosing(_merged(engine, pumps, found, request)) as batches:
            async for batch in batches:
                for line in batch:
                    yield line
        return
    for each in found:
        async with aclosing(_batches(engine, each, request)) as batches:
            async for batch in batches:
                for line in batch:
                    yield line


async def _merged(
    engine: Engine, pumps: Pumps, found: list[Found], request: LogRequest
) -> AsyncGenerator[Batch, None]:
    """All at once; a failure of one comes out here."""
    queue: asyncio.Queue[Batch | ProviderError | None] = asyncio.Queue(QUEUED_BATCHES)

    async def pump(each: Found) -> None:
        try:
            async for batch in _batches(engine, each, request):
                await queue.put(batch)
        except ProviderError as failure:
            await queue.put(failure)
        else:
            await queue.put(None)

    readers = [pumps.spawn(pump(each)) for each in found]
    try:
        for _ in found:
            while (item := await queue.get()) is not None:
                if isinstance(item, ProviderError):
                    raise item
                yield item
    finally:
        for reader in readers:
            reader.cancel()


async def _batches(engine: Engine, found: Found, request: LogRequest) -> AsyncGenerator[Batch, None]:
    """The lines of one container, as many together as arrived together."""
    doing = f"reading the log of {found.service}/{found.replica}"
    query = {
        "stdout": "1",
        "stderr": "1",
        "timestamps": "1",
        "follow": "1" if request.follow else "0",
        "tail": "all" if request.tail is None else str(request.tail),
    }
    if request.since is not None:
        query["since"] = f"{request.since // 1000}.{request.since % 1000:03d}000000"
    path = f"/containers/{found.id}/logs"
    async with engine.stream(doing, Request(method="GET", path=path, query=query)) as answer:
        await accepted(answer, doing)
        frames, lines = FrameDecoder(), LineJoiner(service=found.service, replica=found.replica)
        async for piece in answer.pieces():
            batch = [line for is_stderr, frame in frames.feed(piece) for line in lines.feed(is_stderr, frame)]
            if batch:
                yield batch
        if rest := list(lines.rest()):
            yield rest


@lru_cache(maxsize=64)
def _second(stamp: bytes) -> int:
    """Milliseconds of the second that many lines share; engines write all nine digits behind it, and UTC."""
    return instant(f"{stamp.decode('ascii', 'replace')}Z") or 0


@dataclass(slots=True, kw_only=True)
class LineJoiner:
    """Makes lines of frames. The engine cuts a long line into frames and stamps each of them."""

    service: str
    replica: int
    _parts: dict[bool, tuple[Instant, bytes]] = field(default_factory=dict)
    """The unfinished line of stdout and of stderr, with the time of its first frame."""

    def feed(self, is_stderr: bool, frame: bytes) -> Iterator[LogLine]:
        stamp, _, text = frame.partition(b" ")
        if is_stderr in self._parts:
            at, head = self._parts.pop(is_stderr)
            text = head + text
        else:
            at = Instant(_second(stamp[:19]) + int(stamp[20:23] or 0))
        if text.endswith(b"\n") or len(text) >= LINE_BYTES_MAX:
            yield self._line(at, is_stderr, text)
        else:
            self._parts[is_stderr] = (at, text)

    def rest(self) -> Iterator[LogLine]:
        """What was written without an end of line."""
        for is_stderr, (at, text) in sorted(self._parts.items()):
            yield self._line(at, is_stderr, text)
        self._parts.clear()

    def _line(self, at: Instant, is_stderr: bool, text: bytes) -> LogLine:
        return LogLine(
            service=self.service,
            replica=self.replica,
            at=at,
            is_stderr=is_stderr,
            text=text.removesuffix(b"\n").decode(errors="replace"),
        )
