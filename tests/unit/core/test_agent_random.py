"""An agent under any sequence of events, late, doubled or misplaced. ``tests.agents`` checks every step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from provider.core.agent import next_due
from provider.core.effects import EndLease, RestartService, StartWorkload, StopWorkload
from provider.core.events import (
    DrainSet,
    Failed,
    LeaseUpdated,
    ManifestArrived,
    OperatorCloses,
    Performed,
    PolicyChanged,
    RestartRequested,
    TimeReached,
)
from provider.core.lease import Phase
from provider.core.state import Lease
from provider.domain.gpu import GpuHealth
from provider.domain.idle import IdlePhase, IdleRun
from provider.domain.ids import LeaseId
from provider.domain.manifest import Manifest
from provider.domain.market import CloseReason
from provider.domain.moment import HOUR, Instant
from provider.domain.workload import Launch, Workload
from provider.sim.store import MemoryStore
from tests.agents import (
    POLICY,
    Agent,
    ask,
    check_held_once,
    gpu,
    group,
    lease_of,
    manifest,
    node,
    nodes_read,
    rate,
    resources,
    unit,
    workload,
)
from tests.idle_jobs import idle_job

numbers = st.integers(1, 4)
GROUPS = (
    group(),
    group(unit(count=2)),
    group(unit(resources(1)), unit(resources(2, gpus=ask(2)))),
    group(unit(price="0.1")),
)


def with_image(content: Manifest, image: str) -> Manifest:
    (of,) = content.groups
    services = tuple(replace(service, image=image) for service in of.services)
    return replace(content, groups=(replace(of, services=services),))


class AgentMachine(RuleBasedStateMachine):
    """The world is whatever the rules say; only results answer effects that were really wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.agent = Agent(policy=POLICY)
        self.store = MemoryStore(POLICY)
        self.engine: dict[LeaseId, tuple[Launch, Instant, Instant | None]] = {}
        """What runs: since when, and when it ended."""
        self.ended: set[LeaseId] = set()

    @initialize(cards=st.integers(0, 3))
    def begin(self, cards: int) -> None:
        self.take(nodes_read(node(*(gpu(number) for number in range(cards)))))

    def take(self, event: Any) -> None:
        step = self.agent.take(event)
        self.store.commit([step])
        self.ended |= {each.lease for each in step.effects if isinstance(each, EndLease)}

    @rule(number=numbers, of=st.sampled_from(GROUPS))
    def an_order_opens(self, number: int, of: Any) -> None:
        self.store.commit([self.agent.opens(number, of)])

    @rule(number=numbers)
    def an_order_closes(self, number: int) -> None:
        self.store.commit([self.agent.closes(number)])

    @rule(number=numbers, other=st.booleans())
    def an_award_comes(self, number: int, other: bool) -> None:
        self.store.commit([self.agent.awards(number, price=rate("7") if other else None)])

    @rule(number=numbers, reason=st.sampled_from(CloseReason))
    def the_market_ends_it(self, number: int, reason: CloseReason) -> None:
        self.store.commit([self.agent.ends(number, reason)])

    @rule(number=numbers, right=st.booleans())
    def a_manifest_comes(self, number: int, right: bool) -> None:
        self.store.commit([self.agent.sends(number, hashed="ab" * 32 if right else "cd" * 32)])

    @rule(number=numbers, image=st.sampled_from("xyz"), sent=st.booleans())
    def the_tenant_updates(self, number: int, image: str, sent: bool) -> None:
        hashed = (image.encode().hex() * 32)[:64]
        self.agent.version += 1
        updated = LeaseUpdated(lease=lease_of(number), manifest_hash=hashed, version=self.agent.version)
        self.take(updated)
        lease = self.agent.state.leases.get(lease_of(number))
        if sent and lease is not None:
            content = with_image(manifest(lease.group), image)
            self.take(ManifestArrived(lease=lease.id, manifest=content, manifest_hash=hashed))

    @rule(number=numbers, service=st.sampled_from(["service1", "service2"]))
    def a_restart_is_asked_for(self, number: int, service: str) -> None:
        self.take(RestartRequested(lease=lease_of(number), service=service))

    @rule(number=numbers, notice=st.sampled_from([0, 5_000, HOUR]))
    def the_operator_takes_it_back(self, number: int, notice: int) -> None:
        ends_at = Instant(self.agent.at + notice)
        self.take(OperatorCloses(lease=lease_of(number), ends_at=ends_at))

    @rule(is_draining=st.booleans())
    def the_operator_drains(self, is_draining: bool) -> None:
        self.take(DrainSet(is_draining=is_draining))

    @rule(image=st.sampled_from(["folding", "mining", ""]))
    def the_idle_job_is_another(self, image: str) -> None:
        idle = idle_job(image) if image else None
        self.take(PolicyChanged(policy=replace(self.agent.state.policy, idle=idle)))

    @rule(cards=st.lists(st.sampled_from(GpuHealth), max_size=4))
    def the_machine_changes(self, cards: list[GpuHealth]) -> None:
        self.take(nodes_read(node(*(gpu(index, health=health) for index, health in enumerate(cards)))))

    @rule(span=st.sampled_from([0, 1, 999, 5_000, 15_000, 60_000, 600_000, HOUR]))
    def time_passes(self, span: int) -> None:
        self.agent.passes(span)
        self.take(TimeReached())

    @rule()
    def the_core_is_woken_when_it_asked_to_be(self) -> None:
        due = next_due(self.agent.state)
        if due is not None:
            self.agent.passes(max(due - self.agent.at, 0))
            self.take(TimeReached())

    @precondition(lambda self: self.agent.open)
    @rule(data=st.data(), outcome=st.sampled_from(["done", "done", "done", "failed", "refused"]))
    def an_effect_has_its_result(self, data: st.DataObject, outcome: str) -> None:
        effect = data.draw(st.sampled_from([self.first(lane) for lane in self.lanes()]))
        if outcome != "done" and not isinstance(
            effect, StopWorkload
        ):  # removals are tried until they succeed
            self.take(Failed(effect=effect, what="it broke", is_final=outcome == "refused"))
            return
        runs = None
        if isinstance(effect, StartWorkload):
            self.check_cards_are_free(effect.launch)
            there = self.engine.get(effect.launch.lease)
            if there is None or there[2] is not None or there[0] != effect.launch:
                self.engine[effect.launch.lease] = (effect.launch, self.agent.at, None)
            runs = self.workload(effect.launch.lease)
        elif isinstance(effect, RestartService):
            if effect.lease not in self.engine:
                self.take(Failed(effect=effect, what="its containers are gone", is_final=False))
                return
            self.engine[effect.lease] = (self.engine[effect.lease][0], self.agent.at, None)
            runs = self.workload(effect.lease)
        elif isinstance(effect, StopWorkload):
            self.engine.pop(effect.lease, None)
        self.take(Performed(effect=effect, workload=runs))

    def check_cards_are_free(self, launch: Launch) -> None:
        """Whether a lease's or the idle job's: nothing else is there on the cards of what is started."""
        wanted = {uuid for replica in launch.replicas for uuid in replica.gpus}
        for lease, (other, _, _) in self.engine.items():
            there = {uuid for replica in other.replicas for uuid in replica.gpus}
            assert lease == launch.lease or not wanted & there, f"{launch.lease} beside {lease}"

    def lanes(self) -> list[str]:
        return sorted({effect.lane for effect in self.agent.open.values()})

    def first(self, lane: str) -> Any:
        return next(effect for effect in self.agent.open.values() if effect.lane == lane)

    def workload(self, lease: LeaseId) -> Workload:
        launch, began, ended = self.engine[lease]
        return workload(launch, started_at=began, exited_at=ended)

    @precondition(lambda self: self.engine)
    @rule(data=st.data(), vanishes=st.booleans())
    def something_dies(self, data: st.DataObject, vanishes: bool) -> None:
        lease = data.draw(st.sampled_from(sorted(self.engine)))
        launch, began, ended = self.engine[lease]
        if vanishes:
            del self.engine[lease]
        elif ended is None:
            self.engine[lease] = (launch, began, self.agent.at)

    @rule(stranger=st.booleans(), late=st.booleans())
    def the_engine_is_listed(self, stranger: bool, late: bool) -> None:
        self.agent.passes(1)
        listed = [self.workload(lease) for lease in sorted(self.engine)]
        if stranger:
            listed.append(Workload(lease=lease_of(99), containers=()))
        as_of = self.agent.at
        if late:
            self.agent.passes(1)
        self.store.commit([self.agent.lists(*listed, as_of=as_of)])

    @rule()
    def it_crashes(self) -> None:
        """All that is not committed is gone; what was wanted and has no result is wanted still."""
        state, unfinished = self.store.load()
        assert {effect.id: effect for effect in unfinished} == self.agent.open
        assert (state.bids, state.leases, state.market().version) == (
            self.agent.state.bids,
            self.agent.state.leases,
            self.agent.state.market().version,
        )
        assert list(state.orders.items()) == list(self.agent.state.orders.items())
        assert state.idle == self.agent.state.idle
        self.agent.state = replace(state, policy=self.agent.state.policy)

    @invariant()
    def every_lease_has_somebody_who_moves_it(self) -> None:
        """No phase waits for nothing: a result, an instant, a look at the engine or a tenant is to come."""
        check_held_once(self.agent.state)
        for lease in self.agent.state.leases.values():
            assert self.is_moved_by_something(lease), f"{lease.phase} for ever"
        for run in self.agent.state.idle.values():
            assert self.is_idle_moved(run), f"the idle job is {run.phase} for ever"

    def is_idle_moved(self, run: IdleRun) -> bool:
        match run.phase:
            case IdlePhase.STARTING | IdlePhase.STOPPING:
                return run.effect in self.agent.open
            case IdlePhase.WAITING:
                return run.due is not None
            case IdlePhase.RUNNING | IdlePhase.OFF:
                return run.effect is None

    def is_moved_by_something(self, lease: Lease) -> bool:
        wanted = [effect for effect in self.agent.open.values() if effect.lane == f"{lease.id} engine"]
        match lease.phase:
            case Phase.AWARDED | Phase.REPAIRING:
                return lease.due is not None
            case Phase.STARTING if lease.is_held_up:
                mine = [run for uuid, run in self.agent.state.idle.items() if uuid in lease.placement.gpus]
                return any(run.phase is IdlePhase.STOPPING for run in mine)
            case Phase.STARTING:
                return any(isinstance(effect, StartWorkload) for effect in wanted)
            case Phase.UPDATING:
                return any(isinstance(effect, StartWorkload | RestartService) for effect in wanted)
            case Phase.RUNNING:
                return lease.meter.report_at is not None
            case Phase.STOPPING:
                return any(isinstance(effect, StopWorkload) for effect in wanted)
            case Phase.CLOSED:
                return False

    def teardown(self) -> None:
        """Once everything works again, every lease that is ended is over, and nothing is held for it."""
        self.the_idle_job_is_another("")
        for lease in list(self.agent.state.leases.values()):
            self.the_market_ends_it(lease.id.dseq, CloseReason.TENANT_CLOSED)
        while self.agent.open:
            effect = next(iter(self.agent.open.values()))
            if isinstance(effect, RestartService):
                self.take(Failed(effect=effect, what="its lease is over", is_final=False))
                continue
            runs = None
            if isinstance(effect, StartWorkload):
                runs = workload(effect.launch, started_at=self.agent.at)
            self.take(Performed(effect=effect, workload=runs))
        assert self.agent.state.leases == {}
        assert not any(run.is_on for run in self.agent.state.idle.values())
        assert self.agent.state.orphans == frozenset()


TestAgent = AgentMachine.TestCase
TestAgent.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
