"""``ports.UsageProbe`` and ``ports.TallyBook`` without a kernel and without a file.

Simulated containers use what ``loads`` says of their service; what they used follows from how long they have
run. Made once a machine, like the engine: books outlive the agent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from provider.core.attribution import Tally
from provider.domain.ids import LeaseId
from provider.domain.moment import Instant
from provider.domain.usage import ContainerReading, ContainersRead, UsageCounter
from provider.domain.workload import Container, ContainerState
from provider.ports import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a container does, from its first moment to its last."""

    a_second: Mapping[UsageCounter, float] = field(default_factory=dict)
    """By how much each counter grows."""
    memory_bytes: int | None = None
    memory_limit_bytes: int | None = None


MODEST = Load(
    a_second={
        UsageCounter.CPU_US: 250_000,
        UsageCounter.THROTTLED_US: 10_000,
        UsageCounter.OOM_KILLS: 0,
        UsageCounter.RECEIVED_BYTES: 2_000,
        UsageCounter.SENT_BYTES: 8_000,
        UsageCounter.READ_BYTES: 4_096,
        UsageCounter.WRITTEN_BYTES: 8_192,
    },
    memory_bytes=192 * 2**20,
    memory_limit_bytes=512 * 2**20,
)


class SimulatedUsage:
    """``problem`` hides all containers, as a namespace of its own would."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._containers: dict[int, str] = {}
        self.loads: dict[str, Load] = {}
        """By service; ``MODEST`` where nothing is said."""
        self.problem: str | None = None

    async def read(self, containers: Sequence[Container]) -> ContainersRead:
        if self.problem is not None:
            return ContainersRead(problem=self.problem)
        running = [each for each in containers if each.state is ContainerState.RUNNING and each.pid]
        self._containers = {each.pid: each.id for each in running if each.pid is not None}
        return ContainersRead(readings={each.id: self._reading(each) for each in running})

    def _reading(self, container: Container) -> ContainerReading:
        load = self.loads.get(container.service, MODEST)
        ran_ms = max(self._clock.now() - (container.started_at or self._clock.now()), 0)
        return ContainerReading(
            counters={name: int(rate * ran_ms // 1000) for name, rate in load.a_second.items()},
            memory_bytes=load.memory_bytes,
            memory_limit_bytes=load.memory_limit_bytes,
        )

    def containers_of(self, pid: int) -> tuple[str, ...]:
        container = self._containers.get(pid)
        return (container,) if container is not None else ()


class MemoryTallies:
    """``ports.TallyBook`` in memory."""

    def __init__(self, *, keep_s: int = 86_400) -> None:
        self._keep_ms = keep_s * 1000
        self._tallies: dict[LeaseId, Tally] = {}
        self._closed: dict[LeaseId, Instant] = {}

    @property
    def held(self) -> int:
        """Rows, those of closed leases too."""
        return len(self._tallies)

    async def load(self) -> tuple[Tally, ...]:
        return tuple(tally for lease, tally in sorted(self._tallies.items()) if lease not in self._closed)

    async def save(self, tallies: Sequence[Tally]) -> None:
        self._tallies.update({each.lease: each for each in tallies})

    async def close_lease(self, lease: LeaseId, at: Instant) -> None:
        self._closed[lease] = at
        for old in [each for each, ended in self._closed.items() if ended < at - self._keep_ms]:
            del self._closed[old]
            self._tallies.pop(old, None)
