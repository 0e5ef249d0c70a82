"""What confines a container, on each engine: every key of what the engine made of it, and the filter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest

from provider.adapters.clock import SystemClock
from provider.adapters.runtime import DockerRuntime, DockerSettings, seccomp, spec
from provider.adapters.runtime.gpus import Attachment
from provider.domain.resources import MIB
from tests.integration.runtime import probe
from tests.integration.runtime.cards import settings
from tests.integration.runtime.conftest import SETTINGS
from tests.integration.runtime.engines import newer_engine, second_engine
from tests.integration.runtime.inside import shell
from tests.launches import IMAGE, launch, replica, service

pytestmark = [pytest.mark.docker, pytest.mark.timeout(120)]

OURS: dict[str, object] = {
    "CapAdd": list(spec.CAPABILITIES),
    "CapDrop": ["ALL"],
    "CgroupnsMode": "private",
    "DeviceRequests": [],
    "Init": True,
    "IpcMode": "private",
    "LogConfig": {"Type": "json-file", "Config": {"max-file": "3", "max-size": str(10 * MIB)}},
    "MaskedPaths": list(spec.MASKED_PATHS),
    "Memory": 64 * MIB,
    "MemorySwap": 64 * MIB,
    "MemorySwappiness": 0,
    "CpuShares": 512,
    "CpusetCpus": "",
    "CpusetMems": "",
    "NanoCpus": 500_000_000,
    "OomScoreAdj": 500,
    "PidsLimit": 4096,
    "ReadonlyPaths": list(spec.READONLY_PATHS),
    "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
    "Runtime": "runc",
    "SecurityOpt": ["no-new-privileges:true", f"seccomp={seccomp.profile()}"],
    "ShmSize": 64 * MIB,
}
"""With exactly this value."""
LEASES = {"Dns", "Mounts", "NetworkMode", "PortBindings", "StorageOpt", "Ulimits"}
"""Differ from lease to lease and from machine to machine; tested where they are made."""
OFF = """
    Annotations AutoRemove Binds BlkioDeviceReadBps BlkioDeviceReadIOps BlkioDeviceWriteBps
    BlkioDeviceWriteIOps BlkioWeight BlkioWeightDevice Cgroup CgroupParent ConsoleSize ContainerIDFile
    CpuCount CpuPercent CpuPeriod CpuQuota CpuRealtimePeriod CpuRealtimeRuntime
    DeviceCgroupRules Devices DnsOptions DnsSearch ExtraHosts GroupAdd IOMaximumBandwidth
    IOMaximumIOps Isolation KernelMemory KernelMemoryTCP Links MemoryReservation OomKillDisable PidMode
    Privileged PublishAllPorts ReadonlyRootfs Sysctls Tmpfs UTSMode UsernsMode VolumeDriver VolumesFrom
"""
"""Nothing of it is given to anybody."""
EXPECTED = {
    "io_uring_setup": "EPERM",
    "clone3": "ENOSYS",
    "af_alg": "EPERM",
    "af_vsock": "EPERM",
    "af_inet": "ok",
    "af_netlink": "ok",
    "raw": "EPERM",
    "packet": "EPERM",
    "unshare_user": "EPERM",
    "mount": "EPERM",
    "bpf": "EPERM",
    "keyctl": "EPERM",
    "userfaultfd": "EPERM",
    "perf_event_open": "EPERM",
    "open_by_handle_at": "EPERM",
    "get_flags": "ok",
    "set_flags": "EPERM",
    "set_attributes": "EPERM",
    "set_attributes_high": "EPERM",
    "close_on_exec": "ok",
    "ptrace_init": "ok",
}
"""Tracing its own processes is a container's good right."""


@pytest.fixture(scope="module", params=["docker", "docker-26"])
def engine(request: pytest.FixtureRequest, hello_image: str) -> Iterator[DockerSettings]:
    """Settings for the machine's engine, then for Debian 13's."""
    if request.param == "docker":
        yield SETTINGS
        return
    program = newer_engine()
    if program is None:
        pytest.skip("no second engine: scripts/unpack-engine.sh")
    with second_engine(program) as second:
        second.load(IMAGE)
        yield settings(second, simulated_gpus=True)


