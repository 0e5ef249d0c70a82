"""A container engine as plain state: what it was told to run, since when, and what really ran for how long.

The world's counterpart of ``sim.engine``, without tasks: the world turns its clock and lets its containers
end. Invariant: ``ran_ms`` is the truth that bills are held against.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from provider.domain.errors import ImageUnavailable, Permanent, Temporary
from provider.domain.ids import GpuUuid, LeaseId
from provider.domain.moment import Instant
from provider.domain.workload import Container, ContainerState, ExitCause, Launch, Workload

MISSING_IMAGE = "missing"
REFUSED_IMAGE = "refused"
"""Images by name: one that is not there, one that the engine can never run; every other runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """One lease's containers; they begin and end together."""

    launch: Launch
    since: Instant
    ended_at: Instant | None = None

    def workload(self) -> Workload:
        state = ContainerState.RUNNING if self.ended_at is None else ContainerState.EXITED
        return Workload(
            lease=self.launch.lease,
            containers=tuple(
                Container(
                    service=each.service.name,
                    replica=each.replica,
                    state=state,
                    id=f"{self.launch.lease.key}-{each.service.name}-{each.replica}",
                    generation=each.generation,
                    exit_code=None if self.ended_at is None else 1,
                    cause=None if self.ended_at is None else ExitCause.OWN,
                    started_at=self.since,
                    finished_at=self.ended_at,
                )
                for each in self.launch.replicas
            ),
        )

    @property
    def gpus(self) -> frozenset[GpuUuid]:
        return frozenset(uuid for replica in self.launch.replicas for uuid in replica.gpus)


@dataclass(slots=True)
class WorldEngine:
    """Survives its agent. Every method takes the machine's own time."""

    is_away: bool = False
    leases: dict[LeaseId, Running] = field(default_factory=dict)
    ended_ms: dict[LeaseId, int] = field(default_factory=dict)
    """How long each lease ran in runs that are over."""

    def start(self, launch: Launch, at: Instant) -> Workload:
        self._check()
        there = self.leases.get(launch.lease)
        if there is None or there.launch != launch or there.ended_at is not None:
            images = {replica.service.image for replica in launch.replicas}
            if MISSING_IMAGE in images:
                raise ImageUnavailable("there is no such image")
            if REFUSED_IMAGE in images:
                raise Permanent("the engine cannot run it")
            self.end(launch.lease, at)
            self.leases[launch.lease] = Running(launch=launch, since=at)
        return self.leases[launch.lease].workload()

    def restart(self, lease: LeaseId, at: Instant) -> Workload:
        self._check()
        if lease not in self.leases:
            raise Temporary("its containers are gone")
        self.end(lease, at)
        self.leases[lease] = replace(self.leases[lease], since=at, ended_at=None)
        return self.leases[lease].workload()

    def stop(self, lease: LeaseId, at: Instant) -> None:
        self._check()
        self.vanish(lease, at)

    def list(self) -> tuple[Workload, ...]:
        self._check()
        return tuple(self.leases[lease].workload() for lease in sorted(self.leases))

    def end(self, lease: LeaseId, at: Instant) -> None:
        """Its containers end and stay. Fine when they have."""
        there = self.leases.get(lease)
        if there is not None and there.ended_at is None:
            self.ended_ms[lease] = self.ended_ms.get(lease, 0) + at - there.since
            self.leases[lease] = replace(there, ended_at=at)

    def vanish(self, lease: LeaseId, at: Instant) -> None:
        """They end and are gone. Fine when they are."""
        self.end(lease, at)
        self.leases.pop(lease, None)

    def ran_ms(self, lease: LeaseId, at: Instant) -> int:
        """In all, up to ``at``."""
        there = self.leases.get(lease)
        now = at - there.since if there is not None and there.ended_at is None else 0
        return self.ended_ms.get(lease, 0) + now

    def _check(self) -> None:
        if self.is_away:
            raise Temporary("the engine is away")
