"""Where errors of GPUs are heard: the worker's events and the kernel's log, each put to a card by name.

Owns the step from a place on the PCI bus to a card, and errors of cards that are not known yet. Which two
are one error is ``faults``'s.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from provider.adapters.gpu.faults import FaultDesk, Source
from provider.adapters.gpu.kernel_log import KernelLog, LoggedXid
from provider.domain.gpu import GpuFault
from provider.domain.ids import GpuUuid
from provider.domain.moment import Instant

_UNPLACED_MOST = 64
"""Errors in the kernel's log of cards that are not known (yet): the newest are kept."""


class FaultSources:
    """``at_bus`` names the card at ``0000:18:00``; ``hold_s`` is how long one source waits for the other."""

    def __init__(
        self,
        kernel_log: Path | None,
        hold_s: float,
        *,
        now: Callable[[], Instant],
        at_bus: Callable[[str], GpuUuid | None],
    ) -> None:
        self._hold_s = hold_s
        self._now = now
        self._at_bus = at_bus
        self._desk = FaultDesk()
        self._log = KernelLog(kernel_log, self._hear_kernel) if kernel_log else None
        self._unplaced: deque[tuple[LoggedXid, Instant]] = deque(maxlen=_UNPLACED_MOST)

    def open(self) -> None:
        """Begin to read the kernel's log, where that is permitted."""
        if self._log is not None:
            self._log.open()

    def close(self) -> None:
        """Stop reading it."""
        if self._log is not None:
            self._log.close()

    @property
    def problem(self) -> str | None:
        """Why the kernel's log is not read, one line."""
        return self._log.problem if self._log is not None else None

    def follow(self) -> AsyncIterator[GpuFault]:
        """Each error once."""
        return self._desk.follow()

    def hear_worker(self, message: dict[str, Any]) -> None:
        """A fault message: an event of NVML's."""
        fault = GpuFault(
            uuid=GpuUuid(message["uuid"]),
            xid=message["xid"],
            at=self._now(),
            gpu_instance=message["gpu_instance"],
        )
        has_twin = self._log is not None and self._log.is_open
        self._desk.hear(fault, Source.NVML, self._hold_s if has_twin else 0)

    def place(self) -> None:
        """Cards are known: errors that waited for theirs are told."""
        for _ in range(len(self._unplaced)):
            logged, at = self._unplaced.popleft()
            uuid = self._at_bus(logged.bus_id)
            if uuid is None:
                self._unplaced.append((logged, at))
                continue
            fault = GpuFault(
                uuid=uuid,
                xid=logged.xid,
                at=at,
                gpu_instance=logged.gpu_instance,
                pid=logged.pid,
                process=logged.process,
            )
            self._desk.hear(fault, Source.KERNEL, self._hold_s)

    def _hear_kernel(self, logged: LoggedXid, age_s: float) -> None:
        self._unplaced.append((logged, Instant(self._now() - round(age_s * 1000))))
        self.place()
