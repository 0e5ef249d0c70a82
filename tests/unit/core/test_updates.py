"""A lease that its tenant changes while it runs: updates, and what becomes of bad ones; restarts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provider.core import metering
from provider.core.effects import (
    ReportLease,
    RestartService,
    StartWorkload,
    StopWorkload,
)
from provider.core.events import (
    LeaseUpdated,
    ManifestArrived,
    Performed,
    RestartRequested,
)
from provider.core.lease import Phase
from provider.core.step import Step, UpdateTakenBack
from provider.domain.manifest import Expose, Manifest
from provider.domain.market import CloseReason, LeaseHealth, Refusal
from provider.domain.moment import MINUTE, SECOND, Instant
from provider.domain.resources import GpuAsk
from provider.domain.workload import Dependency, ExitCause, Launch, Workload
from tests.agents import HTTP, POLICY, Agent, group, healthy, lease_of, manifest, resources, unit, workload

NEWER = "ef" * 32
TWO = group(unit(), unit(resources(2, gpus=GpuAsk())))


def changed(content: Manifest, *images: str) -> Manifest:
    """``content`` with other images: ``""`` leaves a service as it is."""
    (of,) = content.groups
    services = tuple(
        replace(service, image=image or service.image)
        for service, image in zip(of.services, images, strict=True)
    )
    return replace(content, groups=(replace(of, services=services),))


def orders(agent: Agent, hashed: str = NEWER) -> Step:
    agent.version += 1
    return agent.take(LeaseUpdated(lease=lease_of(), manifest_hash=hashed, version=agent.version))


def updates(agent: Agent, *images: str, hashed: str = NEWER) -> Step:
    """The market says that another manifest is ordered, and the tenant sends it."""
    orders(agent, hashed)
    content = changed(manifest(agent.lease().group), *images)
    return agent.take(ManifestArrived(lease=lease_of(), manifest=content, manifest_hash=hashed))


def images(launch: Launch) -> list[tuple[str, int]]:
    return [(each.service.image, each.generation) for each in launch.replicas]


def test_an_update_starts_what_changed_and_leaves_the_rest() -> None:
    agent = Agent(*healthy(0))
    agent.run(of=TWO)
    assert updates(agent, "new", "").refused is None
    assert agent.lease().phase is Phase.UPDATING
    assert images(agent.launch()) == [("new", 2), ("hello", 1)]
    assert agent.launch().generation == 2
    assert agent.last(ReportLease).health is LeaseHealth.UPDATING

    agent.done(agent.last(StartWorkload))

    lease = agent.lease()
    assert (lease.phase, lease.detail) == (Phase.RUNNING, "")
    assert lease.current is not None
    assert lease.current.manifest_hash == NEWER


def test_an_update_that_was_not_ordered_is_refused_and_a_repeat_is_fine() -> None:
    agent = Agent(*healthy(0))
    agent.run()
    content = changed(manifest(agent.lease().group), "new")
    step = agent.take(ManifestArrived(lease=lease_of(), manifest=content, manifest_hash=NEWER))
    assert step.refused is not None
    assert step.refused.why is Refusal.MANIFEST_HASH_DIFFERS
    updates(agent, "new")
    before = agent.state
    step = agent.take(ManifestArrived(lease=lease_of(), manifest=content, manifest_hash=NEWER))
    assert (step.refused, step.effects, step.state) == (None, (), before)


def test_an_update_is_billed_as_far_as_all_was_seen_running() -> None:
    agent = Agent(*healthy(0))
    old = agent.run()
    began = agent.at
    agent.later(20 * SECOND)
    updates(agent, "new")
    agent.later(10 * SECOND)
    agent.lists(workload(old, started_at=began))  # the old one serves while the new image comes
    seen = agent.at
    agent.later(30 * SECOND)
    agent.lists(Workload(lease=lease_of(), containers=()))  # replaced at this very moment
    agent.later(10 * SECOND)
    agent.done(agent.last(StartWorkload))

    meter = agent.lease().meter
    assert meter.ran_ms == seen - began
    assert metering.total_ms(meter, Instant(agent.at + 5)) == seen - began + 5


def test_an_update_that_cannot_start_is_taken_back() -> None:
    agent = Agent(*healthy(0))
    agent.run(of=TWO)
    updates(agent, "", "missing")
    step = agent.fails(agent.last(StartWorkload), final=True, reason=CloseReason.IMAGE_UNAVAILABLE)
    assert agent.kinds(step) == ["StartWorkload", "ReportLease"]
    assert images(agent.launch()) == [("hello", 1), ("hello", 1)], "containers it did not come to stay"
    assert agent.launch().generation == 3
    assert any(isinstance(note, UpdateTakenBack) for note in agent.notes)

    agent.done(agent.last(StartWorkload))

    lease = agent.lease()
    assert lease.phase is Phase.RUNNING
    assert lease.detail == "the update was taken back, what ran before runs again: it broke"
    assert lease.current is not None
    assert lease.current.manifest_hash != NEWER == lease.manifest_hash
    assert updates(agent, "", "good").refused is None, "the tenant may try again"
    assert agent.lease().update_problem == ""


def test_an_update_that_dies_young_is_taken_back_and_an_older_one_is_repaired() -> None:
    agent = Agent(*healthy(0))
    agent.run()
    updates(agent, "crashing")
    agent.done(agent.last(StartWorkload))
    agent.passes(POLICY.update_probation - 1)
    step = agent.lists(workload(agent.launch(), started_at=agent.at, exited_at=agent.at))
    assert agent.kinds(step)[0] == "StartWorkload"
    assert images(agent.launch()) == [("hello", 1)]
    agent.done(agent.last(StartWorkload))
    assert agent.lease().phase is Phase.RUNNING

    updates(agent, "good", hashed="aa" * 32)
    agent.done(agent.last(StartWorkload))
    began = agent.at
    agent.passes(POLICY.update_probation)
    agent.lists(workload(agent.launch(), started_at=began, exited_at=agent.at))
    assert agent.lease().phase is Phase.REPAIRING
    agent.later(0)
    assert images(agent.launch()) == [("good", 4)]


def test_an_engine_that_goes_down_takes_no_update_back() -> None:
    agent = Agent(*healthy(0))
    agent.run()
    updates(agent, "new")
    agent.done(agent.last(StartWorkload))
    agent.later(1000)
    down = workload(agent.launch(), started_at=agent.at, exited_at=agent.at)
    down = replace(down, containers=tuple(replace(each, cause=ExitCause.ENGINE) for each in down.containers))
    agent.lists(down)
    assert agent.lease().phase is Phase.REPAIRING
    assert (agent.lease().deaths, agent.lease().failures) == (0, 1)


def test_a_second_update_falls_back_on_what_really_ran() -> None:
    agent = Agent(*healthy(0))
    agent.run()
    updates(agent, "first")
    first = agent.last(StartWorkload)
    updates(agent, "second", hashed="aa" * 32)
    assert agent.fails(first).effects == (), "what became of the first does not matter any more"
    agent.fails(agent.last(StartWorkload))
    assert images(agent.launch()) == [("hello", 1)]


def test_an_update_that_runs_is_what_the_next_one_falls_back_on() -> None:
    agent = Agent(*healthy(0))
    agent.run()
    updates(agent, "first")
    agent.done(agent.last(StartWorkload))
    updates(agent, "second", hashed="aa" * 32)
    agent.fails(agent.last(StartWorkload))
    assert images(agent.launch()) == [("first", 2)]


def proven(agent: Agent) -> Launch:
    """An update that has run for longer than its probation, and was seen to."""
    agent.run()
    updates(agent, "new")
    launch = agent.launch()
    agent.done(agent.last(StartWorkload))
    agent.passes(POLICY.update_probation)
    agent.lists(workload(launch, started_at=agent.at))
    return launch


def test_an_update_that_has_proved_itself_is_never_taken_back() -> None:
    """Dying later, twice in short order, is a matter of repair: what ran before the update is long over."""
    agent = Agent(*healthy(0))
    launch = proven(agent)
    assert agent.lease().former is None
    for _ in range(2):
        agent.lists(workload(launch, started_at=agent.at, exited_at=agent.at))
        assert agent.lease().phase is Phase.REPAIRING
        agent.later(MINUTE)
        assert images(agent.launch()) == [("new", 2)]
        agent.done(agent.last(StartWorkload))


def test_an_update_that_dies_old_before_anybody_looked_again_is_not_taken_back() -> None:
    agent = Agent(*healthy(0))
    agent.run()
    updates(agent, "new")
    launch = agent.launch()
    agent.done(agent.last(StartWorkload))
    agent.passes(POLICY.update_probation)
    for _ in range(2):
        agent.lists(workload(launch, started_at=agent.at, exited_at=agent.at))
        agent.later(MINUTE)
        assert images(agent.launch()) == [("new", 2)]
        agent.done(agent.last(StartWorkload))


@pytest.mark.parametrize("final", [False, True])
def test_a_restart_that_fails_takes_no_update_back(final: bool) -> None:
    agent = Agent(*healthy(0))
    agent.run()
    updates(agent, "new")
    agent.done(agent.last(StartWorkload))
    agent.take(RestartRequested(lease=lease_of(), service="service1"))
    agent.fails(agent.last(RestartService), final=final)
    assert not any(isinstance(note, UpdateTakenBack) for note in agent.notes)
    assert agent.lease().manifest_hash == NEWER


def test_what_cannot_be_taken_back_is_repaired() -> None:
    """The engine is away: neither the update nor what ran before can be started now."""
    agent = Agent(*healthy(0))
    agent.run()
    updates(agent, "new")
    agent.fails(agent.last(StartWorkload))
    agent.fails(agent.last(StartWorkload))
    assert agent.lease().phase is Phase.REPAIRING
    assert agent.lease().meter.since is None
    agent.later(0)
    assert images(agent.launch()) == [("hello", 1)]


def test_a_lease_that_is_being_repaired_takes_another_manifest_at_once() -> None:
    agent = Agent(*healthy(0))
    agent.run()
    for _ in range(3):
        agent.lists(workload(agent.launch(), started_at=agent.at, exited_at=agent.at))
        if agent.lease().phase is Phase.REPAIRING and agent.lease().failures < 3:
            agent.later(MINUTE)
            agent.done(agent.last(StartWorkload))
    assert agent.lease().phase is Phase.REPAIRING
    updates(agent, "mended")
    assert agent.lease().phase is Phase.STARTING
    assert (agent.lease().deaths, agent.lease().failures, agent.lease().former) == (0, 0, None)
    assert images(agent.launch()) == [("mended", 2)]


def test_ports_stay_where_they_are() -> None:
    agent = Agent(*healthy(0))
    of = group(unit(replace(resources(), endpoints=(HTTP, HTTP))))
    agent.run(of=of)
    assert [(port.port, port.host_port) for port in agent.lease().ports] == [(80, 31000), (80, 31001)]
    content = manifest(of)
    (its,) = content.groups
    exposes = (Expose(port=3000, external_port=80, is_global=True), Expose(port=80, is_global=True))
    services = (replace(its.services[0], expose=exposes),)
    content = replace(content, groups=(replace(its, services=services),))
    orders(agent)
    step = agent.take(ManifestArrived(lease=lease_of(), manifest=content, manifest_hash=NEWER))
    assert step.refused is None
    assert [(port.port, port.host_port) for port in agent.lease().ports] == [(3000, 31001), (80, 31000)]


@pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.UPDATING])
def test_an_update_can_be_ended(phase: Phase) -> None:
    agent = Agent(*healthy(0))
    agent.run()
    updates(agent, "new")
    start = agent.last(StartWorkload)
    if phase is Phase.RUNNING:
        agent.done(start)
    agent.ends()
    assert agent.lease().phase is Phase.STOPPING
    if phase is Phase.UPDATING:
        assert agent.done(start).effects == ()
    agent.done(agent.last(StopWorkload))
    assert agent.state.leases == {}


def test_dependencies_are_taken_along_and_circles_refused() -> None:
    agent = Agent(*healthy(0))
    agent.begin(of=TWO)
    content = manifest(TWO)
    circle = (
        Dependency(service="service1", needs="service2"),
        Dependency(service="service2", needs="service1"),
    )
    sent = ManifestArrived(
        lease=lease_of(), manifest=content, manifest_hash=agent.lease().manifest_hash, dependencies=circle
    )
    step = agent.take(sent)
    assert step.refused is not None
    assert step.refused.why is Refusal.DEPENDENCIES_CIRCULAR
    strange = Dependency(service="service1", needs="nobody")
    agent.take(replace(sent, dependencies=(circle[0], strange)))
    assert agent.launch().dependencies == (circle[0],)


# --- restarts


def test_a_service_is_restarted_as_it_is() -> None:
    agent = Agent(*healthy(0))
    old = agent.run(of=TWO)
    began = agent.at
    agent.later(20 * SECOND)
    step = agent.take(RestartRequested(lease=lease_of(), service="service2"))
    assert step.refused is None
    restart = agent.last(RestartService)
    assert (restart.service, restart.generation, restart.grace_s) == ("service2", 1, POLICY.stop_grace_s)
    assert agent.lease().phase is Phase.UPDATING
    agent.take(Performed(effect=restart, workload=workload(old, started_at=began)))
    assert (agent.lease().phase, agent.lease().restarting) == (Phase.RUNNING, "")
    assert agent.lease().restarts == 0, "nothing died"


def test_restarts_that_cannot_be() -> None:
    agent = Agent(*healthy(0))

    def refusal(service: str) -> Refusal | None:
        refused = agent.take(RestartRequested(lease=lease_of(), service=service)).refused
        return refused.why if refused else None

    assert refusal("service1") is Refusal.LEASE_UNKNOWN
    agent.start()
    assert refusal("service1") is Refusal.NOT_RUNNING
    agent.done(agent.last(StartWorkload))
    assert refusal("nobody") is Refusal.SERVICE_UNKNOWN
    assert refusal("service1") is None
    agent.fails(agent.last(RestartService))
    assert agent.lease().phase is Phase.REPAIRING, "started like any other that is not there"
    agent.later(0)
    assert agent.kinds()[-2:] == ["StartWorkload", "ReportLease"]
