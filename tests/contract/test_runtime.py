"""What every Runtime promises: on the simulated one, and on Docker with real containers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from provider.adapters.clock import SystemClock
from provider.adapters.runtime import DockerRuntime, DockerSettings
from provider.domain.errors import ImageUnavailable, Permanent, Temporary
from provider.domain.ids import LeaseId, ProviderId
from provider.domain.workload import ContainerState, ExecOutput, Launch, Workload
from provider.ports import ExecRequest, LogRequest, Runtime
from provider.sim.engine import ImageScript, SimulatedEngine
from provider.sim.runtime import SimulatedRuntime
from tests.conftest import ENGINE
from tests.integration.runtime.engines import newer_engine, second_engine
from tests.launches import collect, eventually, launch, lease_id, replica, service, take

NO_IMAGE = "Not/An-Image:1"
NO_REGISTRY = "127.0.0.1:9/none:1"
"""Port 9 is ``discard``: nothing listens there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A runtime, and a second one whose engine is away."""

    runtime: Runtime
    away: Runtime


Enter = Callable[[], AbstractAsyncContextManager[World]]


@asynccontextmanager
async def simulated() -> AsyncIterator[World]:
    clock = SystemClock()
    engine = SimulatedEngine(clock)
    engine.images[NO_IMAGE] = ImageScript(failure=ImageUnavailable("no such image"))
    engine.images[NO_REGISTRY] = ImageScript(failure=Temporary("the registry is away"))
    gone = SimulatedEngine(clock, is_away=True)
    async with SimulatedRuntime(engine) as runtime, SimulatedRuntime(gone) as away:
        yield World(runtime=runtime, away=away)


@asynccontextmanager
async def dockers(socket: str) -> AsyncIterator[World]:
    settings = DockerSettings(
        provider=ProviderId("contract"), socket=socket, simulated_gpus=True, bind_address="127.0.0.1"
    )
    nowhere = replace(settings, socket="unix:///nonexistent/docker.sock")
    async with (
        DockerRuntime(settings, SystemClock()) as runtime,
        DockerRuntime(nowhere, SystemClock()) as away,
    ):
        try:
            yield World(runtime=runtime, away=away)
        finally:
            for workload in await runtime.list():
                await runtime.stop(workload.lease, 0)


@pytest.fixture(scope="module")
def newer(hello_image: str) -> Iterator[str]:
    """The socket of Debian 13's engine, in a network namespace of its own."""
    program = newer_engine()
    if program is None:
        pytest.skip("no second engine: scripts/unpack-engine.sh")
    with second_engine(program) as engine:
        engine.load(hello_image)
        yield engine.socket


@pytest.fixture(
    params=[
        "simulated",
        pytest.param("docker", marks=pytest.mark.docker),
        pytest.param("docker-26", marks=pytest.mark.docker),
    ]
)
def enter(request: pytest.FixtureRequest) -> Enter:
    match request.param:
        case "simulated":
            return simulated
        case "docker":
            request.getfixturevalue("hello_image")
            return lambda: dockers(ENGINE)
        case _:
            socket: str = request.getfixturevalue("newer")
            return lambda: dockers(socket)


def run(enter: Enter, check: Callable[[World], Coroutine[object, object, None]]) -> None:
    async def entered() -> None:
        async with enter() as world:
            await check(world)

    asyncio.run(entered())


def shape(workload: Workload) -> list[tuple[str, int, ContainerState]]:
    return [(each.service, each.replica, each.state) for each in workload.containers]


def ids(workload: Workload) -> list[str]:
    return [each.id for each in workload.containers]


async def only(runtime: Runtime, lease: LeaseId) -> Workload | None:
    return next((each for each in await runtime.list() if each.lease == lease), None)


def two_services() -> Launch:
    db, web = service("db"), service("web")
    return launch(replica(web, 0), replica(web, 1), replica(db, 0))


def test_start_makes_everything_run(enter: Enter) -> None:
    async def check(world: World) -> None:
        wanted = two_services()

        workload = await world.runtime.start(wanted)

        running = ContainerState.RUNNING
        assert shape(workload) == [("db", 0, running), ("web", 0, running), ("web", 1, running)]
        assert (workload.lease, workload.generation) == (wanted.lease, 1)
        assert await world.runtime.list() == (workload,)
        assert all(each.started_at is not None and each.finished_at is None for each in workload.containers)

    run(enter, check)


