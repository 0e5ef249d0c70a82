"""Sampling: every two seconds, or as it is set, what leases use is read, added up, written down and kept to
be shown.

Owns when, of whom, and what is shown in between. Does not own the sums (``core.attribution``) nor the loop's
state, which it only reads: samples are no events, and nothing here waits for the loop or holds it up.

Invariant: ``usages`` is replaced as a whole, so whoever holds it sees one moment; a lease that is over is not
in it. After a crash totals go on from the last sample that was written, one period old at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import structlog

from provider.core import attribution, idling, metering
from provider.core.attribution import CardSample, CardTally, ReplicaTally, Tally
from provider.core.lease import Phase
from provider.core.state import AgentState, Lease
from provider.domain.gpu import Gpu, GpuReading
from provider.domain.ids import GpuUuid, LeaseId
from provider.domain.moment import SECOND, Instant, Span, after
from provider.domain.usage import ContainerReading, ContainersRead, GpuUsage, LeaseUsage
from provider.domain.workload import Container, Workload
from provider.ports import Clock, TallyBook, UsageProbe

log = structlog.get_logger()

EVERY = Span(2 * SECOND)
"""Unless told otherwise."""
NOT_YET = frozenset({Phase.AWARDED, Phase.CLOSED})
"""Phases in which nothing of a lease is, or ever was, on the machine."""
SLOTS_MOST = 256
"""Replicas of a lease with totals of their own, over all its updates: more than one can have at a time."""
SURE_AFTER = 3
"""Samples in a row: a container that is just ending looks like one that is out of sight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What is looked at. The functions are quick, and never reach a driver or an engine."""

    state: Callable[[], AgentState]
    readings: Callable[[], tuple[GpuReading, ...]]
    probe: UsageProbe
    book: TallyBook
    clock: Clock
    steady_s: Callable[[], float]
    """A clock that is never set, for the time between two samples."""
    disk_bytes: Callable[[LeaseId], int | None] = lambda _: None
    """As last measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moment:
    """One sample of everything."""

    at: Instant
    elapsed_s: float | None
    cards: Mapping[GpuUuid, Gpu]
    gpus: Mapping[GpuUuid, GpuReading]
    listed: Mapping[LeaseId, tuple[Container, ...]]
    """Containers of live leases, as of before they were read."""
    containers: ContainersRead


