"""The rules stay: whatever somebody does to them, to the engine, or to the agent in the act."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from structlog.testing import capture_logs

from provider.adapters.clock import SystemClock
from provider.adapters.runtime import DockerRuntime, naming
from provider.adapters.runtime.egress import place
from provider.adapters.runtime.egress.settings import NetworkSettings
from provider.domain.errors import Temporary
from provider.domain.workload import ContainerState
from tests.conftest import ENGINE
from tests.integration.runtime import agent_process
from tests.integration.runtime import network_world as net
from tests.integration.runtime.engines import machines_engine, newer_engine
from tests.integration.runtime.network_world import TABLE, Surroundings, agent, lived, reached, run
from tests.integration.runtime.socket_proxy import EngineProxy
from tests.launches import BOUND_S, IMAGE, launch, lease_id

pytestmark = [pytest.mark.docker, pytest.mark.timeout(120)]

ON = NetworkSettings()
FORBIDDEN = ("tcp", net.NEIGHBOUR, net.SERVICE)


@pytest.fixture(scope="module")
def world(hello_image: str) -> Iterator[Surroundings]:
    with net.surrounded(newer_engine() or machines_engine()) as made:
        made.engine.load(IMAGE)
        yield made


HANDS = (
    "delete table inet {table}",
    "flush table inet {table}",
    "flush chain inet {table} forward",
    "insert rule inet {table} outbound accept",
    "flush set inet {table} leases",
    "flush set inet {table} barred",
)
"""Each opens a lease's way to the LAN."""


def test_what_somebody_did_to_the_rules_is_undone_at_the_next_look(world: Surroundings) -> None:
    async def check() -> None:
        async with agent(world, ON) as runtime:
            workload = await runtime.start(launch())
            inside = world.inside(workload.containers[0].id)
            await runtime.list()
            for hand in HANDS:
                assert reached(inside, [FORBIDDEN]) == {FORBIDDEN: False}, hand

                world.nft(*hand.format(table=TABLE).split())
                assert reached(inside, [FORBIDDEN]) == {FORBIDDEN: True}, hand
                with capture_logs() as logs:
                    await runtime.list()
                    await runtime.list()

                assert [each["event"] for each in logs] == ["lease_rules_put_back"], hand
            assert reached(inside, [FORBIDDEN]) == {FORBIDDEN: False}

    lived(world, check)


def test_rules_outlive_the_agent_and_the_engine(world: Surroundings) -> None:
    async def check() -> None:
        async with agent(world, ON) as runtime:
            workload = await runtime.start(launch())
        inside = world.inside(workload.containers[0].id)
        assert reached(inside, [FORBIDDEN]) == {FORBIDDEN: False}

        await asyncio.to_thread(world.engine.kill)
        assert reached(inside, [FORBIDDEN]) == {FORBIDDEN: False}
        await asyncio.to_thread(world.engine.start)

        assert reached(inside, [FORBIDDEN]) == {FORBIDDEN: False}
        async with agent(world, ON) as runtime:
            with capture_logs() as logs:
                await runtime.list()
            assert reached(inside, [FORBIDDEN]) == {FORBIDDEN: False}
            assert logs == []  # nobody had touched them

    lived(world, check)


def test_a_bridge_whose_name_is_taken_is_called_otherwise_and_fenced_in_too(world: Surroundings) -> None:
    """As after an engine was killed while it made the network; here it is another network's."""

    async def check() -> None:
        wanted = launch()
        usual, other, *_ = naming.bridges(wanted.lease)
        client = docker.DockerClient(base_url=world.engine.socket, version="1.41")
        taken = client.networks.create("taken", options={"com.docker.network.bridge.name": usual})
        try:
            async with agent(world, ON) as runtime:
                workload = await runtime.start(wanted)
                inside = world.inside(workload.containers[0].id)
                assert reached(inside, [FORBIDDEN]) == {FORBIDDEN: False}
                assert other in world.nft("list", "set", "inet", TABLE, "leases")

                await runtime.stop(wanted.lease, 0)
                assert taken in client.networks.list(names=["taken"])
        finally:
            taken.remove()
            client.close()

    lived(world, check)


