"""One shared page that says which NVML call the worker is inside of.

The worker writes it before and after every call; the daemon reads it when the worker has fallen silent, and
so knows which call on which GPU hangs. Writing costs about a microsecond. Invariant: the page is written
by one process and read only once that one is stuck or dead, so no lock is needed.
"""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass

_LAYOUT = struct.Struct("<i64s96s")
_IDLE = _LAYOUT.pack(-1, b"", b"")
NO_GPU = -1
"""The index of a call that concerns no single GPU."""


@dataclass(frozen=True, slots=True)
class CallInProgress:
    """``index`` is NVML's, ``NO_GPU`` for the whole library; ``uuid`` is empty while not known."""

    symbol: str
    index: int
    uuid: str


class CallSlot:
    """Either end of the page. ``create`` in the daemon, ``attach`` in the worker that inherits its fd."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._page = mmap.mmap(fd, mmap.PAGESIZE)

    @classmethod
    def create(cls) -> CallSlot:
        """A fresh page that lives as long as somebody has it open."""
        fd = os.memfd_create("nvml-call")
        os.ftruncate(fd, mmap.PAGESIZE)
        slot = cls(fd)
        slot.leave()
        return slot

    @classmethod
    def attach(cls, fd: int) -> CallSlot:
        """The page behind an inherited descriptor."""
        return cls(fd)

    def enter(self, symbol: str, index: int, uuid: str) -> None:
        """About to call ``symbol`` on that GPU."""
        _LAYOUT.pack_into(self._page, 0, index, symbol.encode()[:64], uuid.encode()[:96])

    def leave(self) -> None:
        """The call returned."""
        self._page[: _LAYOUT.size] = _IDLE

    def read(self) -> CallInProgress | None:
        """What is in progress, or None between calls."""
        index, symbol, uuid = _LAYOUT.unpack_from(self._page, 0)
        if not symbol.rstrip(b"\0"):
            return None
        return CallInProgress(_text(symbol), index, _text(uuid))

    def close(self) -> None:
        """Give this end back."""
        self._page.close()
        os.close(self.fd)


def _text(padded: bytes) -> str:
    return padded.rstrip(b"\0").decode(errors="replace")
