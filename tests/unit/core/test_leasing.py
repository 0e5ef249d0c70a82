"""Lives of leases: what each phase wants, what moves them, what is late and changes nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provider.core.agent import transition
from provider.core.effects import EndLease, PlaceBid, ReportLease, StartWorkload, StopWorkload
from provider.core.events import Failed, LeaseEnded, Performed, RestartRequested, WorkloadsListed
from provider.core.lease import IllegalMove, Phase, Trigger
from provider.core.step import ContainerEnded, EffectGaveUp, LeaseClosed, OrphanFound
from provider.domain.market import CloseReason, LeaseHealth, Refusal
from provider.domain.moment import HOUR, MINUTE, Instant, Span
from provider.domain.workload import Workload
from tests.agents import (
    POLICY,
    Agent,
    gpu,
    group,
    healthy,
    lease_of,
    node,
    nodes_read,
    order,
    settle,
    sick,
    sole,
    unit,
    workload,
)


def test_a_whole_life() -> None:
    agent = Agent(*healthy(0))
    assert agent.kinds(agent.opens()) == ["PlaceBid"]
    assert agent.kinds(agent.awards()) == ["ConfirmLease"]
    sent = agent.sends()
    assert (sent.refused, agent.kinds(sent)) == (None, ["StartWorkload", "ReportLease"])
    (replica,) = agent.launch().replicas
    assert replica.gpus == ("GPU-0",)
    assert [port.host_port for port in replica.ports] == [31000]
    assert agent.kinds(agent.done(agent.last(StartWorkload))) == ["ReportLease"]
    assert agent.lease().phase is Phase.RUNNING
    ended = agent.ends()
    assert agent.kinds(ended) == ["StopWorkload", "ReportUsage"], "the market knows of its own end"
    closed = agent.done(agent.last(StopWorkload))
    assert sole(closed.notes, LeaseClosed) == LeaseClosed(
        lease=lease_of(),
        reason=CloseReason.TENANT_CLOSED,
        ran_ms=0,
        earned=sole(closed.notes, LeaseClosed).earned,
    )
    assert agent.state.leases == {}


@pytest.mark.parametrize("phase", [Phase.AWARDED, Phase.STARTING, Phase.RUNNING, Phase.REPAIRING])
def test_the_market_ends_a_lease_in_any_phase(phase: Phase) -> None:
    agent = in_phase(phase)
    agent.ends(reason=CloseReason.FUNDS_EXHAUSTED)
    assert agent.lease().phase is Phase.STOPPING
    assert agent.ends(reason=CloseReason.TENANT_CLOSED).effects == (), "the first reason stays"
    assert agent.lease().reason is CloseReason.FUNDS_EXHAUSTED
    agent.done(agent.last(StopWorkload))
    assert agent.state.leases == {}
    assert agent.done(agent.last(StopWorkload)).effects == (), "a second removal is nobody's"


def in_phase(phase: Phase) -> Agent:
    agent = Agent(*healthy(0, 1))
    match phase:
        case Phase.AWARDED:
            agent.begin()
        case Phase.STARTING:
            agent.start()
        case Phase.RUNNING:
            agent.run()
        case Phase.UPDATING:
            agent.run()
            agent.take(RestartRequested(lease=lease_of(), service="service1"))
        case Phase.REPAIRING:
            agent.fails(agent.start())
        case Phase.STOPPING:
            agent.run()
            agent.ends()
        case Phase.CLOSED:
            agent.run()
            agent.ends()
            agent.done(agent.last(StopWorkload))
    return agent


@pytest.mark.parametrize("phase", Phase)
def test_a_repeated_award_is_confirmed_once(phase: Phase) -> None:
    """A market that was away asks for the word again; it must not be told that the bid is gone."""
    agent = in_phase(phase)
    step = agent.awards()
    assert agent.kinds(step) == (["RefuseLease"] if phase is Phase.CLOSED else [])
    assert (lease_of() in step.state.leases) == (phase is not Phase.CLOSED)


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.RUNNING, Phase.UPDATING, Phase.REPAIRING])
def test_a_repeated_manifest_is_fine(phase: Phase) -> None:
    agent = in_phase(phase)
    before = agent.state
    step = agent.sends()
    assert (step.refused, step.effects, step.state) == (None, (), before)


def test_manifests_that_are_not_what_was_ordered() -> None:
    agent = Agent(*healthy(0))
    assert refusal(agent.sends()) is Refusal.LEASE_UNKNOWN
    agent.begin()
    assert refusal(agent.sends(hashed="cd" * 32)) is Refusal.MANIFEST_HASH_DIFFERS
    assert refusal(agent.sends(of=replace(group(), name="other"))) is Refusal.MANIFEST_GROUP_MISSING
    assert refusal(agent.sends(of=group(unit(count=2)))) is Refusal.MANIFEST_RESOURCES_DIFFER
    assert agent.lease().phase is Phase.AWARDED, "the right one may still come"
    agent.sends()
    agent.ends()
    assert refusal(agent.sends()) is Refusal.MANIFEST_NOT_AWAITED


def refusal(step: object) -> Refusal | None:
    refused = getattr(step, "refused", None)
    return refused.why if refused else None


def test_a_manifest_that_never_comes_ends_the_lease() -> None:
    agent = Agent(*healthy(0))
    agent.begin()
    assert agent.later(5 * MINUTE - 1).effects == ()
    step = agent.later(1)
    assert agent.kinds(step) == ["StopWorkload", "EndLease", "ReportUsage"]
    assert agent.lease().reason is CloseReason.MANIFEST_TIMEOUT


def test_starts_that_fail_wait_twice_as_long_each_time_and_never_end_the_lease() -> None:
    agent = Agent(*healthy(0))
    agent.start()
    for wait in [0, 10, 20, 40, 80, 160, 300, 300]:
        agent.fails(agent.last(StartWorkload))
        assert agent.lease().phase is Phase.REPAIRING
        assert agent.lease().due == agent.at + wait * 1000
        if wait:
            assert agent.later(wait * 1000 - 1).effects == ()
            agent.passes(1)
        assert agent.kinds(agent.later(0)) == ["StartWorkload", "ReportLease"]
    agent.done(agent.last(StartWorkload))
    assert agent.lease().phase is Phase.RUNNING


@pytest.mark.parametrize(("asked", "waits"), [(500, 500), (30_000, 30_000), (HOUR, 5 * MINUTE)])
def test_a_failed_start_waits_for_as_long_as_it_was_asked_to(asked: int, waits: int) -> None:
    agent = Agent(*healthy(0))
    start = agent.start()
    agent.take(Failed(effect=start, what="the registry is busy", is_final=False, retry_after=Span(asked)))
    assert agent.lease().due == agent.at + waits


@pytest.mark.parametrize("reason", [None, CloseReason.IMAGE_UNAVAILABLE])
def test_a_start_that_can_never_succeed_ends_the_lease(reason: CloseReason | None) -> None:
    agent = Agent(*healthy(0))
    step = agent.fails(agent.start(), final=True, reason=reason)
    assert agent.kinds(step) == ["StopWorkload", "EndLease", "ReportUsage"]
    assert agent.lease().reason is (reason or CloseReason.WORKLOAD_REFUSED)
    assert agent.lease().detail == "it broke"


def test_a_start_whose_containers_are_gone_again_is_tried_again() -> None:
    """An engine that answers with nothing of ours must not leave the lease waiting for ever."""
    agent = Agent(*healthy(0))
    start = agent.start()
    agent.take(Performed(effect=start, workload=Workload(lease=lease_of(), containers=())))
    assert agent.lease().phase is Phase.REPAIRING
    assert agent.kinds(agent.later(1000)) == ["StartWorkload", "ReportLease"]


@pytest.mark.parametrize("final", [True, False])
def test_a_start_that_was_overtaken_by_the_end_changes_nothing(final: bool) -> None:
    agent = Agent(*healthy(0))
    start = agent.start()
    agent.ends()
    assert agent.fails(start, final=final).effects == ()
    assert agent.lease().reason is CloseReason.TENANT_CLOSED
    assert agent.lease().phase is Phase.STOPPING


def test_a_start_that_was_done_after_the_end_changes_nothing() -> None:
    agent = Agent(*healthy(0))
    start = agent.start()
    agent.ends()
    assert agent.done(start).effects == ()
    assert agent.lease().meter.since is None


def test_a_death_is_repaired_with_its_reason_told() -> None:
    agent = Agent(*healthy(0))
    launch = agent.run()
    began = agent.at
    agent.later(1000)
    step = agent.lists(workload(launch, started_at=began, exited_at=agent.at))
    (report,) = step.effects
    assert isinstance(report, ReportLease)
    assert (report.health, report.detail) == (LeaseHealth.REPAIRING, "service1/0 exited with status 1")
    assert agent.lease().restarts == 1


def test_many_deaths_in_a_row_end_a_lease_as_its_own_doing() -> None:
    agent = Agent(*healthy(0))
    agent.run()
    for death in range(1, POLICY.deaths_most + 1):
        assert agent.lease().phase is Phase.RUNNING
        agent.later(1000)
        agent.lists(workload(agent.launch(), started_at=agent.at, exited_at=agent.at))
        assert agent.lease().deaths == death
        if death < POLICY.deaths_most:
            agent.later(5 * MINUTE)
            agent.done(agent.last(StartWorkload))
    assert agent.lease().reason is CloseReason.WORKLOAD_UNSTABLE
    assert isinstance(agent.last(EndLease), EndLease)


def test_a_long_run_forgives_earlier_deaths() -> None:
    agent = Agent(*healthy(0))
    agent.run()
    for _ in range(20):
        began = agent.at
        agent.later(10 * MINUTE)
        agent.lists(workload(agent.launch(), started_at=began, exited_at=agent.at))
        assert agent.lease().deaths == 1
        agent.later(1000)
        agent.done(agent.last(StartWorkload))
    assert agent.lease().phase is Phase.RUNNING


def test_a_look_older_than_the_start_kills_nothing() -> None:
    agent = Agent(*healthy(0))
    launch = agent.run()
    assert agent.lists(as_of=Instant(agent.at - 1)).effects == ()
    assert agent.lists(workload(launch, started_at=agent.at, missing=1)).effects != ()


@pytest.mark.parametrize("phase", [Phase.AWARDED, Phase.STARTING, Phase.REPAIRING, Phase.STOPPING])
def test_nothing_is_missed_in_a_lease_that_is_not_to_run(phase: Phase) -> None:
    agent = in_phase(phase)
    agent.passes(1)
    assert agent.lists().effects == ()
    assert agent.lease().phase is phase


def test_what_nobody_ordered_is_removed_once() -> None:
    agent = Agent(*healthy(0))
    stranger = Workload(lease=lease_of(9), containers=())
    step = agent.lists(stranger)
    assert sole(step.notes, OrphanFound) == OrphanFound(lease=lease_of(9))
    stop = agent.last(StopWorkload)
    assert agent.lists(stranger).effects == (), "it is on its way out"
    agent.done(stop)
    agent.passes(1)
    assert agent.kinds(agent.lists(stranger)) == ["StopWorkload"], "it is back"


def test_a_gpu_that_fails_ends_its_lease_and_no_other() -> None:
    agent = Agent(*healthy(0, 1))
    agent.run(1)
    agent.run(2)
    step = agent.take(nodes_read(node(gpu(0), sick(1))))
    assert agent.kinds(step) == ["StopWorkload", "EndLease", "ReportUsage"]
    assert agent.lease(1).phase is Phase.RUNNING
    assert agent.lease(2).reason is CloseReason.GPU_FAILED
    assert agent.lease(2).detail == "GPU-1: XID 79"


def test_gpus_that_cannot_be_seen_end_nothing() -> None:
    agent = Agent(*healthy(0))
    agent.run()
    assert agent.take(nodes_read(node())).effects == ()
    assert agent.take(nodes_read()).effects == ()
    assert agent.lease().phase is Phase.RUNNING


def test_effects_that_were_refused_for_good_are_told_and_forgotten() -> None:
    agent = Agent(*healthy(0))
    agent.run()
    settle(agent, PlaceBid)
    for effect in list(agent.open.values()):
        step = agent.fails(effect, final=True)
        assert sole(step.notes, EffectGaveUp).what == "it broke"
    assert agent.open == {}
    assert agent.lease().phase is Phase.RUNNING


def test_an_illegal_move_leaves_the_state_as_it_was() -> None:
    agent = Agent(*healthy(0))
    start = agent.start()
    agent.done(start)
    before = agent.state
    with pytest.raises(IllegalMove) as caught:
        transition(agent.state, Failed(effect=start, what="no", is_final=True), agent.at)
    assert (caught.value.phase, caught.value.trigger) == (Phase.RUNNING, Trigger.START_REFUSED)
    assert agent.state is before


def test_events_of_the_market_count_once() -> None:
    agent = Agent(*healthy(0))
    agent.run()
    old = LeaseEnded(lease=lease_of(), reason=CloseReason.TENANT_CLOSED, version=agent.version)
    step = agent.take(old)
    assert (step.effects, step.state) == ((), agent.state)
    assert agent.lease().phase is Phase.RUNNING


def test_events_about_strangers_change_nothing() -> None:
    agent = Agent(*healthy(0))
    agent.run()
    settle(agent, ReportLease)
    leases = agent.state.leases
    agent.ends(7)
    agent.closes(7)
    agent.take(WorkloadsListed(workloads=(workload(agent.launch(), started_at=agent.at),), as_of=agent.at))
    assert agent.state.leases == leases
    assert order(7).id not in agent.state.orders


def test_what_ends_before_its_start_is_answered_is_a_death_like_any_other() -> None:
    """A command that fails at once must not be started for ever."""
    agent = Agent(*healthy(0))
    agent.start()
    for death in range(1, POLICY.deaths_most + 1):
        assert agent.lease().phase is Phase.STARTING
        start = agent.last(StartWorkload)
        ended = workload(start.launch, started_at=agent.at, exited_at=agent.at)
        agent.take(Performed(effect=start, workload=ended))
        assert agent.lease().deaths == death
        if death < POLICY.deaths_most:
            assert agent.lease().phase is Phase.REPAIRING
            agent.later(5 * MINUTE)
    assert agent.lease().reason is CloseReason.WORKLOAD_UNSTABLE
    assert sum(isinstance(note, ContainerEnded) for note in agent.notes) == POLICY.deaths_most
