"""The GPUs of one machine in a simulated world: they die, fall sick, get well, report errors, are looked at.

Owns what the driver would tell; judging it is the real table's, in a hurry. Cards are the machine's and
outlive the agent; what is remembered between looks (``CardWatch``) is one life's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from provider.core import idling
from provider.core.events import GpuFaultSeen, GpuSignalsChanged
from provider.core.gpu_records import holders, record_of
from provider.core.health import HealthSettings, judge, table
from provider.core.health_looks import CardWatch, Look
from provider.core.state import AgentState
from provider.domain.gpu import Gpu, GpuFault, GpuHealth, GpuInventory, GpuLink, GpuLinkKind, GpuReading
from provider.domain.idle import idle_id
from provider.domain.ids import GpuUuid, LeaseId, ProviderId
from provider.domain.moment import SECOND, Instant, Span
from provider.domain.resources import GIB

LOOK_EVERY = Span(4 * SECOND)
ROWS = table(HealthSettings(hold=Span(15 * SECOND), check_within=Span(10 * SECOND)))


class WorldCards:
    """``count`` cards of ``provider``."""

    def __init__(self, provider: ProviderId, count: int) -> None:
        self.gpus = tuple(_gpu(provider, number) for number in range(count))
        self._sick: set[GpuUuid] = set()

    def inventory(self) -> GpuInventory:
        return GpuInventory(gpus=self.gpus, links=_pairs(self.gpus))

    # --- what happens

    def judge_as(self, number: int, health: GpuHealth) -> GpuUuid:
        """The probe finds a card dead, or answering again."""
        gpu = self._card(number)
        changed = replace(gpu, health=health, problem=None if health is GpuHealth.HEALTHY else "XID 79")
        self.gpus = tuple(changed if each.uuid == gpu.uuid else each for each in self.gpus)
        return gpu.uuid

    def sicken(self, number: int) -> GpuUuid:
        """Something degrades a card; its readings show it."""
        uuid = self._card(number).uuid
        self._sick.add(uuid)
        return uuid

    def mend(self, uuid: GpuUuid) -> None:
        self._sick.discard(uuid)

    def heal(self) -> None:
        """Whatever was wrong is not any more."""
        self._sick.clear()
        self.gpus = tuple(replace(gpu, health=GpuHealth.HEALTHY, problem=None) for gpu in self.gpus)

    def fault(self, number: int, xid: int, at: Instant) -> GpuFaultSeen:
        """The driver reports an error."""
        return GpuFaultSeen(fault=GpuFault(uuid=self._card(number).uuid, xid=xid, at=at))

    def _card(self, number: int) -> Gpu:
        return self.gpus[number % len(self.gpus)]

    # --- what is seen

    def look(
        self,
        state: AgentState,
        at: Instant,
        watches: dict[GpuUuid, CardWatch],
        running: Mapping[LeaseId, Iterable[GpuUuid]],
    ) -> list[GpuSignalsChanged]:
        """At every card, as ``shell.health_watch`` does. ``running``: what the engine has, on which cards."""
        news = []
        for gpu in self.gpus:
            is_held = bool(holders(state, gpu.uuid))
            on_it = sorted(lease for lease, gpus in running.items() if gpu.uuid in gpus)
            idle = idle_id(state.policy.provider, gpu.uuid)
            look = Look(
                uuid=gpu.uuid,
                at=at,
                record=record_of(state, gpu.uuid),
                gpu=gpu,
                reading=self._reading(gpu, at, is_busy=bool(on_it)),
                is_held=is_held,
                strangers=() if is_held else tuple(str(lease) for lease in on_it if lease != idle),
                has_idle_job=idling.uses(state, gpu.uuid, at),
            )
            judged = judge(watches.get(gpu.uuid, CardWatch()), look, ROWS)
            watches[gpu.uuid] = judged.watch
            told = judged.news(gpu.uuid)
            if told is not None:
                news.append(told)
        return news

    def _reading(self, gpu: Gpu, at: Instant, *, is_busy: bool) -> GpuReading | None:
        if gpu.health is GpuHealth.UNHEALTHY:
            return None
        return GpuReading(
            uuid=gpu.uuid,
            at=at,
            utilization_ratio=0.9 if is_busy else 0.0,
            memory_used_bytes=20 * GIB if is_busy else 0,
            is_remap_pending=gpu.uuid in self._sick,
            ecc_uncorrected=0,
        )


def _pairs(gpus: tuple[Gpu, ...]) -> tuple[GpuLink, ...]:
    """Each even card is bridged to the next."""
    pairs = zip(gpus[::2], gpus[1::2], strict=False)
    return tuple(
        GpuLink(first=one.uuid, second=other.uuid, kind=GpuLinkKind.NVLINK, lanes=12) for one, other in pairs
    )


def _gpu(provider: ProviderId, number: int) -> Gpu:
    return Gpu(
        uuid=GpuUuid(f"GPU-{provider}-{number}"), index=number, name="NVIDIA H100 80GB HBM3", model="h100"
    )