def test_nothing_starts_while_the_rules_cannot_be_put_in_place(
    world: Surroundings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here: without ``nft``. What runs goes on, and is fenced in again as soon as that is possible."""
    for name in ("nsenter", "tc"):
        (tmp_path / name).symlink_to(_program(name))

    async def check() -> None:
        async with agent(world, ON) as runtime:
            runs, wanted = await runtime.start(launch()), launch()
            path = os.environ["PATH"]
            monkeypatch.setenv("PATH", str(tmp_path))
            with pytest.raises(Temporary, match="nft is not installed") as refused:
                await runtime.start(wanted)
            assert "apt-get install nftables" in (refused.value.remedy or "")
            (unfit,) = [
                each for each in (await runtime.capabilities()).unfit if each.part == "network filter"
            ]
            assert "nft is not installed" in unfit.found
            assert not unfit.is_allowed

            with capture_logs() as logs:
                listed = {each.lease: each for each in await runtime.list()}
                await runtime.list()
            assert [each["event"] for each in logs] == ["lease_rules_not_in_place"]
            assert listed[runs.lease].containers[0].state is ContainerState.RUNNING
            assert all(
                each.state is not ContainerState.RUNNING
                for lease, workload in listed.items()
                for each in workload.containers
                if lease == wanted.lease
            )
            await runtime.stop(wanted.lease, 0)  # the way down needs no rules

            monkeypatch.setenv("PATH", path)
            await runtime.start(wanted)

    lived(world, check)


def test_a_filter_that_is_off_takes_its_table_along_and_says_so(world: Surroundings) -> None:
    async def check() -> None:
        async with agent(world, ON) as runtime:
            workload = await runtime.start(launch())
        async with agent(world, NetworkSettings(filters=False)) as runtime:
            await runtime.list()

            assert TABLE not in world.nft("list", "tables")
            (unfit,) = [
                each for each in (await runtime.capabilities()).unfit if each.part == "network filter"
            ]
            assert unfit.is_allowed
            assert reached(world.inside(workload.containers[0].id), [FORBIDDEN]) == {FORBIDDEN: True}

    lived(world, check)


@pytest.mark.parametrize("moment", ["POST /networks/create", "POST /containers/*/start"])
def test_an_agent_killed_in_the_act_leaves_no_container_without_rules(
    hello_image: str, tmp_path: Path, moment: str
) -> None:
    """On the machine's own engine: beside whatever else it has, and gone in the end."""
    lease, provider = lease_id("killed"), f"killed-{os.getpid()}"
    socket = ENGINE.removeprefix("unix://")

    async def check() -> None:
        proxy = EngineProxy(target=socket, path=str(tmp_path / "engine.sock"), held=moment)
        command = (sys.executable, "-m", agent_process.__name__)
        async with proxy:
            process = await asyncio.create_subprocess_exec(
                *command, f"unix://{proxy.path}", str(lease), provider, stdout=subprocess.PIPE
            )
            async with asyncio.timeout(BOUND_S):
                await proxy.reached.wait()
            process.kill()
            await process.communicate()

        async with DockerRuntime(agent_process.settings(ENGINE, provider), SystemClock()) as runtime:
            if "start" in moment:
                assert naming.network_name(lease) in leases_in(provider)
            await runtime.list()
            for workload in await runtime.list():
                assert naming.network_name(workload.lease) in leases_in(provider)
                await runtime.stop(workload.lease, 0)
            await runtime.list()
        assert leases_in(provider) == []

    asyncio.run(check())


def leases_in(provider: str) -> list[str]:
    """The bridges in a provider's table on this machine; none without a table."""
    command = ["nft", "-j", "list", "set", "inet", f"gp-{provider}", "leases"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return []
    told = next(each["set"] for each in json.loads(done.stdout)["nftables"] if "set" in each)
    return list(told.get("elem", ()))


def _program(name: str) -> str:
    return run("/proc/self/ns/net", "sh", "-c", f"command -v {name}").strip()


def test_while_nobody_listens_there_is_no_place_for_rules(tmp_path: Path) -> None:
    """An engine that is being restarted must not get its rules somewhere else."""
    with pytest.raises(Temporary, match="the engine is away"):
        place.find(str(tmp_path / "docker.sock"))
