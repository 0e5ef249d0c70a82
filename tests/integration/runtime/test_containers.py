"""What really is inside and around a lease's containers, on the machine's engine."""

from __future__ import annotations

import asyncio
import socket
import urllib.request
from dataclasses import replace

import docker
import docker.types
import pytest

from provider.adapters.clock import SystemClock
from provider.adapters.runtime import DockerRuntime, naming
from provider.app.demo.stage import free_port
from provider.domain.errors import Permanent, Temporary
from provider.domain.ids import ProviderId
from provider.domain.manifest import MountPoint, ServiceParams
from provider.domain.resources import MIB, Volume
from provider.domain.workload import ContainerState, ExitCause
from provider.ports import LogRequest
from tests.integration.runtime.conftest import SETTINGS, Run
from tests.integration.runtime.inside import changed_image, shell
from tests.launches import (
    IMAGE,
    collect_lines,
    eventually,
    launch,
    replica,
    service,
    take_lines,
)

pytestmark = pytest.mark.docker

CAPABILITIES = (0, 1, 3, 4, 5, 6, 7, 10, 18, 29)
"""The ten that a tenant keeps, by their numbers in linux/capability.h."""


def get(port: int, path: str = "/") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        text: str = answer.read().decode()
        return text


async def page(port: int) -> str:
    async def read() -> str:
        try:
            return await asyncio.to_thread(get, port)
        except OSError:
            return ""

    return await eventually(read, bool)


def test_the_port_answers_and_the_page_names_lease_and_gpus(on_docker: Run) -> None:
    async def check(runtime: DockerRuntime) -> None:
        port = free_port()
        wanted = launch(replica(service(script=None), gpus=("GPU-a", "GPU-b"), host_port=port))
        await runtime.start(wanted)

        text = await page(port)

        assert f"lease:    {wanted.lease}" in text
        assert "GPUs:     GPU-a,GPU-b (SIMULATED)" in text
        assert await asyncio.to_thread(get, port, "/healthz") == "ok\n"
        lines = await take_lines(runtime.logs(wanted.lease, LogRequest(follow=True)), 2)
        assert lines[0].text.startswith("hello: serving on port 8080")
        assert lines[1].text == "hello: heartbeat 1"

    on_docker(check)


def test_a_tenants_words_about_gpus_have_no_effect(on_docker: Run) -> None:
    async def check(runtime: DockerRuntime) -> None:
        env = (
            "NVIDIA_VISIBLE_DEVICES=all",
            "NVIDIA_DRIVER_CAPABILITIES=all",
            "PROVIDER_LEASE=forged",
            "MINE=1",
            "BARE",
        )
        wanted = launch(replica(service(env=env)))
        await runtime.start(wanted)

        told = dict(
            line.partition("=")[::2] for line in (await shell(runtime, wanted.lease, "env")).splitlines()
        )

        assert told["NVIDIA_VISIBLE_DEVICES"] == "void"
        assert "NVIDIA_DRIVER_CAPABILITIES" not in told
        assert told["PROVIDER_LEASE"] == str(wanted.lease)
        assert (told["MINE"], told["BARE"]) == ("1", "")
        assert (told["AKASH_OWNER"], told["AKASH_DEPLOYMENT_SEQUENCE"]) == ("alice", str(wanted.lease.dseq))

    on_docker(check)


def test_an_images_words_about_gpus_have_no_effect(on_docker: Run, client: docker.APIClient) -> None:
    async def check(runtime: DockerRuntime) -> None:
        wanted = launch(replica(service(image=image)))
        await runtime.start(wanted)

        told = await shell(runtime, wanted.lease, "env | grep -e NVIDIA -e KEPT")

        assert sorted(told.splitlines()) == ["KEPT=1", "NVIDIA_VISIBLE_DEVICES=void"]

    with changed_image(client, "ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_GDS=enabled KEPT=1") as image:
        on_docker(check)


def test_a_container_has_few_rights_and_firm_limits(on_docker: Run, client: docker.APIClient) -> None:
    async def check(runtime: DockerRuntime) -> None:
        wanted = launch()
        workload = await runtime.start(wanted)

        status = await shell(runtime, wanted.lease, "cat /proc/1/status")
        host = client.inspect_container(workload.containers[0].id)["HostConfig"]

        facts = dict(line.split(":", 1) for line in status.splitlines())
        assert facts["NoNewPrivs"].strip() == "1"
        assert int(facts["CapEff"], 16) == sum(1 << number for number in CAPABILITIES)
        assert facts["Seccomp"].strip() == "2"
        assert (host["Memory"], host["MemorySwap"], host["NanoCpus"]) == (64 * MIB, 64 * MIB, 500_000_000)
        assert (host["Privileged"], host["Runtime"], host["PidsLimit"]) == (False, "runc", 4096)
        assert (host["RestartPolicy"]["Name"], host["LogConfig"]["Config"]["max-file"]) == ("no", "3")
        assert (host["Devices"] or [], host["Binds"] or []) == ([], [])

    on_docker(check)


def test_services_find_each_other_by_name_and_only_in_their_lease(on_docker: Run) -> None:
    async def check(runtime: DockerRuntime) -> None:
        db = service("db", script=None)
        one, other = launch(replica(db), replica(service())), launch(replica(service()))
        await runtime.start(one)
        await runtime.start(other)

        async def fetched() -> str:
            return await shell(runtime, one.lease, "wget -q -O - http://db:8080/healthz || true")

        assert await eventually(fetched, lambda text: text != "") == "ok"
        assert "bad address" in await shell(runtime, other.lease, "wget -q -O - http://db:8080/healthz 2>&1")

    on_docker(check)


