"""What every Runtime promises about leases: on the simulated one, and on Docker with real containers."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from provider.domain.errors import ImageUnavailable, Temporary
from provider.domain.ids import LeaseId
from provider.domain.workload import ContainerState, ExitCause, Launch, Workload
from provider.ports import ExecRequest, LogRequest, Runtime
from tests.contract.runtime_worlds import NO_IMAGE, NO_REGISTRY, Enter, World, run
from tests.launches import collect, eventually, launch, lease_id, replica, service, take


def shape(workload: Workload) -> list[tuple[str, int, ContainerState]]:
    return [(each.service, each.replica, each.state) for each in workload.containers]


def ids(workload: Workload) -> list[str]:
    return [each.id for each in workload.containers]


async def only(runtime: Runtime, lease: LeaseId) -> Workload | None:
    return next((each for each in await runtime.list() if each.lease == lease), None)


def two_services() -> Launch:
    db, web = service("db"), service("web")
    return launch(replica(web, 0), replica(web, 1), replica(db, 0))


def test_start_makes_everything_run(enter_runtime: Enter) -> None:
    async def check(world: World) -> None:
        wanted = two_services()

        workload = await world.runtime.start(wanted)

        running = ContainerState.RUNNING
        assert shape(workload) == [("db", 0, running), ("web", 0, running), ("web", 1, running)]
        assert {each.generation for each in workload.containers} == {1}
        assert await world.runtime.list() == (workload,)
        assert all(each.started_at is not None and each.finished_at is None for each in workload.containers)

    run(enter_runtime, check)


def test_start_twice_is_once(enter_runtime: Enter) -> None:
    async def check(world: World) -> None:
        wanted = two_services()

        first = await world.runtime.start(wanted)
        second = await world.runtime.start(wanted)

        assert second == first

    run(enter_runtime, check)


def test_two_starts_at_once_are_one(enter_runtime: Enter) -> None:
    async def check(world: World) -> None:
        wanted = two_services()

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(world.runtime.start(wanted)) for _ in range(3)]

        assert len({tuple(ids(task.result())) for task in tasks}) == 1
        assert len(await world.runtime.list()) == 1

    run(enter_runtime, check)


def test_a_newer_generation_replaces_the_older(enter_runtime: Enter) -> None:
    async def check(world: World) -> None:
        old = two_services()
        before = await world.runtime.start(old)

        new = launch(replica(service("web", "sleep 7200")), lease=old.lease, generation=2)
        after = await world.runtime.start(new)

        assert shape(after) == [("web", 0, ContainerState.RUNNING)]
        assert [each.generation for each in after.containers] == [2]
        assert not set(ids(after)) & set(ids(before))
        assert await world.runtime.list() == (after,)

    run(enter_runtime, check)


def test_an_older_generation_serves_on_while_the_newer_ones_image_is_not_there(enter_runtime: Enter) -> None:
    async def check(world: World) -> None:
        old = launch()
        before = await world.runtime.start(old)
        new = launch(replica(service(image=NO_REGISTRY)), lease=old.lease, generation=2)

        with pytest.raises(Temporary):
            await world.runtime.start(new)

        assert await world.runtime.list() == (before,)

    run(enter_runtime, check)


def test_stop_leaves_nothing_and_may_be_repeated(enter_runtime: Enter) -> None:
    async def check(world: World) -> None:
        wanted = two_services()
        await world.runtime.start(wanted)

        await world.runtime.stop(wanted.lease, 0)
        await world.runtime.stop(wanted.lease, 0)
        await world.runtime.stop(lease_id(), 5)

        assert await world.runtime.list() == ()

    run(enter_runtime, check)


def test_leases_are_listed_in_order_and_apart(enter_runtime: Enter) -> None:
    async def check(world: World) -> None:
        one, two = launch(), launch()
        second = await world.runtime.start(two)
        first = await world.runtime.start(one)

        assert await world.runtime.list() == (first, second)
        await world.runtime.stop(one.lease, 0)
        assert await world.runtime.list() == (second,)

    run(enter_runtime, check)


@pytest.mark.parametrize(("image", "error"), [(NO_IMAGE, ImageUnavailable), (NO_REGISTRY, Temporary)])
def test_an_image_that_cannot_be_had(enter_runtime: Enter, image: str, error: type[Exception]) -> None:
    async def check(world: World) -> None:
        wanted = launch(replica(service("db")), replica(replace(service("web"), image=image)))

        with pytest.raises(error):
            await world.runtime.start(wanted)

        left = await only(world.runtime, wanted.lease)
        assert left is None or ContainerState.RUNNING not in {each.state for each in left.containers}
        await world.runtime.stop(wanted.lease, 0)
        assert await world.runtime.list() == ()

    run(enter_runtime, check)


def test_a_container_that_ends_is_seen_with_its_status(enter_runtime: Enter) -> None:
    async def check(world: World) -> None:
        wanted = launch(replica(service("web", "sleep 0.2; exit 3")))
        await world.runtime.start(wanted)

        workload = await eventually(
            lambda: only(world.runtime, wanted.lease),
            lambda told: told is not None and told.containers[0].state is ContainerState.EXITED,
        )

        assert workload is not None
        ended = workload.containers[0]
        assert (ended.exit_code, ended.cause) == (3, ExitCause.OWN)
        assert ended.started_at is not None
        assert ended.finished_at is not None
        assert ended.finished_at >= ended.started_at

    run(enter_runtime, check)


def test_start_repairs_what_has_ended_and_leaves_the_rest(enter_runtime: Enter) -> None:
    async def check(world: World) -> None:
        wanted = launch(replica(service("db")), replica(service("web", "sleep 0.5; exit 3")))
        first = await world.runtime.start(wanted)
        await eventually(
            lambda: only(world.runtime, wanted.lease),
            lambda told: told is not None and told.containers[1].state is ContainerState.EXITED,
        )

        again = await world.runtime.start(wanted)

        running = ContainerState.RUNNING
        assert shape(again) == [("db", 0, running), ("web", 0, running)]
        assert again.containers[0] == first.containers[0]

    run(enter_runtime, check)


def test_a_hint_comes_first_and_whenever_something_ends(enter_runtime: Enter) -> None:
    async def check(world: World) -> None:
        hints = aiter(world.runtime.hints())
        await take(hints, 1)
        wanted = launch(replica(service("web", "sleep 0.3; exit 0")))
        await world.runtime.start(wanted)

        async def has_ended() -> bool:
            await take(hints, 1)
            told = await only(world.runtime, wanted.lease)
            return told is not None and told.containers[0].state is ContainerState.EXITED

        await eventually(has_ended, bool)

    run(enter_runtime, check)


def test_an_engine_that_is_away_is_temporary_and_nothing_else(enter_runtime: Enter) -> None:
    async def check(world: World) -> None:
        wanted = launch()
        calls = [
            world.away.capabilities(),
            world.away.list(),
            world.away.start(wanted),
            world.away.stop(wanted.lease, 1),
            world.away.exec(wanted.lease, ExecRequest(service="web", argv=("true",))),
            collect(world.away.logs(wanted.lease, LogRequest())),
        ]
        for call in calls:
            with pytest.raises(Temporary):
                await call

    run(enter_runtime, check)


def test_capabilities_name_the_engine(enter_runtime: Enter) -> None:
    async def check(world: World) -> None:
        capabilities = await world.runtime.capabilities()

        assert capabilities.engine.split()[0] in {"docker", "simulated"}
        assert capabilities.gpu_problem is None
        assert bool(capabilities.storage_classes) is (capabilities.storage_problem is None)
        own = [each for each in capabilities.storage_classes if each.disk == capabilities.layers_disk]
        assert own == list(capabilities.storage_classes)  # here all are on one disk, and say so

    run(enter_runtime, check)
