"""A container engine without containers: what survives the agent in a simulated world.

Faults are data: ``images`` scripts what an image does when it is started, ``is_away`` takes the engine
away, ``kill`` ends a container, ``forget`` removes a lease behind the agent's back. Time is only the
clock's. ``sim.runtime`` is the port on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from provider.domain.errors import ProviderError, Temporary
from provider.domain.ids import LeaseId
from provider.domain.moment import Instant, Span, after
from provider.domain.workload import Container, ContainerState, ExitCause, LogLine, ReplicaLaunch
from provider.ports import Clock
from provider.sim.script import Timeline

KEPT_LEASES = 100
PIDS_FROM = 2**22
"""Above what Linux gives: nobody takes one for a process of this machine."""
Key = tuple[str, int]
"""A service's name and the number of the replica."""


@dataclass(slots=True, kw_only=True)
class ImageScript:
    """What happens when containers of an image are started. A failure comes before anything is changed."""

    failure: ProviderError | None = None
    """Raised instead: ``ImageUnavailable``, ``Temporary`` for a registry that is away, ``Permanent``."""
    failures: int | None = None
    """How often; None for always. Counts down."""
    takes: Span = Span(0)
    """The pull and the start together."""
    size_bytes: int = 0
    """That a pull transfers."""
    runs: Timeline | None = None
    """In place of what its command says."""


@dataclass(slots=True, kw_only=True)
class SimContainer:
    """A container: what it was asked to be, and when it began and ended."""

    id: str
    number: int
    """Of all that were ever started: lines of one millisecond have times of their own too."""
    replica: ReplicaLaunch
    runs: Timeline
    started_at: Instant
    killed_at: Instant | None = None
    killed_code: int = 137
    oom_killed: bool = False

    @property
    def ends_at(self) -> Instant | None:
        by_itself = None if self.runs.ends_after is None else after(self.started_at, self.runs.ends_after)
        ends = [each for each in (by_itself, self.killed_at) if each is not None]
        return min(ends, default=None)

    def described(self, now: Instant) -> Container:
        ends_at = self.ends_at
        has_ended = ends_at is not None and ends_at <= now
        by_itself = ends_at != self.killed_at
        return Container(
            service=self.replica.service.name,
            replica=self.replica.replica,
            state=ContainerState.EXITED if has_ended else ContainerState.RUNNING,
            id=self.id,
            generation=self.replica.generation,
            exit_code=(self.runs.exit_code if by_itself else self.killed_code) if has_ended else None,
            cause=(ExitCause.OOM if self.oom_killed else ExitCause.OWN) if has_ended else None,
            pid=None if has_ended else PIDS_FROM + self.number,
            started_at=self.started_at,
            finished_at=ends_at if has_ended else None,
        )

    def lines(self, now: Instant) -> list[LogLine]:
        until = min(each for each in (now, self.ends_at) if each is not None)
        return [
            LogLine(
                service=self.replica.service.name,
                replica=self.replica.replica,
                at_ns=after(self.started_at, line.after) * 1_000_000 + self.number % 900 * 1_000 + number,
                is_stderr=line.is_stderr,
                text=line.text,
            )
            for number, line in enumerate(self.runs.lines)
            if after(self.started_at, line.after) <= until
        ]


@dataclass(slots=True)
class SimulatedEngine:
    """All that a machine's engine holds, over any number of agents' lives."""

    clock: Clock
    images: dict[str, ImageScript] = field(default_factory=dict)
    is_away: bool = False
    leases: dict[LeaseId, dict[Key, SimContainer]] = field(default_factory=dict)
    """A lease without containers still has its network."""
    kept: dict[LeaseId, list[LogLine]] = field(default_factory=dict)
    """What containers wrote before they were removed or started again; the last ``KEPT_LEASES``."""
    files: dict[LeaseId, dict[tuple[Key, str], bytes]] = field(default_factory=dict)
    """What was copied into containers, by path."""
    starts: int = 0
    """Containers ever started: what a double start would show in."""
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def check(self) -> None:
        if self.is_away:
            raise Temporary("the engine is away", remedy="docker info")

    def keep(self, lease: LeaseId, containers: Iterable[SimContainer]) -> None:
        """Note what ``containers`` wrote, before they go."""
        lines = [line for each in containers for line in each.lines(self.clock.now())]
        if lines:
            self.kept[lease] = [*self.kept.pop(lease, ()), *lines]
            while len(self.kept) > KEPT_LEASES:
                del self.kept[next(iter(self.kept))]

    async def notify(self) -> None:
        """Tell everyone who waits for a hint, or for a line of a log."""
        async with self.changed:
            self.changed.notify_all()

    async def kill(self, lease: LeaseId, service: str, *, replica: int = 0, oom: bool = False) -> None:
        """End a container from outside, as ``docker kill`` or the kernel would."""
        container = self.leases[lease][service, replica]
        container.killed_at, container.oom_killed = self.clock.now(), oom
        await self.notify()
