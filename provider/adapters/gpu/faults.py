"""Errors of GPUs from both who tell them: NVML's events and the kernel's log, each error once.

Owns the pairing: an error of one source waits a moment for its twin of the other (same card, same number,
within seconds) and is told with what both know. One twin each: the same error again is another error.

Invariant: what one source tells is never lost for the lack of the other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from provider.domain.gpu import GpuFault
from provider.domain.moment import SECOND

TWIN_WITHIN_MS = 5 * SECOND
KEPT_MOST = 256
"""The newest that are told to who asks late."""


class Source(StrEnum):
    """Who told it."""

    NVML = "nvml"
    KERNEL = "kernel"


@dataclass(slots=True, eq=False)
class _Heard:
    fault: GpuFault
    source: Source
    is_paired: bool = False
    is_told: bool = False


class FaultDesk:
    """``hold_s`` is how long an error waits for its twin; zero where there is only one source."""

    def __init__(self) -> None:
        self._recent: deque[_Heard] = deque(maxlen=KEPT_MOST)
        self._told: deque[GpuFault] = deque(maxlen=KEPT_MOST)
        self.count = 0
        """Told ever."""
        self._news = asyncio.Event()

    def hear(self, fault: GpuFault, source: Source, hold_s: float) -> None:
        """One source tells of an error, or of the twin of one."""
        twin = next((each for each in self._recent if _are_twins(each, fault, source)), None)
        if twin is not None:
            twin.is_paired = True
            twin.fault = _merged(twin.fault, fault)
            self._tell(twin)
            return
        heard = _Heard(fault, source)
        self._recent.append(heard)
        if hold_s > 0:
            asyncio.get_running_loop().call_later(hold_s, self._tell, heard)
        else:
            self._tell(heard)

    async def follow(self) -> AsyncIterator[GpuFault]:
        """Those that are kept, then those that come."""
        seen = self.count - len(self._told)
        while True:
            while seen < self.count:
                seen = max(seen, self.count - len(self._told))  # who is too slow misses the oldest
                fault = self._told[seen - self.count]
                seen += 1
                yield fault
            self._news.clear()
            await self._news.wait()

    def _tell(self, heard: _Heard) -> None:
        if not heard.is_told:
            heard.is_told = True
            self._told.append(heard.fault)
            self.count += 1
            self._news.set()


def _are_twins(heard: _Heard, fault: GpuFault, source: Source) -> bool:
    return (
        not heard.is_paired
        and heard.source is not source
        and heard.fault.uuid == fault.uuid
        and heard.fault.xid == fault.xid
        and abs(heard.fault.at - fault.at) <= TWIN_WITHIN_MS
    )


def _merged(first: GpuFault, second: GpuFault) -> GpuFault:
    def either(pick: Callable[[GpuFault], int | None]) -> int | None:
        return pick(first) if pick(first) is not None else pick(second)

    return replace(
        first,
        gpu_instance=either(lambda fault: fault.gpu_instance),
        pid=either(lambda fault: fault.pid),
        process=first.process or second.process,
    )