class Attribution:
    """One for a daemon. ``note_workloads`` is told whenever the engine was looked at; ``run`` goes on for
    ever."""

    def __init__(self, sources: Sources, *, every: Span = EVERY) -> None:
        self._sources = sources
        self._every = every
        self._tallies: dict[LeaseId, Tally] | None = None
        self._listed: dict[LeaseId, tuple[Container, ...]] = {}
        self._past: dict[LeaseId, dict[str, Container]] = {}
        self._idle_bytes: dict[GpuUuid, int] = {}
        self._sampled_s: float | None = None
        self._hidden_for = 0
        self.usages: Mapping[LeaseId, LeaseUsage] = {}
        """Of each lease that has begun and has not ended."""
        self.problem: str | None = None
        """Why containers cannot be read, one line; None where they can."""

    def note_workloads(self, workloads: Iterable[Workload]) -> None:
        """All that the engine has. Containers that came and went between two samples are remembered."""
        listed = {each.lease: each.containers for each in workloads}
        for lease, containers in self._listed.items():
            there = {attribution.run_of(each) for each in listed.get(lease, ())}
            for each in containers:
                if attribution.run_of(each) not in there:
                    self._past.setdefault(lease, {})[attribution.run_of(each)] = each
        self._listed = listed

    def of(self, lease: LeaseId) -> LeaseUsage | None:
        """None before it has begun, and once it has ended."""
        return self.usages.get(lease)

    def lease_of(self, pid: int) -> LeaseId | None:
        """Whose process that is; None for the machine's own, one that has gone, or a stranger's."""
        owners = {each.id: lease for lease, there in self._listed.items() for each in there}
        inside = self._sources.probe.containers_of(pid)
        return next((owners[each] for each in inside if each in owners), None)

    async def run(self) -> None:
        """For ever."""
        clock = self._sources.clock
        while True:
            await self.sample()
            await clock.sleep_until(after(clock.now(), self._every))

    async def sample(self) -> None:
        """Once, now."""
        sources = self._sources
        if self._tallies is None:
            self._tallies = {each.lease: each for each in await sources.book.load()}
        state, past = sources.state(), self._past
        self._past = {}
        live = {name: lease for name, lease in state.leases.items() if lease.phase not in NOT_YET}
        listed = {name: self._listed.get(name, ()) for name in live}
        wanted = [each for there in listed.values() for each in there]
        moment = self._moment(state, listed, await sources.probe.read(wanted))
        tallies, usages = dict(self._tallies), {}
        for name, lease in live.items():
            gone = past.get(name, {}).values()
            tally = tallies.get(name) or Tally(lease=name, at=moment.at)
            tallies[name], usages[name] = self._counted(lease, tally, gone, moment)
        self._note_idle(state, live.values(), moment)
        await self._keep(tallies, state)
        self.usages = usages

    def _moment(
        self,
        state: AgentState,
        listed: Mapping[LeaseId, tuple[Container, ...]],
        containers: ContainersRead,
    ) -> _Moment:
        steady_s = self._sources.steady_s()
        elapsed_s = None if self._sampled_s is None else steady_s - self._sampled_s
        self._sampled_s = steady_s
        self._note_problem(containers.problem)
        return _Moment(
            at=self._sources.clock.now(),
            elapsed_s=elapsed_s,
            cards={gpu.uuid: gpu for node in state.nodes for gpu in node.gpus},
            gpus={reading.uuid: reading for reading in self._sources.readings()},
            listed=listed,
            containers=containers,
        )

    def _note_problem(self, problem: str | None) -> None:
        self._hidden_for = self._hidden_for + 1 if problem is not None else 0
        sure = problem if self._hidden_for >= SURE_AFTER else None
        if sure is not None and sure != self.problem:
            log.warning("containers_not_readable", problem=sure)
        self.problem = sure

    def _counted(
        self, lease: Lease, tally: Tally, gone: Iterable[Container], moment: _Moment
    ) -> tuple[Tally, LeaseUsage]:
        cards, gpus = self._cards_counted(lease, tally, moment)
        readings = moment.containers.readings
        replicas = {(each.service, each.replica): each for each in tally.replicas}
        now: dict[tuple[str, int], ContainerReading] = {}
        # One that is gone has no reading: its id may be that of its next run.
        looks: list[tuple[Container, ContainerReading | None]] = [(each, None) for each in gone]
        looks += [(each, readings.get(each.id)) for each in moment.listed.get(lease.id, ())]
        for container, reading in looks:
            slot = (container.service, container.replica)
            before = replicas.get(slot) or ReplicaTally(service=slot[0], replica=slot[1])
            replicas[slot] = attribution.replica_counted(before, container, reading)
            if reading is not None:
                now[slot] = reading
        slots = sorted(replicas)
        if len(slots) > SLOTS_MOST:
            slots = [slot for slot in slots if slot in now]
        tally = replace(tally, at=moment.at, cards=cards, replicas=tuple(replicas[slot] for slot in slots))
        usage = LeaseUsage(
            lease=lease.id,
            at=moment.at,
            gpus=gpus,
            services=attribution.service_usages(tally, now),
            disk_bytes=self._sources.disk_bytes(lease.id),
        )
        return tally, usage

    def _cards_counted(
        self, lease: Lease, tally: Tally, moment: _Moment
    ) -> tuple[tuple[CardTally, ...], tuple[GpuUsage, ...]]:
        before = {each.uuid: each for each in tally.cards}
        allocated_s = metering.total_ms(lease.meter, moment.at) / 1000
        # What stands for the time since the last sample is of this lease only if it was there then.
        elapsed_s = moment.elapsed_s if lease.id in self.usages else None
        cards, shown = [], []
        for uuid in lease.placement.gpus:
            held = before.get(uuid) or CardTally(uuid=uuid, baseline_bytes=self._idle_bytes.get(uuid))
            sample: CardSample = attribution.card_sample(moment.cards.get(uuid), moment.gpus, uuid)
            cards.append(attribution.card_counted(held, sample, elapsed_s))
            shown.append(attribution.gpu_usage(cards[-1], sample, allocated_s))
        return tuple(cards), tuple(shown)

    def _note_idle(self, state: AgentState, live: Iterable[Lease], moment: _Moment) -> None:
        """What is in use on cards that nobody holds, not even the idle job: the next lease's baseline."""
        held = {uuid for lease in live for uuid in lease.placement.gpus}
        for uuid, reading in moment.gpus.items():
            is_idle = uuid not in held and not idling.uses(state, uuid, reading.at)
            if is_idle and reading.memory_used_bytes is not None:
                self._idle_bytes[uuid] = reading.memory_used_bytes

    async def _keep(self, tallies: dict[LeaseId, Tally], state: AgentState) -> None:
        ended = [lease for lease in tallies if lease not in state.leases]
        for lease in ended:
            del tallies[lease]
            await self._sources.book.close_lease(lease, self._sources.clock.now())
        before, self._tallies = self._tallies or {}, tallies
        changed = [tally for lease, tally in tallies.items() if not _is_same(before.get(lease), tally)]
        if changed:
            await self._sources.book.save(changed)


def _is_same(before: Tally | None, now: Tally) -> bool:
    """Nothing was used: that it was looked at again is not worth a row."""
    return before is not None and (before.cards, before.replicas) == (now.cards, now.replicas)
