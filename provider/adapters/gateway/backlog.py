"""Log lines on their way to a reader who may be slow: bounded, the oldest go first, and that is told."""

from __future__ import annotations

import asyncio
from collections import deque

from provider.domain.workload import LogLine


class Backlog:
    """One writer, one reader. Invariant: what is missing was counted on the line that follows it."""

    def __init__(self, *, lines_most: int, bytes_most: int) -> None:
        self._lines_most = lines_most
        self._bytes_most = bytes_most
        self._lines: deque[LogLine] = deque()
        self._bytes = 0
        self._dropped = 0
        self._is_over = False
        self._wake = asyncio.Event()

    def put(self, line: LogLine) -> None:
        """Never waits."""
        self._lines.append(line)
        self._bytes += len(line.text)
        while len(self._lines) > 1 and self._is_over_limit():
            self._bytes -= len(self._lines.popleft().text)
            self._dropped += 1
        self._wake.set()

    def _is_over_limit(self) -> bool:
        return len(self._lines) > self._lines_most or self._bytes > self._bytes_most

    def end(self) -> None:
        """No more lines will come."""
        self._is_over = True
        self._wake.set()

    async def get(self) -> tuple[LogLine, int] | None:
        """The next line and how many were lost just before it; None after the last."""
        while not self._lines:
            if self._is_over:
                return None
            self._wake.clear()
            await self._wake.wait()
        line, dropped = self._lines.popleft(), self._dropped
        self._bytes -= len(line.text)
        self._dropped = 0
        return line, dropped
