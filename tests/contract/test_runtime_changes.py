"""``ports.Runtime``: what changes while a lease runs, on the fake and on Docker."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provider.adapters.clock import SystemClock
from provider.domain.errors import Temporary
from provider.domain.moment import Span, after
from provider.domain.workload import Container, ContainerState, Dependency, Launch, Workload
from tests.contract.runtime_worlds import Enter, World, run
from tests.launches import eventually, launch, lease_id, replica, service

SLEEPS = "sleep 3600"


def of(workload: Workload | None, name: str) -> Container:
    assert workload is not None
    (found,) = (each for each in workload.containers if each.service == name)
    return found


def updated(old: Launch, name: str, script: str) -> Launch:
    """``old`` with another command for one service, as the second generation."""
    replicas = tuple(
        replace(each, service=service(name, script), generation=2) if each.service.name == name else each
        for each in old.replicas
    )
    return replace(old, generation=2, replicas=replicas)


def test_an_update_of_one_service_leaves_the_others_running(enter_runtime: Enter) -> None:
    async def check(world: World) -> None:
        old = launch(replica(service("db", SLEEPS)), replica(service("web", SLEEPS)))
        before = await world.runtime.start(old)

        newer = await world.runtime.start(updated(old, "web", "sleep 7200"))

        assert of(newer, "db") == of(before, "db")
        assert of(newer, "web").id != of(before, "web").id
        assert [(each.service, each.generation) for each in newer.containers] == [("db", 1), ("web", 2)]

    run(enter_runtime, check)


def test_a_service_restarts_as_it_is(enter_runtime: Enter) -> None:
    async def check(world: World) -> None:
        wanted = launch(replica(service("db", SLEEPS)), replica(service("web", SLEEPS)))
        before = await world.runtime.start(wanted)
        clock = SystemClock()
        await clock.sleep_until(after(clock.now(), Span(1)))  # so that the two starts differ

        later = await world.runtime.restart(wanted.lease, "web", 0)

        assert of(later, "db") == of(before, "db")
        assert of(later, "web").id == of(before, "web").id
        assert of(later, "web").state is ContainerState.RUNNING
        was, now = of(before, "web").started_at, of(later, "web").started_at
        assert was is not None
        assert now is not None
        assert now > was
        assert await world.runtime.list() == (later,)

    run(enter_runtime, check)


def test_what_is_not_there_cannot_be_restarted(enter_runtime: Enter) -> None:
    async def check(world: World) -> None:
        with pytest.raises(Temporary):
            await world.runtime.restart(lease_id(), "web", 0)
        wanted = launch(replica(service("web", SLEEPS)))
        await world.runtime.start(wanted)
        with pytest.raises(Temporary):
            await world.runtime.restart(wanted.lease, "db", 0)

    run(enter_runtime, check)


def test_an_ended_container_can_be_restarted(enter_runtime: Enter) -> None:
    async def check(world: World) -> None:
        wanted = launch(replica(service("web", "exit 3")))
        await world.runtime.start(wanted)

        async def state() -> ContainerState:
            return of(await world.runtime.look(wanted.lease), "web").state

        await eventually(state, lambda found: found is ContainerState.EXITED)
        await world.runtime.restart(wanted.lease, "web", 0)

    run(enter_runtime, check)


def test_a_look_at_one_lease(enter_runtime: Enter) -> None:
    async def check(world: World) -> None:
        wanted = launch(replica(service("web", SLEEPS)))
        assert await world.runtime.look(wanted.lease) is None
        started = await world.runtime.start(wanted)
        assert await world.runtime.look(wanted.lease) == started
        with pytest.raises(Temporary):
            await world.away.look(wanted.lease)

    run(enter_runtime, check)


def test_what_others_need_starts_first(enter_runtime: Enter) -> None:
    async def check(world: World) -> None:
        wanted = launch(replica(service("app", SLEEPS)), replica(service("db", SLEEPS)))
        wanted = replace(wanted, dependencies=(Dependency(service="app", needs="db"),))

        started = await world.runtime.start(wanted)

        first, second = of(started, "db").started_at, of(started, "app").started_at
        assert first is not None
        assert second is not None
        assert second >= first

    run(enter_runtime, check)
