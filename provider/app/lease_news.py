"""What a lease's tenant is told of it: the core's notes and the runtime's pulls, as the journal has them.

Owns the words. Does not own what is kept, nor for how long. Invariant: of one note a lease
gets at most one event, and nothing here fails.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TypeGuard

from provider.adapters.runtime.images.observer import PullProgress
from provider.app import gpu_news
from provider.core.lease import Phase
from provider.core.step import (
    ContainerEnded,
    GpuFaulted,
    GpuSignalMoved,
    LeaseClosed,
    LeaseMoved,
    Note,
    NoticeGiven,
    UpdateTakenBack,
)
from provider.domain.ids import LeaseId
from provider.domain.journal import EventKind, Happening
from provider.domain.moment import Instant
from provider.domain.resources import MIB
from provider.domain.workload import ExitCause, Pull
from provider.ports import Clock, Journal

_MOVED = {
    Phase.AWARDED: (EventKind.AWARDED, "the provider confirmed the lease and waits for the manifest"),
    Phase.STARTING: (EventKind.STARTING, "its containers are started"),
    Phase.RUNNING: (EventKind.RUNNING, "all containers run"),
    Phase.UPDATING: (EventKind.UPDATED, "it becomes what its tenant changed it to"),
    Phase.REPAIRING: (EventKind.REPAIRING, "another start is due"),
    Phase.STOPPING: (EventKind.STOPPING, "its containers are ended"),
}
_ENDED = {ExitCause.OOM: EventKind.OOM_KILLED, ExitCause.GPU_LOST: EventKind.GPU_FAILED}


class LeaseNews:
    """``PullObserver``, and what an observer of steps passes its notes to."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._pulls: dict[tuple[LeaseId, str], Pull] = {}

    def pulls(self, lease: LeaseId) -> tuple[Pull, ...]:
        """Those under way, by image."""
        return tuple(pull for (whose, _), pull in sorted(self._pulls.items()) if whose == lease)

    def note(self, note: Note, at: Instant) -> None:
        """One of a step's notes, after its commit."""
        if isinstance(note, GpuFaulted | GpuSignalMoved):
            for lease, happening in gpu_news.happenings(note, at):
                self._journal.append(lease, happening)
            return
        told = happening_of(note, at)
        if told is not None:
            self._journal.append(*told)

    def began(self, lease: LeaseId | None, image: str) -> None:
        if _is_tenants(lease):
            self._pulls[lease, image] = Pull(image=image)
            self._tell(lease, EventKind.PULL_BEGAN, f"pulling {image}")

    def progressed(self, lease: LeaseId | None, image: str, progress: PullProgress) -> None:
        if _is_tenants(lease):
            self._pulls[lease, image] = Pull(
                image=image, done_bytes=progress.done_bytes, total_bytes=progress.total_bytes
            )

    def done(self, lease: LeaseId | None, image: str, took_s: float, transferred_bytes: int) -> None:
        if _is_tenants(lease):
            self._pulls.pop((lease, image), None)
            text = f"pulled {image} in {took_s:.1f} s, {transferred_bytes / MIB:.0f} MiB transferred"
            self._tell(lease, EventKind.PULL_DONE, text)

    def failed(self, lease: LeaseId | None, image: str, problem: str) -> None:
        if _is_tenants(lease):
            self._pulls.pop((lease, image), None)
            self._tell(lease, EventKind.PULL_FAILED, problem)

    def _tell(self, lease: LeaseId, kind: EventKind, text: str) -> None:
        self._journal.append(lease, Happening(at=self._clock.now(), kind=kind, text=text))


def _is_tenants(lease: LeaseId | None) -> TypeGuard[LeaseId]:
    """Whether there is somebody to tell: what the operator pulls, for itself or its idle job, is nobody's."""
    return lease is not None and not lease.is_idle


def happening_of(note: Note, at: Instant) -> tuple[LeaseId, Happening] | None:
    """None for what is no tenant's business."""
    match note:
        case LeaseMoved(after=Phase.UPDATING, restarting=service) if service:
            text = "it is stopped and started because its tenant asked for it"
            return note.lease, Happening(at=at, kind=EventKind.RESTARTED, text=text, service=service)
        case LeaseMoved(after=phase) if phase in _MOVED:
            kind, text = _MOVED[phase]
            return note.lease, Happening(at=at, kind=kind, text=note.detail or text)
        case ContainerEnded():
            kind = _ENDED.get(note.cause, EventKind.EXITED)
            text = note.detail or f"it ended: {note.cause}"
            return note.lease, Happening(
                at=at, kind=kind, text=text, service=note.service, replica=note.replica
            )
        case UpdateTakenBack():
            return note.lease, Happening(at=at, kind=EventKind.UPDATE_TAKEN_BACK, text=note.why)
        case NoticeGiven():
            when = datetime.fromtimestamp(note.ends_at / 1000, UTC).isoformat(timespec="seconds")
            text = f"the provider ends the lease at {when}" + (f": {note.why}" if note.why else "")
            return note.lease, Happening(at=at, kind=EventKind.NOTICE, text=text)
        case LeaseClosed():
            text = f"{note.reason.replace('_', ' ')}, ran {note.ran_ms / 1000:.0f} s"
            return note.lease, Happening(at=at, kind=EventKind.CLOSED, text=text)
        case _:
            return None