def run(wanted: DockerSettings, check: Callable[[DockerRuntime, docker.APIClient], Any]) -> None:
    async def entered() -> None:
        client = docker.APIClient(base_url=wanted.socket, version="1.41")
        async with DockerRuntime(wanted, SystemClock()) as runtime:
            try:
                await check(runtime, client)
            finally:
                for workload in await runtime.list():
                    await runtime.stop(workload.lease, 0)
                client.close()

    asyncio.run(entered())


def test_every_key_of_a_containers_host_configuration_is_known(engine: DockerSettings) -> None:
    async def check(runtime: DockerRuntime, client: docker.APIClient) -> None:
        workload = await runtime.start(launch(replica(service(), host_port=30107)))
        told: dict[str, object] = client.inspect_container(workload.containers[0].id)["HostConfig"]
        if "name=apparmor" in str(client.info()["SecurityOptions"]):
            told["SecurityOpt"] = [each for each in told["SecurityOpt"] if "apparmor" not in each]  # type: ignore[attr-defined]

        assert {key: told[key] for key in OURS} == OURS
        on = {key: value for key, value in told.items() if key in OFF.split() and value and value != [0, 0]}
        assert on == {}
        assert set(told) - OURS.keys() - LEASES - set(OFF.split()) == set(), (
            "an engine that is newer than this table"
        )

    run(engine, check)


def test_a_lease_that_is_held_to_cpus_sees_no_others(engine: DockerSettings) -> None:
    async def check(runtime: DockerRuntime, client: docker.APIClient) -> None:
        wanted = replace(launch(), cpus="0", memory_nodes="0")
        await runtime.start(wanted)
        told = await shell(runtime, wanted.lease, "grep _allowed_list /proc/self/status")
        assert dict(line.split(":\t") for line in told.splitlines()) == {
            "Cpus_allowed_list": "0",
            "Mems_allowed_list": "0",
        }

    run(engine, check)


def test_the_filter_holds_from_inside(engine: DockerSettings, tmp_path: Path) -> None:
    program = probe.build(tmp_path)

    async def check(runtime: DockerRuntime, client: docker.APIClient) -> None:
        wanted = launch()
        workload = await runtime.start(wanted)
        probe.put(client, workload.containers[0].id, program)
        told = await shell(runtime, wanted.lease, probe.PLACE)
        assert dict(line.split() for line in told.splitlines()) == EXPECTED

    run(engine, check)


PROGRAMS = """
set -e
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
cd /tmp
python3 -c 'import asyncio, socket, ssl, subprocess, threading
one = threading.Thread(target=print, args=("thread",)); one.start(); one.join()
print(subprocess.check_output(["echo", "child"], text=True).strip())
asyncio.run(asyncio.sleep(0)); socket.socket(socket.AF_INET6)
ssl.create_default_context()'
mkdir -p p/DEBIAN p/opt/x a/info a/updates r; touch p/opt/x/y a/status
cat >p/DEBIAN/control <<END
Package: x
Version: 1
Architecture: all
Maintainer: x <x@x>
Description: x
END
dpkg-deb --build p p.deb >/dev/null
dpkg --admindir=a --instdir=r --force-script-chrootless --log=/dev/null -i p.deb >/dev/null
ls r/opt/x
tar cf - p | gzip | gunzip | tar tf - >/dev/null
sort --parallel=4 /etc/passwd >/dev/null
echo done
"""


def test_programs_of_a_distribution_run_under_the_filter(hello_image: str, client: docker.APIClient) -> None:
    """This machine's own, seen read-only: not as a tenant would, but confined as one."""
    limits: Any = spec.container_config(
        launch(), launch().replicas[0], spec.Ground(settings=SETTINGS, attachment=Attachment())
    )["HostConfig"]
    kept = {key: limits[key] for key in ("CapAdd", "CapDrop", "SecurityOpt", "Init", "PidsLimit", "Runtime")}
    mounts = {"Binds": ["/:/host:ro"], "Tmpfs": {"/host/tmp": "exec"}, "NetworkMode": "none"}
    config = {
        "Image": hello_image,
        "Entrypoint": ["/bin/busybox", "chroot", "/host", "/bin/sh", "-c", PROGRAMS],
        "HostConfig": kept | mounts,
    }
    made = client.create_container_from_config(config, None)["Id"]  # type: ignore[no-untyped-call]
    try:
        client.start(made)
        status = client.wait(made)["StatusCode"]
        told = client.logs(made).decode()
        assert (status, told.split()) == (0, ["thread", "child", "y", "done"]), told
    finally:
        client.remove_container(made, force=True)