def test_start_twice_is_once(enter: Enter) -> None:
    async def check(world: World) -> None:
        wanted = two_services()

        first = await world.runtime.start(wanted)
        second = await world.runtime.start(wanted)

        assert second == first

    run(enter, check)


def test_two_starts_at_once_are_one(enter: Enter) -> None:
    async def check(world: World) -> None:
        wanted = two_services()

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(world.runtime.start(wanted)) for _ in range(3)]

        assert len({tuple(ids(task.result())) for task in tasks}) == 1
        assert len(await world.runtime.list()) == 1

    run(enter, check)


def test_a_newer_generation_replaces_the_older(enter: Enter) -> None:
    async def check(world: World) -> None:
        old = two_services()
        before = await world.runtime.start(old)

        new = launch(replica(service("web", "sleep 7200")), lease=old.lease, generation=2)
        after = await world.runtime.start(new)

        assert shape(after) == [("web", 0, ContainerState.RUNNING)]
        assert after.generation == 2
        assert not set(ids(after)) & set(ids(before))
        assert await world.runtime.list() == (after,)

    run(enter, check)


def test_an_older_generation_serves_on_while_the_newer_ones_image_is_not_there(enter: Enter) -> None:
    async def check(world: World) -> None:
        old = launch()
        before = await world.runtime.start(old)
        new = launch(replica(service(image=NO_REGISTRY)), lease=old.lease, generation=2)

        with pytest.raises(Temporary):
            await world.runtime.start(new)

        assert await world.runtime.list() == (before,)

    run(enter, check)


def test_stop_leaves_nothing_and_may_be_repeated(enter: Enter) -> None:
    async def check(world: World) -> None:
        wanted = two_services()
        await world.runtime.start(wanted)

        await world.runtime.stop(wanted.lease, 0)
        await world.runtime.stop(wanted.lease, 0)
        await world.runtime.stop(lease_id(), 5)

        assert await world.runtime.list() == ()

    run(enter, check)


def test_leases_are_listed_in_order_and_apart(enter: Enter) -> None:
    async def check(world: World) -> None:
        one, two = launch(), launch()
        second = await world.runtime.start(two)
        first = await world.runtime.start(one)

        assert await world.runtime.list() == (first, second)
        await world.runtime.stop(one.lease, 0)
        assert await world.runtime.list() == (second,)

    run(enter, check)


@pytest.mark.parametrize(("image", "error"), [(NO_IMAGE, ImageUnavailable), (NO_REGISTRY, Temporary)])
def test_an_image_that_cannot_be_had(enter: Enter, image: str, error: type[Exception]) -> None:
    async def check(world: World) -> None:
        wanted = launch(replica(service("db")), replica(replace(service("web"), image=image)))

        with pytest.raises(error):
            await world.runtime.start(wanted)

        left = await only(world.runtime, wanted.lease)
        assert left is None or ContainerState.RUNNING not in {each.state for each in left.containers}
        await world.runtime.stop(wanted.lease, 0)
        assert await world.runtime.list() == ()

    run(enter, check)


def test_a_container_that_ends_is_seen_with_its_status(enter: Enter) -> None:
    async def check(world: World) -> None:
        wanted = launch(replica(service("web", "sleep 0.2; exit 3")))
        await world.runtime.start(wanted)

        workload = await eventually(
            lambda: only(world.runtime, wanted.lease),
            lambda told: told is not None and told.containers[0].state is ContainerState.EXITED,
        )

        assert workload is not None
        ended = workload.containers[0]
        assert (ended.exit_code, ended.oom_killed) == (3, False)
        assert ended.started_at is not None
        assert ended.finished_at is not None
        assert ended.finished_at >= ended.started_at

    run(enter, check)


def test_start_repairs_what_has_ended_and_leaves_the_rest(enter: Enter) -> None:
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

    run(enter, check)


def test_logs_are_lines_in_order_with_their_stream(enter: Enter) -> None:
    async def check(world: World) -> None:
        script = "echo one; sleep 0.1; echo two >&2; sleep 0.1; echo three; sleep 3600"
        wanted = launch(replica(service("web", script)))
        await world.runtime.start(wanted)

        followed = await take(world.runtime.logs(wanted.lease, LogRequest(follow=True)), 3)

        assert [(line.text, line.is_stderr) for line in followed] == [
            ("one", False),
            ("two", True),
            ("three", False),
        ]
        assert [line.at for line in followed] == sorted(line.at for line in followed)
        assert await collect(world.runtime.logs(wanted.lease, LogRequest())) == followed
        assert await collect(world.runtime.logs(wanted.lease, LogRequest(tail=1))) == followed[-1:]
        assert (
            await collect(world.runtime.logs(wanted.lease, LogRequest(since=followed[1].at))) == followed[1:]
        )

    run(enter, check)


