"""What a lease's tenant is told of its GPUs: errors of the driver, and what holds against a card.

Owns the words. Invariant: a tenant hears only of GPUs that its own lease has.
"""

from __future__ import annotations

from provider.core import xids
from provider.core.health import ROW, words
from provider.core.health_row import Action
from provider.core.step import GpuFaulted, GpuNote, GpuSignalMoved
from provider.domain.gpu_health import GpuSignal, XidClass
from provider.domain.ids import LeaseId
from provider.domain.journal import EventKind, Happening
from provider.domain.moment import Instant

PRIVATE = frozenset({GpuSignal.CORDONED, GpuSignal.AWAITING_CHECK, GpuSignal.NOT_CLEAN})
"""The operator's own business."""
_SEVERITY = {
    XidClass.APP: "your program",
    XidClass.INFO: "notice",
    XidClass.SUSPECT: "warning",
    XidClass.CONTAINED: "warning",
    XidClass.LINK: "warning",
    XidClass.RESET: "critical",
    XidClass.NODE: "critical",
    XidClass.UNKNOWN: "warning",
}


def happenings(note: GpuNote, at: Instant) -> tuple[tuple[LeaseId, Happening], ...]:
    """For each lease that it is about."""
    match note:
        case GpuFaulted(lease=None):
            return ()
        case GpuFaulted(lease=lease):
            assert lease is not None, "matched above"
            times = f", {note.count} times" if note.count > 1 else ""
            whose = f" ({note.process})" if note.process else ""
            text = (
                f"[{_SEVERITY[note.kind]}] {note.gpu}: Xid {note.xid}{times}: {xids.meaning(note.xid)}{whose}"
            )
            return ((lease, Happening(at=at, kind=EventKind.GPU_FAULT, text=text)),)
        case GpuSignalMoved(line=line) if line.signal in PRIVATE or ROW[line.signal].action is Action.NOTE:
            return ()
        case GpuSignalMoved():
            return tuple((lease, _moved(note, at)) for lease in note.leases)


def _moved(note: GpuSignalMoved, at: Instant) -> Happening:
    line = note.line
    what = f"{note.gpu}: {words(line.signal)}"
    if not line.is_raised:
        return Happening(at=at, kind=EventKind.GPU_RECOVERED, text=f"{what} is over: {line.detail}")
    is_over = ROW[line.signal].action is Action.EVICT
    kind = EventKind.GPU_FAILED if is_over else EventKind.GPU_DEGRADED
    return Happening(at=at, kind=kind, text=f"[{'critical' if is_over else 'warning'}] {what}: {line.detail}")
