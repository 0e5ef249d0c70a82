"""What the rest of a lease does while a part of it ended, and how its operator ends it: notice, drain."""

from __future__ import annotations

from dataclasses import replace

from provider.core import metering
from provider.core.bid_policy import BidPolicy
from provider.core.effects import (
    EndLease,
    ReportLease,
    StartWorkload,
    WithdrawBid,
)
from provider.core.events import (
    DrainSet,
    OperatorCloses,
)
from provider.core.lease import Phase
from provider.core.step import ContainerEnded, NoticeGiven
from provider.domain.market import CloseReason, LeaseHealth, Refusal, Refused, Requirements
from provider.domain.moment import HOUR, MINUTE, SECOND, Instant, Span
from provider.domain.resources import GpuAsk
from provider.domain.workload import ContainerState, ExitCause
from tests.agents import POLICY, Agent, group, healthy, lease_of, resources, unit, workload

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
    billed = metering.total_ms(agent.lease().meter, agent.at)
    agent.later(MINUTE)
    assert metering.total_ms(agent.lease().meter, agent.at) == billed, "nothing is billed without the card"
    agent.done(agent.last(StartWorkload))
    assert agent.lease().phase is Phase.RUNNING
    agent.passes(10 * SECOND)
    assert metering.total_ms(agent.lease().meter, agent.at) == billed + 10 * SECOND


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


def test_who_was_promised_a_notice_gets_it_unless_it_is_broken_on_purpose() -> None:
    wants = replace(group(unit()), requirements=Requirements(notice=Span(2 * HOUR)))
    agent = Agent(*healthy(0), policy=replace(POLICY, bids=BidPolicy(notice=Span(24 * HOUR))))
    agent.run(of=wants)
    began = agent.at

    def closes(at: int, *, force: bool = False) -> Refused | None:
        wish = OperatorCloses(lease=lease_of(), ends_at=Instant(at), is_forced=force)
        return agent.take(wish).refused

    early = closes(began + HOUR)
    assert early == Refused(why=Refusal.NOTICE_TOO_SHORT, required="2h", available="1h")
    assert (agent.lease().ends_at, agent.lease().phase) == (None, Phase.RUNNING)
    assert closes(began) == Refused(why=Refusal.NOTICE_TOO_SHORT, required="2h", available="0s")
    assert closes(began + 2 * HOUR) is None
    # The notice that was given stays good, and may be made longer, not shorter.
    agent.later(HOUR)
    assert closes(began + 2 * HOUR) is None
    assert closes(began + 3 * HOUR) is None
    assert closes(began + 2 * HOUR) is not None
    assert closes(agent.at, force=True) is None
    assert agent.lease().reason is CloseReason.OPERATOR_CLOSED


def test_a_provider_that_drains_bids_on_nothing_and_keeps_its_leases() -> None:
    agent = Agent(*healthy(0, 1))
    agent.run(1)
    agent.opens(2)
    agent.take(DrainSet(is_draining=True))
    assert isinstance(agent.wanted[-1], WithdrawBid)
    assert agent.opens(3).effects == ()
    assert agent.lease(1).phase is Phase.RUNNING
    assert agent.kinds(agent.take(DrainSet(is_draining=False))) == ["PlaceBid"], "the order that waited"
