"""The operator's idle job: on cards that nobody rents, off them before a lease starts, never in a loop."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provider.core.agent import next_due
from provider.core.effects import Effect, ReportLease, StartWorkload, StopWorkload
from provider.core.events import (
    DrainSet,
    Failed,
    GpuCordoned,
    GpuFaultSeen,
    GpuUncordoned,
    Performed,
    PolicyChanged,
)
from provider.core.lease import Phase
from provider.core.policy import Policy
from provider.core.step import GpuFaulted, OrphanFound, Step
from provider.domain.gpu import GpuFault, MigSlice
from provider.domain.gpu_health import GpuSignal
from provider.domain.idle import IdlePhase, IdleRun, idle_id
from provider.domain.ids import GpuUuid, LeaseId
from provider.domain.moment import MINUTE, SECOND, Span
from provider.domain.resources import MIB
from provider.domain.workload import Launch, Workload
from provider.sim.store import MemoryStore
from tests.agents import (
    POLICY,
    PROVIDER,
    Agent,
    ask,
    gpu,
    group,
    healthy,
    lease_of,
    node,
    nodes_read,
    resources,
    settle,
    sick,
    unit,
    workload,
)
from tests.cards import Card
from tests.idle_jobs import idle_job

IDLING = replace(POLICY, idle=idle_job())
FIRST, SECOND_CARD = GpuUuid("GPU-0"), GpuUuid("GPU-1")


def idle_of(uuid: GpuUuid = FIRST) -> LeaseId:
    return idle_id(PROVIDER, uuid)


def run_of(agent: Agent, uuid: GpuUuid = FIRST) -> IdleRun:
    return agent.state.idle[uuid]


def idling_agent(*numbers: int, policy: Policy = IDLING) -> Agent:
    """On whose cards the job runs."""
    agent = Agent(*healthy(*(numbers or (0,))), policy=policy)
    settle(agent, StartWorkload)
    return agent


def starts(agent: Agent, of: LeaseId) -> list[StartWorkload]:
    return [
        each for each in agent.open.values() if isinstance(each, StartWorkload) and each.launch.lease == of
    ]


def stops(agent: Agent, of: LeaseId) -> list[StopWorkload]:
    return [each for each in agent.open.values() if isinstance(each, StopWorkload) and each.lease == of]


def test_nobody_outside_can_name_what_it_goes_by() -> None:
    name = str(idle_of())
    assert LeaseId.parse(name, may_be_idle=True) == idle_of()
    assert LeaseId.parse(str(lease_of()), may_be_idle=True) == lease_of()
    with pytest.raises(ValueError, match="is not a market's name"):
        LeaseId.parse(name)
    assert idle_of() != idle_of(SECOND_CARD)
    assert idle_of().is_idle
    assert not lease_of().is_idle


# --- where it runs


def test_it_runs_on_every_card_that_could_be_sold_one_container_a_card() -> None:
    agent = Agent(gpu(0), gpu(1), sick(2), policy=IDLING)
    wanted = [effect for effect in agent.wanted if isinstance(effect, StartWorkload)]
    assert [effect.launch.lease for effect in wanted] == [idle_of(), idle_of(SECOND_CARD)]
    (replica,) = wanted[0].launch.replicas
    assert (replica.gpus, replica.ports, replica.service.image) == ((FIRST,), (), "folding")
    settle(agent, StartWorkload)
    assert {uuid: run.phase for uuid, run in agent.state.idle.items()} == {
        FIRST: IdlePhase.RUNNING,
        SECOND_CARD: IdlePhase.RUNNING,
    }


def test_it_is_only_on_cards_that_it_asks_for() -> None:
    agent = Agent(gpu(0, "a100"), gpu(1), policy=replace(IDLING, idle=idle_job(model="a100")))
    assert set(agent.state.idle) == {FIRST}


def test_its_cards_cpu_and_memory_are_for_sale_as_if_nothing_ran() -> None:
    agent = idling_agent()
    agent.opens(1, group(unit(resources(cpu_millis=16_000))))
    assert agent.state.bids[lease_of()].placement.gpus == (FIRST,)
    assert run_of(agent).phase is IdlePhase.RUNNING, "a bid is no lease"


@pytest.mark.parametrize("model", [None, "h100"])
def test_a_cordoned_card_has_none_until_it_is_sold_again(model: str | None) -> None:
    agent = idling_agent(policy=replace(IDLING, idle=idle_job(model=model)))
    agent.take(GpuCordoned(gpu=FIRST))
    assert run_of(agent).phase is IdlePhase.STOPPING
    agent.take(GpuUncordoned(gpu=FIRST))
    assert run_of(agent).phase is IdlePhase.STOPPING, "what is being removed is removed first"
    settle(agent, StopWorkload)
    assert run_of(agent).phase is IdlePhase.STARTING


def test_it_goes_when_the_operator_drains_or_takes_it_out_of_the_configuration() -> None:
    agent = idling_agent()
    agent.take(DrainSet(is_draining=True))
    settle(agent, StopWorkload)
    assert run_of(agent).phase is IdlePhase.OFF
    agent.take(DrainSet(is_draining=False))
    settle(agent, StartWorkload)
    agent.take(PolicyChanged(policy=replace(IDLING, idle=None)))
    assert [effect.grace_s for effect in stops(agent, idle_of())] == [10]
    settle(agent, StopWorkload)
    assert run_of(agent).phase is IdlePhase.OFF
    agent.take(PolicyChanged(policy=IDLING))
    settle(agent, StartWorkload)  # under ids of their own: ``Agent`` looks at that


def test_another_job_replaces_it_and_another_grace_does_not() -> None:
    agent = idling_agent()
    agent.take(PolicyChanged(policy=replace(IDLING, idle=idle_job(grace_s=30))))
    assert agent.open == {}
    agent.take(PolicyChanged(policy=replace(IDLING, idle=idle_job("mining"))))
    (start,) = starts(agent, idle_of())
    assert start.launch.replicas[0].service.image == "mining"
    assert start.launch.generation != idle_job().generation


# --- it yields


def test_it_is_gone_before_the_lease_that_won_its_card_starts() -> None:
    agent = idling_agent(0, 1)
    agent.begin()
    assert [effect.grace_s for effect in stops(agent, idle_of())] == [10], "asked to end as the bid wins"
    assert run_of(agent, SECOND_CARD).phase is IdlePhase.RUNNING, "other cards are none of the lease's"
    agent.sends()
    assert agent.lease().phase is Phase.STARTING
    assert starts(agent, lease_of()) == [], "its containers wait until the card is free"
    assert agent.last(ReportLease).detail == "the provider's own job is leaving its GPUs"
    settle(agent, StopWorkload)
    assert [effect.launch.lease for effect in starts(agent, lease_of())] == [lease_of()]
    settle(agent, StartWorkload)
    assert agent.lease().phase is Phase.RUNNING


def test_a_lease_whose_card_is_free_by_then_waits_for_nothing() -> None:
    agent = idling_agent()
    agent.begin()
    settle(agent, StopWorkload)
    agent.sends()
    assert len(starts(agent, lease_of())) == 1


def test_a_lease_of_several_cards_waits_for_all_of_them() -> None:
    agent = idling_agent(0, 1)
    agent.begin(1, group(unit(resources(gpus=ask(2)), price=1000)))
    agent.sends()
    first, second = stops(agent, idle_of()), stops(agent, idle_of(SECOND_CARD))
    agent.done(first[0])
    assert starts(agent, lease_of()) == []
    agent.done(second[0])
    assert len(starts(agent, lease_of())) == 1


def test_a_lease_that_ends_while_it_waits_never_starts() -> None:
    agent = idling_agent()
    agent.begin()
    agent.sends()
    agent.ends()
    settle(agent, StopWorkload)
    assert agent.state.leases == {}
    assert starts(agent, lease_of()) == []
    assert run_of(agent).phase is IdlePhase.STARTING, "and the job comes back"


def test_one_that_is_still_being_started_yields_too() -> None:
    agent = Agent(gpu(0), policy=IDLING)
    (start,) = starts(agent, idle_of())
    agent.begin()
    agent.sends()
    agent.take(Performed(effect=start, workload=workload(start.launch, started_at=agent.at)))
    assert run_of(agent).phase is IdlePhase.STOPPING, "that it started after all says nothing new"
    settle(agent, StopWorkload)
    assert len(starts(agent, lease_of())) == 1


def test_it_comes_back_once_the_card_was_looked_at_after_the_lease() -> None:
    card = Card(policy=replace(IDLING, checks_gpus=True))
    agent = card.agent
    settle(agent, StartWorkload)
    agent.begin()
    settle(agent, StopWorkload)
    agent.sends()
    settle(agent, StartWorkload)
    agent.ends()
    settle(agent, StopWorkload)
    assert run_of(agent).phase is IdlePhase.OFF, "nobody has looked yet what the lease left"
    agent.passes(SECOND)
    card.look(memory_used_bytes=0)
    assert run_of(agent).phase is IdlePhase.STARTING


# --- the card's health


def test_what_it_uses_is_no_trace_of_anybody_else_and_no_measure_of_an_idle_card() -> None:
    card = Card(policy=replace(IDLING, idle=None))
    card.look(memory_used_bytes=300 * MIB)
    card.agent.take(PolicyChanged(policy=IDLING))
    settle(card.agent, StartWorkload)
    card.looks_for(10 * MINUTE, memory_used_bytes=40_000 * MIB, utilization_ratio=1.0, strangers=())
    assert card.signals == set()
    card.looks_for(10 * MINUTE, memory_used_bytes=20 * MIB, strangers=())
    assert card.watch.idle_bytes == 300 * MIB
    card.agent.take(DrainSet(is_draining=True))
    settle(card.agent, StopWorkload)
    card.looks_for(2 * MINUTE, memory_used_bytes=40_000 * MIB, strangers=())
    assert card.signals == {GpuSignal.NOT_CLEAN}, "what it left behind is somebody's"


def test_a_process_beside_it_that_is_nobodys_is_still_found() -> None:
    card = Card(policy=IDLING)
    settle(card.agent, StartWorkload)
    card.looks_for(MINUTE, strangers=("process 42",))
    assert card.signals == {GpuSignal.FOREIGN_PROCESS}
    assert run_of(card.agent).phase is IdlePhase.STOPPING, "and a card that is not well has no idle job"


def test_on_an_instance_it_is_no_trace_of_anybody_on_the_card_either() -> None:
    whole = replace(gpu(0), is_mig_on=True)
    slice_ = MigSlice(parent=FIRST, profile="1g.10gb", gpu_instance=1, compute_instance=0)
    card = Card(whole, replace(gpu(1), mig=slice_))
    card.look(memory_used_bytes=300 * MIB)
    card.agent.take(PolicyChanged(policy=IDLING))
    assert set(card.agent.state.idle) == {SECOND_CARD}, "a card that is cut is not sold whole"
    settle(card.agent, StartWorkload)
    card.looks_for(10 * MINUTE, memory_used_bytes=40_000 * MIB, strangers=())
    assert card.signals == set()
    card.agent.take(DrainSet(is_draining=True))
    step = card.fails(45)
    assert not [note for note in step.notes if isinstance(note, GpuFaulted)]


def test_what_the_driver_says_of_its_end_is_our_own_doing() -> None:
    agent = idling_agent()
    agent.begin()
    fault = GpuFault(uuid=FIRST, xid=45, at=agent.at)
    step = agent.take(GpuFaultSeen(fault=fault))
    assert not [note for note in step.notes if isinstance(note, GpuFaulted)]


# --- it fails


def ends(agent: Agent, launch: Launch, ran: int) -> None:
    """It exits by itself after ``ran`` milliseconds, and a look at the engine finds that."""
    began = agent.at
    agent.passes(ran)
    agent.lists(workload(launch, started_at=began, exited_at=agent.at))


def test_one_that_keeps_ending_is_started_later_and_later() -> None:
    agent = idling_agent()
    waits = []
    for _ in range(7):
        ends(agent, agent.launch(), SECOND)
        assert run_of(agent).phase is IdlePhase.WAITING
        assert "exited with status 1" in run_of(agent).problem
        due = next_due(agent.state)
        assert due is not None
        waits.append((due - agent.at) // SECOND)
        agent.later(due - agent.at)
        settle(agent, StartWorkload)
    assert waits == [10, 20, 40, 80, 160, 300, 300]
    ends(agent, agent.launch(), 11 * MINUTE)
    assert run_of(agent).failures == 1, "a long run forgives"


@pytest.mark.parametrize("is_final", [False, True])
def test_one_that_cannot_be_started_is_tried_on_and_nobody_else_hears_of_it(is_final: bool) -> None:
    agent = Agent(*healthy(0), policy=IDLING)
    for wait in (10, 20, 40):
        (start,) = starts(agent, idle_of())
        agent.take(Failed(effect=start, what="no such image", is_final=is_final))
        assert run_of(agent).problem == "no such image"
        assert (run_of(agent).due or 0) - agent.at == wait * SECOND
        agent.later(wait * SECOND)
    agent.opens()
    assert lease_of() in agent.state.bids


def test_a_registry_that_asks_for_patience_gets_it() -> None:
    agent = Agent(*healthy(0), policy=IDLING)
    (start,) = starts(agent, idle_of())
    agent.take(Failed(effect=start, what="too many", is_final=False, retry_after=Span(MINUTE)))
    assert (run_of(agent).due or 0) - agent.at == MINUTE


def test_how_long_it_ran_is_kept_over_ends_and_leases() -> None:
    agent = idling_agent()
    agent.passes(MINUTE)
    assert run_of(agent).total_ms(agent.at) == MINUTE
    agent.begin()
    settle(agent, StopWorkload)
    agent.passes(MINUTE)
    assert run_of(agent).total_ms(agent.at) == MINUTE
    agent.ends()
    settle(agent, StopWorkload)
    settle(agent, StartWorkload)
    agent.passes(SECOND)
    assert run_of(agent).total_ms(agent.at) == MINUTE + SECOND


# --- crashes


def again(agent: Agent) -> tuple[Effect, ...]:
    """kill -9 and a start: what the store held, and what it had still to do."""
    store = MemoryStore(agent.state.policy)
    store.commit([Step(state=agent.state, effects=tuple(agent.open.values()))])
    agent.state, unfinished = store.load()
    return unfinished


def test_after_a_crash_it_is_taken_up_where_it_runs() -> None:
    agent = idling_agent()
    launch = agent.launch()
    assert again(agent) == ()
    agent.passes(1)
    agent.lists(workload(launch, started_at=agent.at))
    assert agent.open == {}, "nothing is known of cards yet, and it is in nobody's way"
    agent.take(nodes_read(node(gpu(0))))
    agent.lists(workload(launch, started_at=agent.at))
    assert run_of(agent).phase is IdlePhase.RUNNING
    assert agent.open == {}


def test_an_award_right_after_a_crash_finds_it() -> None:
    agent = idling_agent()
    agent.opens()
    again(agent)
    agent.awards()
    assert len(stops(agent, idle_of())) == 1
    agent.sends()
    assert starts(agent, lease_of()) == []
    settle(agent, StopWorkload)
    assert len(starts(agent, lease_of())) == 1


def test_one_that_the_reboot_took_is_started_again() -> None:
    agent = idling_agent()
    launch, ended = agent.launch(), agent.at
    again(agent)
    agent.passes(MINUTE)
    agent.take(nodes_read(node(gpu(0))))
    agent.lists(workload(launch, started_at=ended, exited_at=ended))
    assert run_of(agent).phase is IdlePhase.WAITING
    assert run_of(agent).ran_ms == 0, "it is not counted on while the machine was off"
    agent.later(10 * SECOND)
    assert len(starts(agent, idle_of())) == 1


def test_a_container_of_it_that_nothing_is_known_of_is_removed() -> None:
    """A store that was put back from a copy; a card that was taken out of the machine."""
    agent = Agent(gpu(0))
    gone = idle_of(GpuUuid("GPU-9"))
    found = [Workload(lease=each, containers=()) for each in (idle_of(), gone)]
    step = agent.lists(*found)
    assert [note.lease for note in step.notes if isinstance(note, OrphanFound)] == [gone]
    assert {effect.lease for effect in step.effects if isinstance(effect, StopWorkload)} == {idle_of(), gone}
    assert agent.lists(*found).effects == ()
    settle(agent, StopWorkload)
    assert (run_of(agent).is_on, agent.state.orphans) == (False, frozenset())
