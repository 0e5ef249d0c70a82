"""The operator's own job on cards that nobody rents: what it is, and what is known of it on each card.

Values only. When it runs and when it yields is ``core.idling``'s. On the engine it is a workload like a
lease's, under a name that no market can give: ``idle_id``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from provider.domain.ids import IDLE_OWNER, EffectId, GpuUuid, LeaseId, ProviderId
from provider.domain.manifest import Service
from provider.domain.moment import Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleJob:
    """What runs on each card that is free: one container with that card and no other."""

    service: Service
    """Its ask for a GPU says which cards it is for."""
    generation: int
    """Follows from what it runs: a container of another one is replaced."""
    grace_s: int = 10
    """Between asking it to end and ending it."""


class IdlePhase(StrEnum):
    STARTING = "starting"
    """The engine pulls, creates, starts."""
    RUNNING = "running"
    WAITING = "waiting"
    """It ended, or could not start; another start is due."""
    STOPPING = "stopping"
    """It is asked to end and removed."""
    OFF = "off"
    """Nothing of it is on the engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleRun:
    """The job on one card."""

    id: LeaseId
    phase: IdlePhase
    since: Instant
    """In this phase."""
    generation: int = 0
    """Of what was started last."""
    effect: EffectId | None = None
    """Whose result is awaited."""
    issued: int = 0
    """Effects so far: part of their ids."""
    failures: int = 0
    """Ends and failed starts in a row; a long run sets it back."""
    due: Instant | None = None
    """While it waits: when it is started again."""
    problem: str = ""
    """Why it waits, one line."""
    ran_ms: int = 0
    """In runs that are over."""

    @property
    def is_on(self) -> bool:
        """Whether something of it is on the engine, or may be."""
        return self.phase is not IdlePhase.OFF

    def total_ms(self, at: Instant) -> int:
        """How long it has run on this card in all."""
        return self.ran_ms + (max(at - self.since, 0) if self.phase is IdlePhase.RUNNING else 0)


def idle_id(provider: ProviderId, gpu: GpuUuid) -> LeaseId:
    """Under which the engine has it: of the card alone, so that it is found again after a crash."""
    digest = hashlib.sha256(gpu.encode()).digest()
    dseq = int.from_bytes(digest[:6]) + 1
    return LeaseId(owner=IDLE_OWNER, dseq=dseq, gseq=1, oseq=1, provider=provider)
