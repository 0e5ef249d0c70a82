"""The lease machine: every phase a lease can be in, everything that can move it, in two tables.

Rule 1: what decides a lease's next phase is in this file. Rule 2: this file does not know what a
phase makes the agent do; entering a phase has effects, and those are in ``leasing``. Guards are trigger
names (``DIED`` against ``DIED_TOO_OFTEN``), chosen where the event is read, so the tables hold no code.

Every pair of phase and trigger is legal (in ``MOVES``), stale (in ``STALE``: a late or doubled message
that changes nothing) or illegal: a bug here or a broken promise there, and it raises. A test walks
the whole product, another proves that every phase can reach ``CLOSED``, and the diagram in
``docs/lease.md`` is made from these tables.

Read next: ``leasing.py`` (what entering a phase does), ``state.py`` (what is remembered of a lease).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Phase(StrEnum):
    AWARDED = "awarded"
    """Confirmed to the market; the tenant's manifest is awaited."""
    STARTING = "starting"
    """The engine pulls, creates, starts."""
    RUNNING = "running"
    """All containers run."""
    UPDATING = "updating"
    """Becoming what the tenant changed it to, or restarting a service: billed up to the last look that found
    all of it running."""
    REPAIRING = "repairing"
    """It died or could not start; another start is due."""
    STOPPING = "stopping"
    """Its end is decided; the engine removes what is left."""
    CLOSED = "closed"
    """Nothing is left."""


class Trigger(StrEnum):
    MANIFEST = "manifest"
    """A manifest with the right hash came."""
    STARTED = "started"
    """The engine runs all of it."""
    START_FAILED = "start_failed"
    """The engine or the registry was away, or a container did not stay up: worth another try."""
    START_REFUSED = "start_refused"
    """It can never start as it is."""
    DIED = "died"
    """A container is gone or has exited, or what runs is not what was ordered."""
    DIED_TOO_OFTEN = "died_too_often"
    """The same, once more than is worth repairing."""
    CHANGED = "changed"
    """The tenant changed what is to run, or the change is taken back, or a restart was asked for."""
    RETRY = "retry"
    """The time for another start has come."""
    OVERDUE = "overdue"
    """No manifest came in time."""
    END = "end"
    """The market, the tenant or the operator ends it."""
    STOPPED = "stopped"
    """The engine has removed all of it."""


MOVES: Mapping[Phase, Mapping[Trigger, Phase]] = {
    Phase.AWARDED: {
        Trigger.MANIFEST: Phase.STARTING,
        Trigger.OVERDUE: Phase.STOPPING,
        Trigger.END: Phase.STOPPING,
    },
    Phase.STARTING: {
        Trigger.STARTED: Phase.RUNNING,
        Trigger.START_FAILED: Phase.REPAIRING,
        Trigger.START_REFUSED: Phase.STOPPING,
        Trigger.CHANGED: Phase.STARTING,
        Trigger.DIED_TOO_OFTEN: Phase.STOPPING,
        Trigger.END: Phase.STOPPING,
    },
    Phase.RUNNING: {
        Trigger.CHANGED: Phase.UPDATING,
        Trigger.DIED: Phase.REPAIRING,
        Trigger.DIED_TOO_OFTEN: Phase.STOPPING,
        Trigger.END: Phase.STOPPING,
    },
    Phase.UPDATING: {
        Trigger.STARTED: Phase.RUNNING,
        Trigger.START_FAILED: Phase.REPAIRING,
        Trigger.START_REFUSED: Phase.STOPPING,
        Trigger.CHANGED: Phase.UPDATING,
        Trigger.END: Phase.STOPPING,
    },
    Phase.REPAIRING: {
        Trigger.RETRY: Phase.STARTING,
        Trigger.CHANGED: Phase.STARTING,
        Trigger.END: Phase.STOPPING,
    },
    Phase.STOPPING: {
        Trigger.STOPPED: Phase.CLOSED,
    },
    Phase.CLOSED: {},
}

STALE: frozenset[tuple[Phase, Trigger]] = frozenset(
    {
        # A tenant's repeat of a manifest that was taken already.
        (Phase.STARTING, Trigger.MANIFEST),
        (Phase.RUNNING, Trigger.MANIFEST),
        (Phase.UPDATING, Trigger.MANIFEST),
        (Phase.REPAIRING, Trigger.MANIFEST),
        # The end was decided while the engine was still working on a start.
        (Phase.STOPPING, Trigger.STARTED),
        (Phase.STOPPING, Trigger.START_FAILED),
        (Phase.STOPPING, Trigger.START_REFUSED),
        (Phase.CLOSED, Trigger.STARTED),
        (Phase.CLOSED, Trigger.START_FAILED),
        (Phase.CLOSED, Trigger.START_REFUSED),
        # A look at the engine that was taken before the last move.
        (Phase.STARTING, Trigger.DIED),
        (Phase.UPDATING, Trigger.DIED),
        (Phase.UPDATING, Trigger.DIED_TOO_OFTEN),
        (Phase.REPAIRING, Trigger.DIED),
        (Phase.REPAIRING, Trigger.DIED_TOO_OFTEN),
        (Phase.STOPPING, Trigger.DIED),
        (Phase.STOPPING, Trigger.DIED_TOO_OFTEN),
        (Phase.CLOSED, Trigger.DIED),
        (Phase.CLOSED, Trigger.DIED_TOO_OFTEN),
        # After a crash a start is performed again, though the engine's answer was counted before.
        (Phase.RUNNING, Trigger.STARTED),
        (Phase.REPAIRING, Trigger.STARTED),
        # Two sides end it at once, or one says so twice.
        (Phase.STOPPING, Trigger.END),
        (Phase.CLOSED, Trigger.END),
        (Phase.STOPPING, Trigger.CHANGED),
        (Phase.CLOSED, Trigger.CHANGED),
        (Phase.STOPPING, Trigger.MANIFEST),
        (Phase.CLOSED, Trigger.MANIFEST),
        (Phase.CLOSED, Trigger.STOPPED),
    }
)


class IllegalMove(AssertionError):
    """A trigger that cannot happen in this phase: the state is left as it was."""

    def __init__(self, phase: Phase, trigger: Trigger) -> None:
        super().__init__(f"a lease that is {phase} cannot be moved by {trigger}")
        self.phase = phase
        self.trigger = trigger


def target(phase: Phase, trigger: Trigger) -> Phase | None:
    """The phase that ``trigger`` moves ``phase`` to, or None where it is stale. Raises ``IllegalMove``."""
    moved = MOVES[phase].get(trigger)
    if moved is None and (phase, trigger) not in STALE:
        raise IllegalMove(phase, trigger)
    return moved
