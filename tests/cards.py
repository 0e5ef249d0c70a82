"""A GPU in a test's hand: looked at when a test says so, judged by the real table, held by a real agent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from provider.core import idling
from provider.core.effects import StartWorkload
from provider.core.events import GpuFaultSeen
from provider.core.gpu_records import holders, record_of
from provider.core.health import HealthSettings, Judgement, judge, table
from provider.core.health_looks import CardWatch, Look
from provider.core.health_row import Row
from provider.core.lease import Phase
from provider.core.policy import Policy
from provider.core.step import Step
from provider.domain.gpu import Gpu, GpuFault, GpuHealth, GpuReading
from provider.domain.gpu_health import GpuRecord, GpuSignal
from provider.domain.ids import GpuUuid, LeaseId
from provider.domain.moment import SECOND
from tests.agents import POLICY, Agent, ask, gpu, group, healthy, node, nodes_read, resources, settle, unit

ROWS = table(HealthSettings())
EVERY = 5 * SECOND
"""Between two looks."""
CAREFUL = replace(POLICY, checks_gpus=True)


class Card:
    """The first GPU of an agent of its own."""

    def __init__(self, *gpus: Gpu, policy: Policy = POLICY, rows: Sequence[Row] = ROWS) -> None:
        self.gpus = gpus or (gpu(0),)
        self.agent = Agent(*self.gpus, policy=policy)
        self.uuid: GpuUuid = self.gpus[0].uuid
        self.watch = CardWatch()
        self.rows = rows

    @property
    def record(self) -> GpuRecord:
        return record_of(self.agent.state, self.uuid)

    @property
    def signals(self) -> set[GpuSignal]:
        return {each.signal for each in self.record.active}

    def now(self) -> GpuHealth:
        """As decisions see it."""
        (card,) = [gpu for node in self.agent.state.nodes for gpu in node.gpus if gpu.uuid == self.uuid]
        return card.health

    def look(
        self,
        *,
        strangers: tuple[str, ...] | None = (),
        is_told: bool = True,
        is_unlisted: bool | None = None,
        **facts: Any,
    ) -> Judgement:
        """One look: ``facts`` are the reading's; what is news goes to the agent."""
        at = self.agent.at
        cards = [gpu for node in self.agent.state.nodes_as_read for gpu in node.gpus]
        look = Look(
            uuid=self.uuid,
            at=at,
            record=self.record,
            gpu=next((gpu for gpu in cards if gpu.uuid == self.uuid), None),
            reading=GpuReading(uuid=self.uuid, at=at, **facts) if is_told else None,
            is_held=bool(holders(self.agent.state, self.uuid)),
            strangers=strangers,
            has_idle_job=idling.uses(self.agent.state, self.uuid, at),
            is_unlisted=is_unlisted,
        )
        judged = judge(self.watch, look, self.rows)
        self.watch = judged.watch
        news = judged.news(self.uuid)
        if news is not None:
            self.agent.take(news)
        return judged

    def looks_for(self, span: int, **facts: Any) -> None:
        """Every ``EVERY`` for ``span``, the last at its end."""
        until = self.agent.at + span
        while self.agent.at < until:
            self.agent.passes(min(EVERY, until - self.agent.at))
            self.look(**facts)

    def fails(
        self, xid: int, *, lease: LeaseId | None = None, count: int = 1, instance: int | None = None
    ) -> Step:
        """The driver reports an Xid."""
        fault = GpuFault(uuid=self.uuid, xid=xid, at=self.agent.at, gpu_instance=instance)
        return self.agent.take(GpuFaultSeen(fault=fault, lease=lease, count=count))

    def becomes(self, **facts: Any) -> Step:
        """The inventory is read again, and this card is so."""
        self.gpus = tuple(replace(each, **facts) if each.uuid == self.uuid else each for each in self.gpus)
        return self.agent.take(nodes_read(node(*self.gpus)))


def running(*numbers: int, **kinds: int) -> Card:
    """A card whose agent runs lease 1 on it."""
    card = Card(*(healthy(*(numbers or (0,)))), policy=CAREFUL)
    run(card.agent, **kinds)
    return card


def run(agent: Agent, *, units: int = 1) -> None:
    agent.opens(1, group(unit(resources(gpus=ask(units)), price=1000)))
    agent.awards()
    agent.sends()
    settle(agent, StartWorkload)
    assert agent.lease().phase is Phase.RUNNING
