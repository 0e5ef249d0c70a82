"""Leases up and down, one and twenty at once, against ``docker run -d`` with the same options, in one run.

Both make a private network first and have the image; rounds alternate, so that both see the same machine.
"""

from __future__ import annotations

import asyncio
import ipaddress
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import docker

from provider.adapters.clock import SystemClock
from provider.adapters.runtime import DockerRuntime, DockerSettings, seccomp
from provider.adapters.runtime.gpus import Attachment
from provider.adapters.runtime.host import open_files_ceiling
from provider.adapters.runtime.networks import subnets
from provider.adapters.runtime.spec import Ground, container_config
from provider.app import busybox_image
from provider.domain.ids import ProviderId
from provider.domain.workload import Launch
from tests.engine_images import IMAGES
from tests.launches import IMAGE, launch, lease_id, replica, service

AT_ONCE = {1: 15, 20: 3}
"""Leases started together, and how often that is measured."""
HOST_PORT = 31_800
"""The first; one a lease."""
TOOLS = Path("build/tools")
PROFILE = TOOLS.parent / "bench-seccomp.json"
RESOLVERS = ("10.255.255.53",)
SETTINGS = DockerSettings(
    provider=ProviderId("bench"), simulated_gpus=True, bind_address="127.0.0.1", images=IMAGES
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """Milliseconds from the first call to the last answer."""

    up: float
    down: float


def rows() -> list[dict[str, object]]:
    """Medians in milliseconds. Needs an engine on the default socket and the ``docker`` command."""
    client = docker.APIClient(base_url=SETTINGS.socket, version="1.41")
    busybox_image.import_into(client, busybox_image.find_busybox(TOOLS), IMAGE)
    PROFILE.write_text(seccomp.profile())
    try:
        return [row for count in AT_ONCE for row in asyncio.run(_rows(count))]
    finally:
        busybox_image.remove_from(client, IMAGE)
        client.close()


async def _rows(count: int) -> list[dict[str, object]]:
    ours, baseline = await _measure(count)
    together = f"{count} leases at once" if count > 1 else "a lease"
    return [
        _row(
            f"launch of {together}: accepted -> running, image present", ours, baseline, lambda each: each.up
        ),
        _row(f"close of {together}: -> all gone", ours, baseline, lambda each: each.down),
    ]


def _row(name: str, ours: list[Took], baseline: list[Took], of: Callable[[Took], float]) -> dict[str, object]:
    ours_ms, baseline_ms = statistics.median(map(of, ours)), statistics.median(map(of, baseline))
    return {
        "name": name,
        "ours": round(ours_ms, 1),
        "baseline": round(baseline_ms, 1),
        "unit": "ms",
        "ratio": round(ours_ms / baseline_ms, 3),
        "target": 1.1,
    }


async def _measure(count: int) -> tuple[list[Took], list[Took]]:
    """In turns, so that both see the same machine."""
    ours, baseline = [], []
    async with DockerRuntime(SETTINGS, SystemClock()) as runtime:
        await runtime.capabilities()
        for _ in range(AT_ONCE[count] + 1):
            ours.append(await _with_us(runtime, count))
            baseline.append(await _by_hand(count))
    return ours[1:], baseline[1:]  # the first round warms caches


async def _with_us(runtime: DockerRuntime, count: int) -> Took:
    wanted = [_launch(number) for number in range(count)]
    began = time.perf_counter()
    await asyncio.gather(*(runtime.start(each) for each in wanted))
    up = time.perf_counter()
    await asyncio.gather(*(runtime.stop(each.lease, 0) for each in wanted))
    return Took(up=(up - began) * 1000, down=(time.perf_counter() - up) * 1000)


def _launch(number: int) -> Launch:
    port = HOST_PORT + number
    return launch(replica(service(), gpus=(f"GPU-{number}",), host_port=port), lease=lease_id("bench"))


async def _by_hand(count: int) -> Took:
    """``docker network create`` and ``docker run -d`` with the options that we use, then what undoes them."""
    began = time.perf_counter()
    made = await asyncio.gather(*(asyncio.to_thread(_run, number) for number in range(count)))
    up = time.perf_counter()
    await asyncio.gather(*(asyncio.to_thread(_remove, *each) for each in made))
    return Took(up=(up - began) * 1000, down=(time.perf_counter() - up) * 1000)


def _run(number: int) -> tuple[str, str]:
    wanted = _launch(number)
    pool = ipaddress.IPv4Network(SETTINGS.subnet_pool)
    size = next(iter(subnets(pool, wanted.lease, 1))).prefixlen
    subnet = next(islice(pool.subnets(new_prefix=size), number, None))  # two of them never want the same
    network = f"gp-bench-{number}"
    made = ["network", "create", "--driver", "bridge", "--opt", f"com.docker.network.bridge.name=gpb{number}"]
    _docker(*made, "--subnet", str(subnet), "--label", "gp.bench=1", network)
    options = _options(wanted, network, HOST_PORT + number)
    return _docker("run", "-d", *options, IMAGE, "-c", "sleep 3600").strip(), network


def _remove(container: str, network: str) -> None:
    _docker("rm", "-f", "-v", container)
    _docker("network", "rm", network)


def _options(wanted: Launch, network: str, host_port: int) -> Iterator[str]:
    """The container configuration that we send, as options of the command line.

    All but two more masked paths, for which that has none.
    """
    ground = Ground(
        settings=SETTINGS,
        attachment=Attachment(),
        dns=RESOLVERS,
        open_files=open_files_ceiling(SETTINGS.socket_path),
    )
    config = container_config(wanted, wanted.replicas[0], ground)
    host = config["HostConfig"]
    assert isinstance(host, dict)
    yield from ("--security-opt", f"seccomp={PROFILE}", "--hostname", str(config["Hostname"]))
    for resolver in host["Dns"]:
        yield from ("--dns", resolver)
    yield from ("--network", network, "--network-alias", "web", "--entrypoint", "sh", "--no-healthcheck")
    yield from ("--cap-drop", "ALL", "--security-opt", "no-new-privileges:true", "--init", "--ipc", "private")
    yield from ("--runtime", host["Runtime"], "--cgroupns", "private", "--restart", "no")
    yield from ("--memory", str(host["Memory"]), "--memory-swap", str(host["MemorySwap"]))
    yield from ("--memory-swappiness", "0", "--shm-size", str(host["ShmSize"]), "--cpus", "0.5")
    yield from ("--cpu-shares", str(host["CpuShares"]))
    yield from ("--pids-limit", str(host["PidsLimit"]), "--oom-score-adj", str(host["OomScoreAdj"]))
    for limit in host["Ulimits"]:
        yield from ("--ulimit", "{Name}={Soft}:{Hard}".format_map(limit))
    yield from ("--log-driver", "json-file")
    yield from ("--log-opt", "max-size=10m", "--log-opt", "max-file=3")
    yield from ("--publish", f"127.0.0.1:{host_port}:8080")
    for capability in host["CapAdd"]:
        yield from ("--cap-add", capability)
    for option, key in (("--env", "Env"), ("--label", "Labels")):
        told = config[key]
        assert isinstance(told, dict | list)
        lines = [f"{name}={text}" for name, text in told.items()] if isinstance(told, dict) else told
        for line in lines:
            yield from (option, str(line))


def _docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    print(rows())
