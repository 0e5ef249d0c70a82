"""What is billed: only what ran and was seen to run, in one total that never falls."""

from __future__ import annotations

import pytest

from provider.core import metering
from provider.core.effects import ReportUsage, StartWorkload, StopWorkload
from provider.core.events import Performed
from provider.core.lease import Phase
from provider.core.state import Meter
from provider.domain.market import Usage
from provider.domain.moment import HOUR, SECOND, Instant, Span
from tests.agents import START, Agent, healthy, run_for, settle, workload

INTERVAL = Span(10 * SECOND)


def at(seconds: float) -> Instant:
    return Instant(START + round(seconds * 1000))


def usages(agent: Agent) -> list[Usage]:
    return [effect.usage for effect in agent.wanted if isinstance(effect, ReportUsage)]


def test_a_total_is_made_of_runs() -> None:
    meter = metering.opened(Meter(), at(0), INTERVAL)
    meter = metering.seen(meter, at(15))
    assert metering.sure_ms(meter) == 15_000
    assert metering.total_ms(meter, at(20)) == 20_000
    meter = metering.died(meter, at(18), at(20))
    assert (meter.ran_ms, meter.since, meter.report_at) == (18_000, None, None)
    assert metering.total_ms(meter, at(1000)) == 18_000
    meter = metering.opened(meter, at(30), INTERVAL)
    assert metering.stopped(meter, at(31)).ran_ms == 19_000


def test_an_instant_is_never_counted_twice() -> None:
    """A look that missed a container, and a start that found it running since long ago."""
    meter = metering.seen(metering.opened(Meter(), at(0), INTERVAL), at(60))
    meter = metering.died(meter, None, at(75))
    assert meter.ran_ms == 60_000
    meter = metering.opened(meter, at(0), INTERVAL)
    assert metering.total_ms(meter, at(80)) == 80_000, "it ran all the time"


@pytest.mark.parametrize("ended", [at(-5), at(0), at(59), at(60)])
def test_an_end_before_it_was_last_seen_is_taken_as_then(ended: Instant) -> None:
    meter = metering.seen(metering.opened(Meter(), at(0), INTERVAL), at(60))
    assert metering.died(meter, ended, at(75)).ran_ms == 60_000


def test_a_clock_that_was_set_back_adds_nothing_and_takes_nothing() -> None:
    meter = metering.seen(metering.opened(Meter(), at(100), INTERVAL), at(160))
    assert metering.total_ms(meter, at(50)) == 0
    assert metering.seen(meter, at(50)) == meter
    assert metering.sure_ms(meter) == 60_000


def test_reports_carry_what_was_seen() -> None:
    agent = Agent(*healthy(0))
    launch = agent.run()
    run_for(agent, launch, 60_000)
    assert [usage.running_ms for usage in usages(agent)] == [15_000, 30_000, 45_000, 60_000]
    assert [usage.number for usage in usages(agent)] == [1, 2, 3, 4]
    agent.later(2000)
    agent.ends()
    final = usages(agent)[-1]
    assert (final.running_ms, final.is_final, final.number) == (62_000, True, 5)


def test_nothing_is_billed_before_it_runs() -> None:
    agent = Agent(*healthy(0))
    start = agent.start()
    agent.later(60_000)
    agent.fails(start)
    agent.later(60_000)
    agent.ends()
    assert [(usage.running_ms, usage.is_final) for usage in usages(agent)] == [(0, True)]


def test_billing_begins_with_the_last_container_and_not_later_because_we_were_away() -> None:
    agent = Agent(*healthy(0))
    start = agent.start()
    began = agent.at
    agent.later(HOUR)
    agent.done(start, started_at=began)
    agent.lists(workload(agent.launch(), started_at=began))
    agent.later(0)
    assert usages(agent)[-1].running_ms == HOUR


def test_a_start_in_the_future_begins_now() -> None:
    agent = Agent(*healthy(0))
    agent.done(agent.start(), started_at=Instant(agent.at + HOUR))
    assert agent.lease().started_at == agent.at


def test_an_agent_that_was_away_bills_the_time_once_it_has_seen_that_it_ran() -> None:
    agent = Agent(*healthy(0))
    launch = agent.run()
    began = agent.at
    run_for(agent, launch, 30_000)
    agent.later(HOUR)
    assert usages(agent)[-1].running_ms == 30_000, "nobody knows yet what became of it"
    settle(agent, ReportUsage)
    agent.lists(workload(launch, started_at=began))
    agent.later(10_000)
    assert usages(agent)[-1].running_ms == HOUR + 30_000


def test_a_workload_that_died_while_the_agent_was_away_is_billed_to_its_death() -> None:
    agent = Agent(*healthy(0))
    launch = agent.run()
    began = agent.at
    run_for(agent, launch, 30_000)
    agent.later(HOUR)
    agent.lists(workload(launch, started_at=began, exited_at=Instant(began + 40_000)))
    agent.ends()
    assert [usage.running_ms for usage in usages(agent)][-2:] == [30_000, 40_000]


def test_a_workload_that_vanished_is_billed_to_when_it_was_last_seen() -> None:
    agent = Agent(*healthy(0))
    run_for(agent, agent.run(), 30_000)
    agent.later(HOUR)
    agent.lists()
    agent.ends()
    assert usages(agent)[-1].running_ms == 30_000


@pytest.mark.parametrize(("blind_ms", "billed"), [(29_000, 59_000), (31_000, 30_000), (HOUR, 30_000)])
def test_an_end_is_billed_to_the_moment_unless_nobody_has_looked_for_long(blind_ms: int, billed: int) -> None:
    agent = Agent(*healthy(0))
    run_for(agent, agent.run(), 30_000)
    agent.later(blind_ms)
    agent.ends()
    assert usages(agent)[-1].running_ms == billed


def test_one_report_is_under_way_at_most_and_the_last_one_always_goes() -> None:
    agent = Agent(*healthy(0))
    launch = agent.run()
    began = agent.at
    for _ in range(10):
        agent.later(10_000)
        agent.lists(workload(launch, started_at=began))
    assert len(usages(agent)) == 1, "the market has not taken the first"
    assert agent.lease().phase is Phase.RUNNING
    settle(agent, ReportUsage)
    agent.later(10_000)
    assert usages(agent)[-1].running_ms == 100_000
    agent.ends()
    assert usages(agent)[-1].is_final


def test_a_report_that_was_refused_lets_the_next_one_go() -> None:
    agent = Agent(*healthy(0))
    agent.run()
    agent.later(10_000)
    agent.fails(agent.last(ReportUsage), final=True)
    agent.later(10_000)
    assert len(usages(agent)) == 2


def test_time_between_two_runs_is_not_billed() -> None:
    agent = Agent(*healthy(0))
    launch = agent.run()
    began = agent.at
    agent.later(20_000)
    agent.lists(workload(launch, started_at=began, exited_at=agent.at))
    agent.later(60_000)
    start = agent.last(StartWorkload)
    agent.take(Performed(effect=start, workload=workload(launch, started_at=agent.at)))
    agent.later(5_000)
    agent.ends()
    agent.done(agent.last(StopWorkload))
    assert usages(agent)[-1].running_ms == 25_000