def test_a_command_that_is_not_there_ends_at_once_and_the_log_says_why(on_docker: Run) -> None:
    async def check(runtime: DockerRuntime) -> None:
        wanted = launch(replica(service("web", None, command=("/no/such/program",))))
        await runtime.start(wanted)

        async def look() -> bool:
            (workload,) = await runtime.list()
            return workload.containers[0].exit_code == 127

        await eventually(look, bool)
        lines = await collect_lines(runtime.logs(wanted.lease, LogRequest()))
        assert "/no/such/program" in lines[0].text

    on_docker(check)


def test_more_cores_than_there_are_are_all_of_them(on_docker: Run) -> None:
    async def check(runtime: DockerRuntime) -> None:
        odd = service("web")
        odd = replace(odd, resources=replace(odd.resources, cpu_millis=1_000_000))
        assert len((await runtime.start(launch(replica(odd)))).containers) == 1

    on_docker(check)


def test_what_the_engine_cannot_run_is_permanent_and_leaves_nothing_running(on_docker: Run) -> None:
    async def check(runtime: DockerRuntime) -> None:
        odd = service("web")
        odd = replace(odd, resources=replace(odd.resources, memory_bytes=1 * MIB))

        with pytest.raises(Permanent, match=r"[Mm]inimum memory limit"):
            await runtime.start(launch(replica(service("db")), replica(odd)))

        (left,) = await runtime.list()
        assert ContainerState.RUNNING not in {each.state for each in left.containers}

    on_docker(check)


def test_a_failure_to_start_the_second_ends_the_first(on_docker: Run, client: docker.APIClient) -> None:
    async def check(runtime: DockerRuntime) -> None:
        with changed_image(client, "USER nobody-knows") as image, pytest.raises(Permanent, match="find user"):
            await runtime.start(launch(replica(service("db")), replica(service("web", image=image))))

        (left,) = await runtime.list()
        assert [each.state for each in left.containers] == [ContainerState.EXITED, ContainerState.CREATED]

    on_docker(check)


def test_a_volume_in_the_place_of_a_file_is_permanent(on_docker: Run) -> None:
    async def check(runtime: DockerRuntime) -> None:
        point = ServiceParams(storage=(MountPoint(name="data", mount="/bin/busybox"),))
        odd = service(params=point)
        odd = replace(odd, resources=replace(odd.resources, storage=(Volume(name="data", size_bytes=MIB),)))

        with pytest.raises(Permanent, match="directory"):
            await runtime.start(launch(replica(odd)))

    on_docker(check)


def test_a_port_that_is_taken_is_temporary(on_docker: Run) -> None:
    async def check(runtime: DockerRuntime) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(Temporary, match="in use"):
                await runtime.start(launch(replica(service(), host_port=port)))

    on_docker(check)


def test_memory_beyond_the_limit_is_told_as_such(on_docker: Run) -> None:
    async def check(runtime: DockerRuntime) -> None:
        wanted = launch(replica(service(script="x=$(yes | head -c 200000000); echo never")))
        await runtime.start(wanted)

        async def look() -> bool:
            (workload,) = await runtime.list()
            return workload.containers[0].cause is ExitCause.OOM and workload.containers[0].exit_code == 137

        await eventually(look, bool)

    on_docker(check)


def test_two_providers_on_one_engine_do_not_see_each_others(on_docker: Run) -> None:
    async def check(runtime: DockerRuntime) -> None:
        other = replace(SETTINGS, provider=ProviderId("somebody-else"))
        async with DockerRuntime(other, SystemClock()) as elsewhere:
            wanted = launch()
            workload = await runtime.start(wanted)

            assert await elsewhere.list() == ()
            await elsewhere.stop(wanted.lease, 0)
            assert await runtime.list() == (workload,)

    on_docker(check)


def test_what_is_not_ours_is_left_alone(on_docker: Run, client: docker.APIClient) -> None:
    foreign = client.create_container(IMAGE, name="gp-test-foreign")["Id"]
    try:

        async def check(runtime: DockerRuntime) -> None:
            wanted = launch()
            await runtime.start(wanted)
            await runtime.stop(wanted.lease, 0)
            assert await runtime.list() == ()

        on_docker(check)
        assert client.inspect_container(foreign)["State"]["Status"] == "created"
    finally:
        client.remove_container(foreign)


def test_a_foreign_container_under_our_name_is_left_alone(on_docker: Run, client: docker.APIClient) -> None:
    wanted = launch()
    foreign = client.create_container(IMAGE, name=naming.container_name(wanted.lease, "web", 0))["Id"]

    async def check(runtime: DockerRuntime) -> None:
        with pytest.raises(Permanent, match="not ours"):
            await runtime.start(wanted)

    try:
        on_docker(check)
        assert client.inspect_container(foreign)["State"]["Status"] == "created"
    finally:
        client.remove_container(foreign)


def test_what_is_left_of_a_lease_is_listed_and_removed(on_docker: Run, client: docker.APIClient) -> None:
    async def check(runtime: DockerRuntime) -> None:
        wanted = launch()
        workload = await runtime.start(wanted)
        client.remove_container(workload.containers[0].id, force=True)

        (left,) = await runtime.list()
        assert (left.lease, left.containers) == (wanted.lease, ())
        await runtime.stop(left.lease, 0)
        assert await runtime.list() == ()

    on_docker(check)
