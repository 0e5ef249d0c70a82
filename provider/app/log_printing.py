"""Log lines as people see them: whose they are, when, in whose colour. Nothing here decides anything.

What containers write is passed on as it is, as ``docker logs`` does; only what is put before it is ours.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO

from provider.domain.workload import LogBatch

COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
"""SGR: all but red, which means trouble elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPrinter:
    """Writes lines to the one or the other of two streams."""

    out: BinaryIO
    err: BinaryIO
    with_names: bool = False
    with_times: bool = False

    def print(self, batch: LogBatch) -> None:
        """All of ``batch``, at once."""
        stream = self.err if batch.is_stderr else self.out
        head = self._name(batch, stream) if self.with_names else b""
        if not head and not self.with_times:
            stream.write(batch.text + b"\n")
        else:
            texts = batch.text.split(b"\n")
            for at_ns, text in zip(batch.at_ns, texts, strict=True):
                time = f"{shown(at_ns)} ".encode() if self.with_times else b""
                stream.write(head + time + text + b"\n")
        stream.flush()

    def _name(self, batch: LogBatch, stream: BinaryIO) -> bytes:
        name = f"[{batch.service}/{batch.replica}]"
        if not has_colours(stream):
            return f"{name} ".encode()
        colour = COLOURS[zlib.crc32(name.encode()) % len(COLOURS)]
        return f"\033[{colour}m{name}\033[0m ".encode()


def has_colours(stream: BinaryIO) -> bool:
    """On a terminal, unless its owner does not want any (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def shown(at_ns: int) -> str:
    """RFC 3339 with all nine digits, as ``docker logs -t`` has it."""
    second, nanos = divmod(at_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}.{nanos:09d}Z"
