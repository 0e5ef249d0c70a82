"""What a lease has used so far: samples in, totals out. Pure, and not what is billed (``metering`` is).

Owns how counters that begin again are added up, how utilization becomes time and power becomes energy.
Does not own when samples are taken, nor where totals are kept (``shell.attributing``, ``ports.TallyBook``).

Invariant: no total ever falls, whatever comes: counters that begin again, cards that do not answer, clocks
that are set, an agent that was away. What happened while nobody looked is counted where a counter of the
kernel or the driver tells, and left out where only a moment's figure would have to stand for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite

from provider.domain.gpu import Gpu, GpuReading
from provider.domain.ids import GpuUuid, LeaseId
from provider.domain.moment import Instant
from provider.domain.usage import ContainerReading, GpuUsage, ServiceUsage, UsageCounter
from provider.domain.workload import Container, ExitCause

LONGEST_S = 10.0
"""Longer than this no moment's utilization or power stands for: five samples at the default period."""
MIG_SLICES = 7
"""Compute slices of a card (NVIDIA's MIG guide): A100 to B200 have seven."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardTally:
    """One card's part of a lease's totals."""

    uuid: GpuUuid
    baseline_bytes: int | None = None
    """In use just before the lease started; None where nobody looked."""
    busy_s: float | None = None
    energy_joules: float | None = None
    energy_mark: float | None = None
    """What the driver's counter said last; None where it has never told."""
    is_estimated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaTally:
    """One replica's part, over all containers that it has been."""

    service: str
    replica: int
    run: str = ""
    """Which start of which container was counted last; its counters are ``marks``."""
    former: str = ""
    """The one before, of which nothing is counted any more, whoever still reports it."""
    restarts: int = 0
    marks: Mapping[UsageCounter, int] = field(default_factory=dict)
    totals: Mapping[UsageCounter, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """One lease's totals, as they are kept."""

    lease: LeaseId
    at: Instant
    """Of the last sample."""
    cards: tuple[CardTally, ...] = ()
    replicas: tuple[ReplicaTally, ...] = ()
    """By service and number. Those that an update took away keep their totals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardSample:
    """What a card's moment tells of a lease."""

    utilization_ratio: float | None = None
    power_watts: float | None = None
    energy_joules: float | None = None
    memory_used_bytes: int | None = None
    is_estimated: bool = False


def card_sample(gpu: Gpu | None, readings: Mapping[GpuUuid, GpuReading], uuid: GpuUuid) -> CardSample:
    """Of ``uuid``; a MIG instance gets its share, by slices, of what its card draws."""
    own = readings.get(uuid)
    busy = None
    if own is not None:
        busy = own.utilization_ratio if own.utilization_ratio is not None else own.sm_active_ratio
    memory = own.memory_used_bytes if own is not None else None
    if gpu is None or gpu.mig is None:
        power = own.power_watts if own is not None else None
        energy = own.energy_joules if own is not None else None
        return CardSample(
            utilization_ratio=busy, power_watts=power, energy_joules=energy, memory_used_bytes=memory
        )
    card, slices = readings.get(gpu.mig.parent), gpu.mig.slices
    share = min(slices, MIG_SLICES) / MIG_SLICES if slices is not None else None
    return CardSample(
        utilization_ratio=busy,
        power_watts=_part(card.power_watts if card else None, share),
        energy_joules=_part(card.energy_joules if card else None, share),
        memory_used_bytes=memory,
        is_estimated=True,
    )


def _part(whole: float | None, share: float | None) -> float | None:
    return whole * share if whole is not None and share is not None else None


def card_counted(tally: CardTally, sample: CardSample, elapsed_s: float | None) -> CardTally:
    """One sample later. ``elapsed_s`` since the one before, by a clock that is not set; None for the first
    that this agent takes. Energy is the driver's counter where the card has ever told one, else power over
    time; never both for the same time."""
    stands_s = elapsed_s if elapsed_s is not None and 0 <= elapsed_s <= LONGEST_S else 0.0
    busy, energy, mark = tally.busy_s, tally.energy_joules, tally.energy_mark
    if _is_told(sample.utilization_ratio):
        busy = (busy or 0.0) + min(sample.utilization_ratio or 0.0, 1.0) * stands_s
    if _is_told(sample.energy_joules):
        told = sample.energy_joules or 0.0
        energy = (energy or 0.0) + (_grown(told, mark) if mark is not None else 0.0)
        mark = told
    elif mark is None and _is_told(sample.power_watts):
        energy = (energy or 0.0) + (sample.power_watts or 0.0) * stands_s
    return replace(
        tally,
        busy_s=busy,
        energy_joules=energy,
        energy_mark=mark,
        is_estimated=tally.is_estimated or sample.is_estimated,
    )


def _is_told(figure: float | None) -> bool:
    """Neither absent nor nonsense."""
    return figure is not None and isfinite(figure) and figure >= 0


def _grown(now: float, before: float) -> float:
    """By how much a counter went up that may have begun again from nothing."""
    return now - before if now >= before else now


def run_of(container: Container) -> str:
    """Names one start of one container: its counters begin with it."""
    return f"{container.id}@{container.started_at or 0}"


def replica_counted(
    tally: ReplicaTally, container: Container, reading: ContainerReading | None
) -> ReplicaTally:
    """One look later. ``reading`` is None where the container could not be read, or has ended.

    A container that ended for want of memory took its own count of that with it: it counts as one at least.
    """
    run = run_of(container)
    if container.started_at is None or run == tally.former:
        return tally
    if run != tally.run:
        restarts = tally.restarts + bool(tally.run)
        tally = replace(tally, run=run, former=tally.run, restarts=restarts, marks={})
    told = dict(reading.counters) if reading is not None else {}
    if container.cause is ExitCause.OOM:
        told[UsageCounter.OOM_KILLS] = max(tally.marks.get(UsageCounter.OOM_KILLS, 0), 1)
    if not told:
        return tally
    marks, totals = dict(tally.marks), dict(tally.totals)
    for counter, now in told.items():
        # Within one run a kernel's counter begins again for nobody: where one falls, it is read otherwise.
        grown = now - marks.get(counter, 0)
        totals[counter] = totals.get(counter, 0) + max(grown, 0)
        marks[counter] = max(now, 0)
    return replace(tally, marks=marks, totals=totals)


def gpu_usage(tally: CardTally, sample: CardSample, allocated_s: float) -> GpuUsage:
    """As it is shown."""
    memory = sample.memory_used_bytes
    return GpuUsage(
        uuid=tally.uuid,
        utilization_ratio=sample.utilization_ratio,
        busy_s=tally.busy_s,
        memory_bytes=None if memory is None else max(memory - (tally.baseline_bytes or 0), 0),
        power_watts=sample.power_watts,
        energy_joules=tally.energy_joules,
        is_energy_estimated=tally.is_estimated,
        allocated_s=allocated_s,
    )


def service_usages(tally: Tally, now: Mapping[tuple[str, int], ContainerReading]) -> tuple[ServiceUsage, ...]:
    """As they are shown, replicas of a service together; ``now`` are the readings of those that run."""
    services: dict[str, list[ReplicaTally]] = {}
    for each in tally.replicas:
        services.setdefault(each.service, []).append(each)
    return tuple(_together(services[name], now) for name in sorted(services))


def _together(
    replicas: Sequence[ReplicaTally], now: Mapping[tuple[str, int], ContainerReading]
) -> ServiceUsage:
    counters: dict[UsageCounter, int] = {}
    memory: int | None = None
    limit: int | None = None
    for each in replicas:
        for counter, total in each.totals.items():
            counters[counter] = counters.get(counter, 0) + total
        reading = now.get((each.service, each.replica))
        if reading is not None:
            memory = _sum(memory, reading.memory_bytes)
            limit = _sum(limit, reading.memory_limit_bytes)
    return ServiceUsage(
        service=replicas[0].service,
        counters=counters,
        memory_bytes=memory,
        memory_limit_bytes=limit,
        restarts=sum(each.restarts for each in replicas),
    )


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else one + other