def test_following_ends_when_the_containers_have(enter: Enter) -> None:
    async def check(world: World) -> None:
        wanted = launch(
            replica(service("db", "echo db; sleep 0.3; exit 0")),
            replica(service("web", "echo web; sleep 0.5; exit 1")),
        )
        await world.runtime.start(wanted)

        lines = await collect(world.runtime.logs(wanted.lease, LogRequest(follow=True)))
        of_web = await collect(world.runtime.logs(wanted.lease, LogRequest(service="web")))

        assert sorted((line.service, line.text) for line in lines) == [("db", "db"), ("web", "web")]
        assert [(line.service, line.replica, line.text) for line in of_web] == [("web", 0, "web")]

    run(enter, check)


def test_logs_of_what_is_not_there(enter: Enter) -> None:
    async def check(world: World) -> None:
        wanted = launch()
        await world.runtime.start(wanted)

        with pytest.raises(Permanent):
            await collect(world.runtime.logs(wanted.lease, LogRequest(service="none")))
        with pytest.raises(Permanent):
            await collect(world.runtime.logs(lease_id(), LogRequest()))

    run(enter, check)


@pytest.mark.parametrize(
    ("argv", "data", "errors", "code"),
    [
        (("echo", "hello"), b"hello\n", b"", 0),
        (("sh", "-c", "echo out; echo err >&2; exit 3"), b"out\n", b"err\n", 3),
        (("false",), b"", b"", 1),
    ],
)
def test_exec_gives_output_and_status(
    enter: Enter, argv: tuple[str, ...], data: bytes, errors: bytes, code: int
) -> None:
    async def check(world: World) -> None:
        wanted = launch()
        await world.runtime.start(wanted)

        async with await world.runtime.exec(wanted.lease, ExecRequest(service="web", argv=argv)) as session:
            output = await collect(session.output())

        assert b"".join(each.data for each in output if not each.is_stderr) == data
        assert b"".join(each.data for each in output if each.is_stderr) == errors
        assert output[-1] == ExecOutput(exit_code=code)

    run(enter, check)


def test_exec_reads_its_input_to_the_end(enter: Enter) -> None:
    async def check(world: World) -> None:
        wanted = launch()
        await world.runtime.start(wanted)

        async with await world.runtime.exec(
            wanted.lease, ExecRequest(service="web", argv=("cat",))
        ) as session:
            await session.write(b"first\n")
            await session.write(b"second\n")
            await session.close_input()
            output = await collect(session.output())

        assert b"".join(each.data for each in output) == b"first\nsecond\n"
        assert output[-1].exit_code == 0

    run(enter, check)


def test_exec_with_a_terminal(enter: Enter) -> None:
    async def check(world: World) -> None:
        wanted = launch()
        await world.runtime.start(wanted)

        request = ExecRequest(service="web", argv=("echo", "hello"), tty=True)
        async with await world.runtime.exec(wanted.lease, request) as session:
            await session.resize(30, 100)
            output = await collect(session.output())

        assert b"".join(each.data for each in output) == b"hello\r\n"
        assert output[-1].exit_code == 0

    run(enter, check)


def test_exec_where_nothing_runs(enter: Enter) -> None:
    async def check(world: World) -> None:
        wanted = launch()
        await world.runtime.start(wanted)

        with pytest.raises(Permanent):
            await world.runtime.exec(wanted.lease, ExecRequest(service="db", argv=("true",)))
        with pytest.raises(Permanent):
            await world.runtime.exec(wanted.lease, ExecRequest(service="web", replica=1, argv=("true",)))
        with pytest.raises(Permanent):
            await world.runtime.exec(lease_id(), ExecRequest(service="web", argv=("true",)))

    run(enter, check)


def test_a_hint_comes_first_and_whenever_something_ends(enter: Enter) -> None:
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

    run(enter, check)


def test_an_engine_that_is_away_is_temporary_and_nothing_else(enter: Enter) -> None:
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

    run(enter, check)


def test_capabilities_name_the_engine(enter: Enter) -> None:
    async def check(world: World) -> None:
        capabilities = await world.runtime.capabilities()

        assert capabilities.engine.split()[0] in {"docker", "simulated"}
        assert capabilities.gpu_problem is None

    run(enter, check)
