"""The real shell on virtual time: loop, lanes, performer and sources over the fakes of every port.

What is asked here of one agent, ``test_world`` asks of many; here it is the shell's own code that answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from provider.adapters.store.sqlite import SqliteStore
from provider.core.effects import EndLease, ReportLease, ReportUsage
from provider.core.lease import Phase
from provider.core.state import AgentState
from provider.domain.errors import ImageUnavailable, Permanent, Temporary
from provider.domain.manifest import Manifest
from provider.domain.market import CloseReason, LeaseHealth
from provider.domain.moment import HOUR, MINUTE, SECOND, Instant, Span
from provider.ports import Store
from provider.shell.sources import LIST_EVERY
from provider.sim import vtime
from provider.sim.clock import EPOCH
from provider.sim.engine import ImageScript
from provider.sim.script import Timeline
from provider.sim.store import MemoryStore
from tests.agents import POLICY, group, manifest
from tests.floor import LEASE, Place

Body = Callable[[Place], Awaitable[None]]


@pytest.fixture(params=["memory", "sqlite"])
def floor(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Body], None]:
    """Runs a body at a new place whose store is the fake, or SQLite."""
    memory = [MemoryStore(POLICY)]
    opened: list[SqliteStore] = []

    def store() -> Store:
        if request.param == "memory":
            memory.append(memory[-1].restarted(POLICY))
            return memory[-1]
        for each in opened:
            each.close()
        opened.append(SqliteStore.open(tmp_path / "provider.db", POLICY))
        return opened[-1]

    def run(body: Body) -> None:
        async def main() -> None:
            await body(Place(store))

        with capture_logs():
            vtime.run(main())
        for each in opened:
            each.close()

    return run


def services(image: str) -> Manifest:
    (only,) = manifest(group()).groups
    return Manifest(groups=(replace(only, services=(replace(only.services[0], image=image),)),))


def test_a_whole_life(floor: Callable[[Body], None]) -> None:
    async def body(place: Place) -> None:
        async with place.agent() as loop:
            await place.runs()
            (container,) = place.engine.leases[LEASE].values()
            assert container.replica.gpus == loop.state.leases[LEASE].placement.gpus
            await asyncio.sleep(600)
            assert place.engine.starts == 1
            place.market.end_lease(LEASE, CloseReason.TENANT_CLOSED)
            await place.phase(None)
            await place.until(lambda: place.last(ReportUsage).usage.is_final)
            assert 600_000 <= place.usages()[-1] <= 601_000
            assert place.engine.leases == {}
            assert place.healths()[:2] == [LeaseHealth.STARTING, LeaseHealth.RUNNING]

    floor(body)


def test_killed_and_started_again_while_it_runs(floor: Callable[[Body], None]) -> None:
    async def body(place: Place) -> None:
        async with place.agent():
            await place.runs()
            await asyncio.sleep(100)
        await asyncio.sleep(HOUR / 1000)
        async with place.agent():
            assert place.phase_of(LEASE) is Phase.RUNNING, "as it was stored"
            await asyncio.sleep(60)
            assert place.engine.starts == 1, "what runs is taken up, not started"
            place.market.end_lease(LEASE, CloseReason.TENANT_CLOSED)
            await place.phase(None)
            await place.until(lambda: place.last(ReportUsage).usage.is_final)
            assert HOUR + 160_000 <= place.usages()[-1] <= HOUR + 161_000, "it ran all the time"
            assert place.usages() == sorted(place.usages())

    floor(body)


def test_a_workload_that_died_while_the_agent_was_away_is_repaired_and_billed_to_its_death(
    floor: Callable[[Body], None],
) -> None:
    async def body(place: Place) -> None:
        async with place.agent():
            await place.runs()
            await asyncio.sleep(100)
        await place.engine.kill(LEASE, "service1")
        await asyncio.sleep(HOUR / 1000)
        async with place.agent():
            await place.until(lambda: place.engine.starts == 2)
            await place.phase(Phase.RUNNING)
            place.market.end_lease(LEASE, CloseReason.TENANT_CLOSED)
            await place.phase(None)
            await place.until(lambda: place.last(ReportUsage).usage.is_final)
            assert 100_000 <= place.usages()[-1] <= 102_000
            assert max(place.usages()) == place.usages()[-1]

    floor(body)


def test_an_order_that_ended_while_the_agent_was_away_is_cleaned_up(floor: Callable[[Body], None]) -> None:
    async def body(place: Place) -> None:
        async with place.agent():
            await place.runs()
        place.market.end_lease(LEASE, CloseReason.FUNDS_EXHAUSTED)
        await asyncio.sleep(60)
        async with place.agent():
            await place.phase(None)
            assert place.engine.leases == {}

    floor(body)


def test_what_runs_without_a_lease_is_removed(floor: Callable[[Body], None]) -> None:
    async def body(place: Place) -> None:
        async with place.agent():
            await place.runs()
        left = place.engine.leases[LEASE]
        place.market.end_lease(LEASE, CloseReason.TENANT_CLOSED)
        async with place.agent():
            await place.phase(None)
            place.engine.leases[LEASE] = left
            await place.until(lambda: not place.engine.leases, LIST_EVERY / 1000 + 1)

    floor(body)


def test_an_engine_that_is_away_ends_nothing_and_is_waited_for(floor: Callable[[Body], None]) -> None:
    async def body(place: Place) -> None:
        place.engine.is_away = True
        async with place.agent() as loop:
            await asyncio.sleep(60)
            assert loop.state.runtime is None
            place.engine.is_away = False
            await place.opens_and_awards()
            place.engine.is_away = True
            await place.sends()
            await place.phase(Phase.REPAIRING)
            await asyncio.sleep(60)
            place.engine.is_away = False
            await place.phase(Phase.RUNNING)
            place.engine.is_away = True
            await asyncio.sleep(HOUR / 1000)
            assert place.phase_of(LEASE) is Phase.RUNNING, "blindness is not death"
            place.market.end_lease(LEASE, CloseReason.TENANT_CLOSED)
            await place.phase(Phase.STOPPING)
            await asyncio.sleep(300)
            assert place.phase_of(LEASE) is Phase.STOPPING
            place.engine.is_away = False
            await place.phase(None)
            assert place.engine.leases == {}

    floor(body)


def test_a_start_under_way_is_cancelled_by_the_end_of_its_lease(floor: Callable[[Body], None]) -> None:
    async def body(place: Place) -> None:
        place.engine.images["hello"] = ImageScript(takes=Span(HOUR))
        async with place.agent():
            await place.opens_and_awards()
            await place.sends()
            await asyncio.sleep(10)
            began = place.clock.now()
            place.market.end_lease(LEASE, CloseReason.TENANT_CLOSED)
            await place.phase(None)
            assert place.clock.now() - began < SECOND, "nobody waits for the pull"
            assert (place.engine.leases, place.engine.starts) == ({}, 0)

    floor(body)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (ImageUnavailable("no such image"), CloseReason.IMAGE_UNAVAILABLE),
        (Permanent("no such command"), CloseReason.WORKLOAD_REFUSED),
    ],
)
def test_a_start_that_can_never_be_ends_the_lease(
    floor: Callable[[Body], None], failure: Permanent, reason: CloseReason
) -> None:
    async def body(place: Place) -> None:
        place.engine.images["bad"] = ImageScript(failure=failure)
        async with place.agent():
            await place.opens_and_awards()
            await place.sends(services("bad"))
            await place.phase(None)
            await place.told(EndLease)
            assert place.last(EndLease).reason is reason

    floor(body)


def test_a_registry_that_comes_back_is_waited_for(floor: Callable[[Body], None]) -> None:
    async def body(place: Place) -> None:
        place.engine.images["hello"] = ImageScript(failure=Temporary("the registry is away"), failures=3)
        async with place.agent() as loop:
            await place.runs()
            assert (loop.state.leases[LEASE].failures, place.engine.starts) == (3, 1)

    floor(body)


def test_a_workload_that_keeps_exiting_is_repaired_and_in_the_end_given_up(
    floor: Callable[[Body], None],
) -> None:
    deaths = POLICY.deaths_most

    async def body(place: Place) -> None:
        place.engine.images["hello"] = ImageScript(runs=Timeline(ends_after=Span(3 * SECOND), exit_code=1))
        async with place.agent():
            await place.opens_and_awards()
            await place.sends()
            await place.until(
                lambda: place.phase_of(LEASE) is None and place.engine.starts == deaths,
                bound_s=HOUR // SECOND,
            )
            await place.told(EndLease)
            assert place.last(EndLease).reason is CloseReason.WORKLOAD_UNSTABLE
            assert place.usages()[-1] == deaths * 3 * SECOND

    floor(body)


def test_a_container_that_is_killed_is_back_within_seconds(floor: Callable[[Body], None]) -> None:
    async def body(place: Place) -> None:
        async with place.agent():
            await place.runs()
            await asyncio.sleep(60)
            await place.engine.kill(LEASE, "service1", oom=True)
            await place.until(lambda: place.engine.starts == 2, bound_s=3)
            await place.phase(Phase.RUNNING)
            assert "service1/0 ran out of memory" in {
                each.detail for each in place.market.told.values() if isinstance(each, ReportLease)
            }

    floor(body)


def test_a_gpu_that_fails_ends_its_lease(floor: Callable[[Body], None]) -> None:
    async def body(place: Place) -> None:
        async with place.agent() as loop:
            await place.runs()
            (uuid,) = loop.state.leases[LEASE].placement.gpus
            place.probe.fail(uuid, "XID 79")
            await place.phase(None)
            await place.told(EndLease)
            assert place.last(EndLease).reason is CloseReason.GPU_FAILED
            assert uuid in place.last(EndLease).detail

    floor(body)


def test_a_market_that_is_away_loses_and_doubles_nothing(floor: Callable[[Body], None]) -> None:
    async def body(place: Place) -> None:
        async with place.agent() as loop:
            await place.runs()
            place.link.doubles = True
            place.link.cut()
            await place.until(lambda: not loop.state.connected)
            await asyncio.sleep(HOUR / 1000)
            assert place.phase_of(LEASE) is Phase.RUNNING
            place.link.lose_answers(3)
            for _ in range(5):
                place.link.restore()
                await asyncio.sleep(30)
            place.market.end_lease(LEASE, CloseReason.TENANT_CLOSED)
            await place.phase(None)
            await place.until(lambda: place.last(ReportUsage).usage.is_final)
            numbers = [
                each.usage.number for each in place.market.told.values() if isinstance(each, ReportUsage)
            ]
            assert numbers == list(range(1, len(numbers) + 1))
            assert len(set(place.market.heard)) < len(place.market.heard), "some were told twice"
            assert len(numbers) < 30, "while the market was away one report waited, and no more"

    floor(body)


def test_a_bug_in_an_adapter_costs_its_own_lease_a_retry_and_nobody_else_anything(
    floor: Callable[[Body], None],
) -> None:
    async def body(place: Place) -> None:
        bug: Exception = KeyError("a bug")
        place.engine.images["hello"] = ImageScript(failure=bug, failures=2)  # type: ignore[arg-type]
        async with place.agent() as loop:
            await place.runs()
            assert loop.state.leases[LEASE].failures == 2

    floor(body)


def test_stopping_the_daemon_leaves_what_runs(floor: Callable[[Body], None]) -> None:
    async def body(place: Place) -> None:
        async with place.agent():
            await place.runs()
        assert list(place.engine.leases) == [LEASE]
        state: AgentState = place.loop.state
        assert state.leases[LEASE].phase is Phase.RUNNING

    floor(body)


@pytest.mark.parametrize("dies_after_ms", [0, 1, 20, 200, 2_000, 5_000])
def test_killed_while_it_starts_it_is_started_once(floor: Callable[[Body], None], dies_after_ms: int) -> None:
    async def body(place: Place) -> None:
        place.engine.images["hello"] = ImageScript(takes=Span(2 * SECOND))
        async with place.agent():
            await place.opens_and_awards()
            await place.sends()
            await asyncio.sleep(dies_after_ms / 1000)
        async with place.agent():
            await place.phase(Phase.RUNNING)
            assert (len(place.engine.leases[LEASE]), place.engine.starts) == (1, 1)

    floor(body)


def test_a_manifest_that_never_comes(floor: Callable[[Body], None]) -> None:
    async def body(place: Place) -> None:
        async with place.agent():
            await place.opens_and_awards()
            await place.phase(None)
            await place.told(EndLease)
            assert place.last(EndLease).reason is CloseReason.MANIFEST_TIMEOUT
            assert place.clock.now() - Instant(1_700_000_000_000) >= 5 * MINUTE

    floor(body)


def test_a_port_that_somebody_else_takes_is_not_sold_from_the_next_look_on(
    floor: Callable[[Body], None],
) -> None:
    async def body(place: Place) -> None:
        first, last = POLICY.port_range
        async with place.agent() as loop:
            await place.until(lambda: loop.state.nodes)
            place.host.listening = frozenset({first, last + 1})
            await place.until(lambda: loop.state.nodes[0].busy_ports == {first}, bound_s=11)
            await place.runs()
            assert loop.state.leases[LEASE].placement.host_ports == (first + 1,)
            place.host.listening = frozenset({first, first + 1})
            await place.until(lambda: place.clock.now() > EPOCH + MINUTE)
            assert loop.state.nodes[0].busy_ports == {first}, "one of our own leases listens there"

    floor(body)
