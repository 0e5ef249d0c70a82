"""kill -9 at every point of a life: after each commit, and after each effect whose result was not committed.

The outside (an engine, a market) remembers; the agent starts again from what the store has, looks at the
engine and performs what was not confirmed. Whatever the point, the end must be the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from provider.core.agent import transition
from provider.core.effects import AskPrice, Effect, PlaceBid, StartWorkload, StopWorkload
from provider.core.events import (
    Event,
    LeaseAwarded,
    LeaseEnded,
    ManifestArrived,
    OrderOpened,
    Performed,
    TimeReached,
    WorkloadsListed,
)
from provider.core.policy import Policy, PriceStrategy
from provider.core.state import AgentState
from provider.domain.idle import idle_id
from provider.domain.ids import EffectId, LeaseId
from provider.domain.market import Award, CloseReason
from provider.domain.moment import MINUTE, Instant
from provider.domain.workload import Launch, Workload
from provider.sim.store import MemoryStore
from tests.agents import (
    HASH,
    POLICY,
    PROVIDER,
    START,
    gpu,
    group,
    lease_of,
    manifest,
    node,
    nodes_read,
    order,
    rate,
    workload,
)
from tests.idle_jobs import idle_job


class Crash(Exception):
    """kill -9."""


@dataclass
class Outside:
    """What survives the agent."""

    at: Instant = START
    runs: dict[LeaseId, tuple[Launch, Instant, Instant | None]] = field(default_factory=dict)
    starts: int = 0
    told: dict[EffectId, Effect] = field(default_factory=dict)
    """What the market took, by key: a repeat changes nothing."""
    repeats: list[Effect] = field(default_factory=list)
    """What was told again, and differently."""

    def perform(self, effect: Effect) -> Workload | None:
        match effect:
            case StartWorkload(launch=launch):
                assert set(self.runs) <= {launch.lease}, "one card is for one of them"
                there = self.runs.get(launch.lease)
                if there is None or there[0] != launch or there[2] is not None:
                    self.starts += 1
                    self.runs[launch.lease] = (launch, self.at, None)
                return self.workload(launch.lease)
            case StopWorkload(lease=lease):
                self.runs.pop(lease, None)
            case _:
                if self.told.setdefault(effect.id, effect) != effect:
                    self.repeats.append(effect)
        return None

    def workload(self, lease: LeaseId) -> Workload:
        launch, began, ended = self.runs[lease]
        return workload(launch, started_at=began, exited_at=ended)

    def listed(self) -> WorkloadsListed:
        found = tuple(self.workload(lease) for lease in sorted(self.runs))
        return WorkloadsListed(workloads=found, as_of=self.at)


class Life:
    """An agent that dies at its ``dies_at``th point, and is started again at once."""

    def __init__(self, dies_at: int = -1, policy: Policy = POLICY) -> None:
        self.outside = Outside()
        self.store = MemoryStore(policy)
        self.points = 0
        self._dies_at = dies_at
        self._waiting: list[Effect] = []
        self.state: AgentState
        self._start()

    def _start(self) -> None:
        self.state, unfinished = self.store.load()
        self._waiting = list(unfinished)
        self._take(nodes_read(node(gpu(0))))
        self._take(self.outside.listed())

    def _point(self) -> None:
        self.points += 1
        if self.points == self._dies_at:
            raise Crash

    def _take(self, event: Event) -> None:
        step = transition(self.state, event, self.outside.at)
        self.store.commit([step])
        self.state = step.state
        self._waiting += step.effects

    def happens(self, event: Event) -> None:
        """``event`` and all that follows from it; the source repeats what was not committed."""
        try:
            self._take(event)
            self._point()
        except Crash:
            self._start()
            self._take(event)
        self._settle()

    def _settle(self) -> None:
        while self._waiting:
            try:
                effect = self._waiting.pop(0)
                runs = self.outside.perform(effect)
                self._point()
                price = PRICE if isinstance(effect, AskPrice) else None
                self._take(Performed(effect=effect, workload=runs, price=price))
                self._point()
            except Crash:
                self._start()

    def passes(self, span: int) -> None:
        self.outside.at = Instant(self.outside.at + span)
        self.happens(self.outside.listed())
        self.happens(TimeReached())

    def dies(self) -> None:
        launch, began, _ = self.outside.runs[lease_of()]
        self.outside.runs[lease_of()] = (launch, began, self.outside.at)
        self.happens(self.outside.listed())


PRICE = rate("10.5")
AWARD = Award(id=lease_of(), rate=PRICE, manifest_hash=HASH, confirm_by=Instant(START + 10_000))
OPENED = OrderOpened(order=order(), version=1)
AWARDED = LeaseAwarded(award=AWARD, version=2)
ENDED = LeaseEnded(lease=lease_of(), reason=CloseReason.TENANT_CLOSED, version=3)
SENT = ManifestArrived(lease=lease_of(), manifest=manifest(group()), manifest_hash=HASH)


def closed_by_its_tenant(life: Life) -> None:
    life.happens(OPENED)
    life.happens(AWARDED)
    life.happens(SENT)
    for _ in range(3):
        life.passes(15_000)
    life.happens(ENDED)


def repaired(life: Life) -> None:
    life.happens(OPENED)
    life.happens(AWARDED)
    life.happens(SENT)
    life.passes(15_000)
    life.dies()
    life.passes(1_000)
    life.passes(15_000)
    life.happens(ENDED)


def without_a_manifest(life: Life) -> None:
    life.happens(OPENED)
    life.happens(AWARDED)
    life.passes(5 * MINUTE)


def never_won(life: Life) -> None:
    life.happens(OPENED)
    life.passes(5 * MINUTE)


def unstable(life: Life) -> None:
    life.happens(OPENED)
    life.happens(AWARDED)
    life.happens(SENT)
    for _ in range(POLICY.deaths_most):
        life.dies()
        life.passes(5 * MINUTE)


Script = Callable[[Life], None]
LIVES: tuple[Script, ...] = (closed_by_its_tenant, repaired, without_a_manifest, never_won, unstable)


IDLING = replace(POLICY, idle=idle_job())
SCRIPTED = replace(POLICY, strategy=PriceStrategy.SCRIPT)


@pytest.mark.parametrize("policy", [POLICY, SCRIPTED], ids=["listed", "asked"])
@pytest.mark.parametrize("script", LIVES, ids=lambda script: script.__name__)
def test_the_end_is_the_same_wherever_it_was_killed(script: Script, policy: Policy) -> None:
    whole = Life(policy=policy)
    script(whole)
    assert (dict(whole.state.leases), dict(whole.state.bids), whole.outside.runs) == ({}, {}, {})
    for dies_at in range(1, whole.points + 1):
        life = Life(dies_at, policy)
        script(life)
        assert life.outside.repeats == [], dies_at
        assert life.outside.told == whole.outside.told, dies_at
        assert (life.outside.runs, life.outside.starts) == ({}, whole.outside.starts), dies_at
        assert (life.state.leases, life.state.bids) == ({}, {}), dies_at
        assert life.state.market().version == whole.state.market().version, dies_at
        assert life.store.load()[1] == (), f"{dies_at}: nothing is left to do"


@pytest.mark.parametrize("script", [closed_by_its_tenant, repaired], ids=lambda script: script.__name__)
def test_the_idle_job_has_the_card_again_wherever_it_was_killed(script: Script) -> None:
    whole = Life(policy=IDLING)
    script(whole)
    (runs,) = whole.outside.runs
    assert runs == idle_id(PROVIDER, gpu(0).uuid)
    for dies_at in range(1, whole.points + 1):
        life = Life(dies_at, IDLING)
        script(life)
        assert life.outside.told == whole.outside.told, dies_at
        assert set(life.outside.runs) == {runs}, dies_at
        assert life.store.load()[1] == (), f"{dies_at}: nothing is left to do"


def test_what_was_wanted_and_not_done_is_wanted_still_and_done_once() -> None:
    life = Life(dies_at=1)
    life.happens(OPENED)
    assert [type(effect) for effect in life.outside.told.values()] == [PlaceBid]
    assert life.points > 1
