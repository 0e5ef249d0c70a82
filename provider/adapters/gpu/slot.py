"""One shared page that says which NVML call each of the worker's threads is inside of.

A thread writes its lane before and after every call; the daemon reads it when that thread has fallen silent,
and so knows which call on which GPU hangs. Writing costs about a microsecond. Invariant: a lane is written
by one thread and read only once that one is stuck or dead, so no lock is needed.
"""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass
from enum import IntEnum

_LAYOUT = struct.Struct("<i64s96s")
_IDLE = _LAYOUT.pack(-1, b"", b"")
NO_GPU = -1
"""The index of a call that concerns no single GPU."""


class Lane(IntEnum):
    """Whose calls these are."""

    SAMPLER = 0
    WATCHER = 1


@dataclass(frozen=True, slots=True)
class CallInProgress:
    """``index`` is NVML's, ``NO_GPU`` for the whole library; ``uuid`` is empty while not known."""

    symbol: str
    index: int
    uuid: str


class CallSlot:
    """Either end of one lane. ``create`` in the daemon, ``lane`` for the others of the same page, ``attach``
    in the worker that inherits its fd."""

    def __init__(self, fd: int, page: mmap.mmap, lane: Lane) -> None:
        self.fd = fd
        self._page = page
        self._start = lane * _LAYOUT.size
        self._end = self._start + _LAYOUT.size

    @classmethod
    def create(cls) -> CallSlot:
        """A fresh page that lives as long as somebody has it open."""
        fd = os.memfd_create("nvml-call")
        os.ftruncate(fd, mmap.PAGESIZE)
        slot = cls.attach(fd)
        for lane in Lane:
            slot.lane(lane).leave()
        return slot

    @classmethod
    def attach(cls, fd: int) -> CallSlot:
        """The page behind an inherited descriptor."""
        return cls(fd, mmap.mmap(fd, mmap.PAGESIZE), Lane.SAMPLER)

    def lane(self, lane: Lane) -> CallSlot:
        """Another thread's part of the page."""
        return CallSlot(self.fd, self._page, lane)

    def enter(self, symbol: str, index: int, uuid: str) -> None:
        """About to call ``symbol`` on that GPU."""
        _LAYOUT.pack_into(self._page, self._start, index, symbol.encode()[:64], uuid.encode()[:96])

    def leave(self) -> None:
        """The call returned."""
        self._page[self._start : self._end] = _IDLE

    def read(self) -> CallInProgress | None:
        """What is in progress, or None between calls."""
        index, symbol, uuid = _LAYOUT.unpack_from(self._page, self._start)
        if not symbol.rstrip(b"\0"):
            return None
        return CallInProgress(_text(symbol), index, _text(uuid))

    def close(self) -> None:
        """Give this end back, all lanes of it."""
        self._page.close()
        os.close(self.fd)


def _text(padded: bytes) -> str:
    return padded.rstrip(b"\0").decode(errors="replace")
