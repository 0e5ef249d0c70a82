"""An agent that is killed in the act, and an engine that is."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from provider.adapters.clock import SystemClock
from provider.adapters.runtime import DockerRuntime, naming
from provider.domain.errors import Temporary
from provider.domain.workload import Container, ContainerState, ReplicaLaunch, Workload
from provider.ports import LogRequest
from tests.integration.runtime import agent_process
from tests.integration.runtime.engines import SecondEngine, machines_engine, second_engine
from tests.integration.runtime.socket_proxy import EngineProxy
from tests.launches import BOUND_S, IMAGE, eventually, launch, lease_id, replica, service, take

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]

ENGINE = "/var/run/docker.sock"
PROVIDER = f"crash-{os.getpid()}"


@pytest.fixture(autouse=True)
def nothing_left(hello_image: str) -> Iterator[None]:
    """Whatever a test fails at, what it began ends with it."""
    yield

    async def stop_all() -> None:
        async with DockerRuntime(
            agent_process.settings(f"unix://{ENGINE}", PROVIDER), SystemClock()
        ) as runtime:
            for workload in await runtime.list():
                await runtime.stop(workload.lease, 0)

    asyncio.run(stop_all())


def running(workload: Workload) -> list[Container]:
    return [each for each in workload.containers if each.state is ContainerState.RUNNING]


@pytest.mark.parametrize(
    "moment",
    [
        "POST /networks/create",
        "POST /containers/create",
        "POST /containers/*/start",
        "GET /containers/*/json",
    ],
)
def test_an_agent_killed_in_the_act_leaves_what_the_next_one_takes_up(
    hello_image: str, client: docker.APIClient, tmp_path: Path, moment: str
) -> None:
    lease = lease_id("crash")

    async def check() -> None:
        proxy = EngineProxy(target=ENGINE, path=str(tmp_path / "engine.sock"), held=moment)
        async with proxy:
            command = [
                sys.executable,
                "-m",
                agent_process.__name__,
                f"unix://{proxy.path}",
                str(lease),
                PROVIDER,
            ]
            agent = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
            async with asyncio.timeout(BOUND_S):
                await proxy.reached.wait()
            agent.kill()
            await agent.communicate()

        labels = {"label": f"{naming.LEASE}={lease}"}
        before = {each["Id"] for each in client.containers(all=True, filters=labels)}
        async with DockerRuntime(
            agent_process.settings(f"unix://{ENGINE}", PROVIDER), SystemClock()
        ) as runtime:
            workload = await runtime.start(agent_process.wanted(lease))

            assert [(each.service, each.replica) for each in running(workload)] == [("db", 0), ("web", 0)]
            assert before <= {each.id for each in workload.containers}  # taken up, not made anew
            assert await runtime.list() == (workload,)
            await runtime.stop(lease, 0)
            assert await runtime.list() == ()
        assert not client.networks(filters=labels)

    asyncio.run(check())


def test_an_agent_killed_in_the_act_leaves_what_stop_removes(
    hello_image: str, client: docker.APIClient, tmp_path: Path
) -> None:
    lease = lease_id("crash")

    async def check() -> None:
        proxy = EngineProxy(
            target=ENGINE, path=str(tmp_path / "engine.sock"), held="POST /containers/*/start"
        )
        async with proxy:
            command = [
                sys.executable,
                "-m",
                agent_process.__name__,
                f"unix://{proxy.path}",
                str(lease),
                PROVIDER,
            ]
            agent = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
            async with asyncio.timeout(BOUND_S):
                await proxy.reached.wait()
            agent.kill()
            await agent.communicate()

        async with DockerRuntime(
            agent_process.settings(f"unix://{ENGINE}", PROVIDER), SystemClock()
        ) as runtime:
            (left,) = await runtime.list()
            assert (left.lease, running(left)) == (lease, [])
            await runtime.stop(left.lease, 5)
            assert await runtime.list() == ()

    asyncio.run(check())


def test_a_start_that_is_called_off_leaves_what_stop_removes(hello_image: str, tmp_path: Path) -> None:
    async def check() -> None:
        proxy = EngineProxy(
            target=ENGINE, path=str(tmp_path / "engine.sock"), held="POST /containers/*/start"
        )
        settings = replace(agent_process.settings(f"unix://{proxy.path}", PROVIDER), call_timeout_s=3)
        async with proxy, DockerRuntime(settings, SystemClock()) as runtime:
            wanted = agent_process.wanted(lease_id("crash"))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(2):
                    await runtime.start(wanted)
            await runtime.stop(wanted.lease, 0)
            assert await runtime.list() == ()

    asyncio.run(check())


def test_an_engine_that_hangs_is_temporary(hello_image: str, tmp_path: Path) -> None:
    async def check() -> None:
        proxy = EngineProxy(target=ENGINE, path=str(tmp_path / "engine.sock"), held="GET /containers/json")
        settings = replace(agent_process.settings(f"unix://{proxy.path}", PROVIDER), call_timeout_s=1)
        async with proxy, DockerRuntime(settings, SystemClock()) as runtime:
            with pytest.raises(Temporary, match="did not answer in time"):
                await runtime.list()
            proxy.held = ""
            assert await runtime.list() == ()

    asyncio.run(check())


# The SDK does not close a socket that could not be connected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_engine_that_is_killed_comes_back_with_its_leases(hello_image: str) -> None:
    with second_engine(machines_engine()) as engine:
        engine.load(IMAGE)
        asyncio.run(_engine_dies(engine))


async def _engine_dies(engine: SecondEngine) -> None:
    async with DockerRuntime(agent_process.settings(engine.socket, PROVIDER), SystemClock()) as runtime:
        stays = launch(replica(service("web")))
        ends = launch(replica(service("web", "sleep 2; exit 5")))
        first = await runtime.start(stays)
        await runtime.start(ends)
        hints = aiter(runtime.hints())
        await take(hints, 1)

        await asyncio.to_thread(engine.kill)
        with pytest.raises(Temporary):
            await runtime.list()
        with pytest.raises(Temporary):
            await runtime.start(stays)
        await asyncio.to_thread(engine.start)

        await take(hints, 1)
        listed = {each.lease: each for each in await runtime.list()}
        assert listed[stays.lease] == first  # the same container, running on
        assert await runtime.start(stays) == first

        async def has_ended() -> bool:
            told = {each.lease: each for each in await runtime.list()}
            return told[ends.lease].containers[0].state is ContainerState.EXITED

        await eventually(has_ended, bool)
        for lease in listed:
            await runtime.stop(lease, 0)
        assert await runtime.list() == ()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_ends_while_an_engine_comes_up_leaves_nothing_behind(hello_image: str) -> None:
    """Such an engine keeps the endpoints of containers that it knows no more."""
    with second_engine(machines_engine(), {"debug": True}) as engine:
        engine.load(IMAGE)
        asyncio.run(_containers_die(engine))


async def _containers_die(engine: SecondEngine) -> None:
    async with DockerRuntime(agent_process.settings(engine.socket, PROVIDER), SystemClock()) as runtime:
        launched = [await runtime.start(launch(replica(service("web")))) for _ in range(3)]
        with engine.client() as client:
            pids = [
                client.inspect_container(container.id)["State"]["Pid"]
                for workload in launched
                for container in workload.containers
            ]
        await asyncio.to_thread(engine.kill)
        said = engine.log.stat().st_size
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(engine.start))

            async def has_found_them_alive() -> bool:
                return b"Network Control Plane MTU" in engine.log.read_bytes()[said:]

            await eventually(has_found_them_alive, bool)
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
        for workload in launched:
            await runtime.stop(workload.lease, 0)
        assert await runtime.list() == ()
        with engine.client() as client:
            assert {each["Name"] for each in client.networks()} == {"host", "none"}


def test_leaving_the_runtime_ends_what_follows_logs(hello_image: str) -> None:
    async def check() -> None:
        wanted = agent_process.wanted(lease_id("crash"))
        async with asyncio.timeout(BOUND_S):
            async with DockerRuntime(
                agent_process.settings(f"unix://{ENGINE}", PROVIDER), SystemClock()
            ) as runtime:
                await runtime.start(replace(wanted, replicas=tuple(chatty(each) for each in wanted.replicas)))
                lines = runtime.logs(wanted.lease, LogRequest(follow=True))
                await take(lines, 1)
            async with DockerRuntime(
                agent_process.settings(f"unix://{ENGINE}", PROVIDER), SystemClock()
            ) as runtime:
                await runtime.stop(wanted.lease, 0)

    asyncio.run(check())


def chatty(quiet: ReplicaLaunch) -> ReplicaLaunch:
    return replace(quiet, service=replace(quiet.service, command=("sh", "-c", "echo hello; sleep 3600")))
