"""What the rest of a lease does while a part of it ended, and how its operator ends it: notice, drain."""

from __future__ import annotations

from dataclasses import replace

from provider.core.effects import (
    EndLease,
    ReportLease,
    WithdrawBid,
)
from provider.core.events import (
    DrainSet,
    OperatorCloses,
)
from provider.core.lease import Phase
from provider.core.step import ContainerEnded, NoticeGiven
from provider.domain.market import CloseReason, LeaseHealth
from provider.domain.moment import MINUTE, SECOND, Instant
from provider.domain.resources import GpuAsk
from provider.domain.workload import ContainerState, ExitCause
from tests.agents import Agent, group, healthy, lease_of, resources, unit, workload

TWO = group(unit(), unit(resources(2, gpus=GpuAsk())))


def test_a_lease_of_which_some_runs_is_degraded() -> None:
    agent = Agent(*healthy(0))
    launch = agent.run(of=TWO)
    listed = workload(launch, started_at=agent.at)
    dead = replace(listed.containers[1], state=ContainerState.EXITED, cause=ExitCause.OOM, exit_code=137)
    agent.lists(replace(listed, containers=(listed.containers[0], dead)))
    assert agent.last(ReportLease).health is LeaseHealth.DEGRADED
    assert agent.last(ReportLease).detail == "service2/0 ran out of memory"
    (ended,) = (note for note in agent.notes if isinstance(note, ContainerEnded))
    assert (ended.service, ended.cause) == ("service2", ExitCause.OOM)


def test_a_container_that_lost_its_gpu_is_replaced_and_is_nobodys_doing() -> None:
    agent = Agent(*healthy(0))
    launch = agent.run()
    listed = workload(launch, started_at=agent.at)
    blind = replace(listed.containers[0], cause=ExitCause.GPU_LOST, problem="GPU-0 is not visible")
    agent.lists(replace(listed, containers=(blind,)))
    assert agent.lease().phase is Phase.REPAIRING
    assert (agent.lease().deaths, agent.lease().meter.since) == (0, None)


def test_an_operator_gives_notice_and_then_takes_it_back() -> None:
    agent = Agent(*healthy(0))
    agent.run()
    ends_at = Instant(agent.at + 10 * MINUTE)
    step = agent.take(OperatorCloses(lease=lease_of(), ends_at=ends_at, why="a new card comes"))
    assert step.refused is None
    assert agent.kinds(step) == ["ReportLease"]
    assert "a new card comes" in agent.last(ReportLease).detail
    assert any(isinstance(note, NoticeGiven) for note in agent.notes)
    while agent.at < ends_at - 10 * SECOND:
        agent.later(10 * SECOND)
        agent.lists(workload(agent.launch(), started_at=agent.at))
    assert agent.lease().phase is Phase.RUNNING
    agent.later(10 * SECOND)
    assert agent.lease().reason is CloseReason.OPERATOR_CLOSED
    assert agent.last(EndLease).detail == "a new card comes"
    step = agent.take(OperatorCloses(lease=lease_of(), ends_at=agent.at))
    assert step.refused is not None


def test_a_provider_that_drains_bids_on_nothing_and_keeps_its_leases() -> None:
    agent = Agent(*healthy(0, 1))
    agent.run(1)
    agent.opens(2)
    agent.take(DrainSet(is_draining=True))
    assert isinstance(agent.wanted[-1], WithdrawBid)
    assert agent.opens(3).effects == ()
    assert agent.lease(1).phase is Phase.RUNNING
    assert agent.kinds(agent.take(DrainSet(is_draining=False))) == ["PlaceBid"], "the order that waited"
