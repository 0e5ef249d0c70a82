"""What containers wrote, as lines, in order per container.

Owns lines: the engine's frames cut and joined into them, with the engine's own timestamps. What was kept
of containers that are gone is ``kept_logs``'s. Nothing is dropped here: a slow reader is waited for, and
the engine keeps what is not read, as far as its log files reach.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import lru_cache

from provider.adapters.runtime.containers import Found, instant
from provider.adapters.runtime.engine import Engine, accepted
from provider.adapters.runtime.wire import FRAME_BYTES_MAX, Request
from provider.domain.errors import ProviderError
from provider.domain.workload import LogBatch
from provider.ports import LogRequest

LINE_BYTES_MAX = 256 * 1024
"""A longer line is given in pieces: what a tenant writes must not fill our memory."""
QUEUED_BATCHES = 16
"""Between the readers of several containers and whoever reads them; then readers wait."""
PIECE_BYTES, GATHER_S = 16 * 1024, 0.002
"""The engine hands a busy log over line by line: after a small piece it is given time for a larger one. A
line that comes alone waits for nothing."""
STAMP_BYTES = len("2026-11-22T17:00:00.123456789Z")
"""Engines write all nine digits, and UTC."""
_HEAD = struct.Struct(">B3xL")


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
) -> AsyncGenerator[LogBatch, None]:
    """The lines of ``found``: one container after the other, or all at once when following several."""
    if request.follow and len(found) > 1:
        async with aclosing(_merged(engine, pumps, found, request)) as batches:
            async for batch in batches:
                yield batch
        return
    for each in found:
        async with aclosing(of_container(engine, each, request)) as batches:
            async for batch in batches:
                yield batch


async def _merged(
    engine: Engine, pumps: Pumps, found: list[Found], request: LogRequest
) -> AsyncGenerator[LogBatch, None]:
    """All at once; a failure of one comes out here."""
    queue: asyncio.Queue[LogBatch | ProviderError | None] = asyncio.Queue(QUEUED_BATCHES)

    async def pump(each: Found) -> None:
        try:
            async for batch in of_container(engine, each, request):
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


async def of_container(engine: Engine, found: Found, request: LogRequest) -> AsyncGenerator[LogBatch, None]:
    """The lines of one container, as many together as arrived together."""
    lines = LineJoiner(service=found.service, replica=found.replica)
    async with aclosing(raw(engine, found, request)) as pieces:
        async for piece in pieces:
            for batch in lines.feed(piece):
                yield batch
    for batch in lines.rest():
        yield batch


async def raw(engine: Engine, found: Found, request: LogRequest) -> AsyncGenerator[bytes, None]:
    """The engine's own stream of them: frames with timestamps."""
    doing = f"reading the log of {found.service}/{found.replica}"
    query = {
        "stdout": "1",
        "stderr": "1",
        "timestamps": "1",
        "follow": "1" if request.follow else "0",
        "tail": "all" if request.tail is None else str(request.tail),
    }
    if request.since_ns:
        # The engine gives what is at or after this instant.
        second, nanos = divmod(request.since_ns + 1, 1_000_000_000)
        query["since"] = f"{second}.{nanos:09d}"
    path = f"/containers/{found.id}/logs"
    async with engine.stream(doing, Request(method="GET", path=path, query=query)) as answer:
        await accepted(answer, doing)
        async for piece in answer.pieces():
            yield piece
            if len(piece) < PIECE_BYTES:
                await answer.gather(GATHER_S)


@lru_cache(maxsize=64)
def _second(stamp: bytes) -> int:
    """Nanoseconds of the second that many lines share."""
    return (instant(f"{stamp.decode('ascii', 'replace')}Z") or 0) * 1_000_000


def _time(stamp: bytes) -> int:
    try:
        return _second(stamp[:19]) + int(stamp[20:29])
    except ValueError as error:
        raise EOFError("the engine's log has no timestamps as it should") from error


@dataclass(slots=True, kw_only=True)
class LineJoiner:
    """Makes lines of the engine's stream, in pieces of any size.

    The engine cuts a long line into frames and stamps each of them; the line has the first one's time.
    """

    service: str
    replica: int
    _buffer: bytes = b""
    """The beginning of a frame."""
    _parts: dict[bool, tuple[int, bytes]] = field(default_factory=dict)
    """The unfinished line of stdout and of stderr, with the time of its first frame."""

    def feed(self, data: bytes) -> list[LogBatch]:
        """The lines that ``data`` completes. ``EOFError`` when it is not the stream it should be."""
        buffer = self._buffer + data if self._buffer else data
        batches: list[LogBatch] = []
        times: list[int] = []
        texts: list[bytes] = []
        was_stderr, start, end = False, 0, len(buffer)
        while end - start >= 8:
            kind, size = _HEAD.unpack_from(buffer, start)
            if size > FRAME_BYTES_MAX:
                raise EOFError("the engine's stream is not framed as it said")
            next_ = start + 8 + size
            if next_ > end:
                break
            is_stderr = kind == 2
            if is_stderr is not was_stderr and times:
                batches.append(self._batch(was_stderr, times, texts))
                times, texts = [], []
            was_stderr = is_stderr
            text = buffer[start + 9 + STAMP_BYTES : next_]
            at_ns = _time(buffer[start + 8 : start + 8 + STAMP_BYTES])
            start = next_
            if is_stderr in self._parts:
                at_ns, head = self._parts.pop(is_stderr)
                text = head + text
            if text.endswith(b"\n"):
                texts.append(text)
            elif len(text) < LINE_BYTES_MAX:
                self._parts[is_stderr] = (at_ns, text)
                continue
            else:
                texts.append(text + b"\n")
            times.append(at_ns)
        self._buffer = buffer[start:]
        if times:
            batches.append(self._batch(was_stderr, times, texts))
        return batches

    def rest(self) -> list[LogBatch]:
        """What was written without an end of line."""
        left = [self._batch(is_stderr, [at], [text + b"\n"]) for is_stderr, (at, text) in self._parts.items()]
        self._parts.clear()
        return sorted(left, key=lambda batch: batch.at_ns)

    def _batch(self, is_stderr: bool, times: list[int], texts: list[bytes]) -> LogBatch:
        return LogBatch(
            service=self.service,
            replica=self.replica,
            is_stderr=is_stderr,
            at_ns=tuple(times),
            text=b"".join(texts)[:-1],
        )
