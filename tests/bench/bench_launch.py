"""Lease accepted -> service running, against ``docker run -d`` with the same options, in one run.

Both make a private network first and have the image; rounds alternate, so that both see the same machine.
"""

from __future__ import annotations

import asyncio
import ipaddress
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import docker

from provider.adapters.clock import SystemClock
from provider.adapters.runtime import DockerRuntime, DockerSettings
from provider.adapters.runtime.gpus import Attachment
from provider.adapters.runtime.networks import subnets
from provider.adapters.runtime.spec import Ground, container_config
from provider.app import busybox_image
from provider.domain.ids import LeaseId, ProviderId
from provider.domain.workload import Launch
from tests.engine_images import IMAGES
from tests.launches import IMAGE, launch, lease_id, replica, service

ROUNDS = 15
HOST_PORT = 31_890
TOOLS = Path("build/tools")
SETTINGS = DockerSettings(
    provider=ProviderId("bench"), simulated_gpus=True, bind_address="127.0.0.1", images=IMAGES
)


def rows() -> list[dict[str, object]]:
    """One row: medians in milliseconds. Needs an engine on the default socket and the ``docker`` command."""
    client = docker.APIClient(base_url=SETTINGS.socket, version="1.41")
    busybox_image.import_into(client, busybox_image.find_busybox(TOOLS), IMAGE)
    try:
        ours, baseline = asyncio.run(_measure())
    finally:
        busybox_image.remove_from(client, IMAGE)
        client.close()
    ours_ms, baseline_ms = statistics.median(ours), statistics.median(baseline)
    return [
        {
            "name": "launch: lease accepted -> running, image present",
            "ours": round(ours_ms, 1),
            "baseline": round(baseline_ms, 1),
            "unit": "ms",
            "ratio": round(ours_ms / baseline_ms, 3),
            "target": 1.3,
        }
    ]


async def _measure() -> tuple[list[float], list[float]]:
    ours, baseline = [], []
    async with DockerRuntime(SETTINGS, SystemClock()) as runtime:
        await runtime.capabilities()
        for number in range(ROUNDS + 1):
            wanted = _launch(lease_id("bench"))
            began = time.perf_counter()
            await runtime.start(wanted)
            ours.append((time.perf_counter() - began) * 1000)
            await runtime.stop(wanted.lease, 0)
            baseline.append(await asyncio.to_thread(_by_hand, number))
    return ours[1:], baseline[1:]  # the first round warms caches


def _launch(lease: LeaseId) -> Launch:
    return launch(replica(service(), gpus=("GPU-0",), host_port=HOST_PORT), lease=lease)


def _by_hand(number: int) -> float:
    """Milliseconds of ``docker network create`` and ``docker run -d`` with the options that we use."""
    wanted = _launch(lease_id("bench"))
    subnet = next(iter(subnets(ipaddress.IPv4Network(SETTINGS.subnet_pool), wanted.lease, 1)))
    network = f"gp-bench-{number}"
    made = ["network", "create", "--driver", "bridge", "--opt", f"com.docker.network.bridge.name=gpb{number}"]
    began = time.perf_counter()
    _docker(*made, "--subnet", str(subnet), "--label", "gp.bench=1", network)
    container = _docker("run", "-d", *_options(wanted, network), IMAGE, "-c", "sleep 3600").strip()
    took = (time.perf_counter() - began) * 1000
    _docker("rm", "-f", "-v", container)
    _docker("network", "rm", network)
    return took


def _options(wanted: Launch, network: str) -> Iterator[str]:
    """The container configuration that we send, as options of the command line."""
    config = container_config(wanted, wanted.replicas[0], Ground(settings=SETTINGS, attachment=Attachment()))
    host = config["HostConfig"]
    assert isinstance(host, dict)
    yield from ("--network", network, "--network-alias", "web", "--entrypoint", "sh", "--no-healthcheck")
    yield from ("--cap-drop", "ALL", "--security-opt", "no-new-privileges:true", "--init", "--ipc", "private")
    yield from ("--runtime", host["Runtime"], "--cgroupns", "private", "--restart", "no")
    yield from ("--memory", str(host["Memory"]), "--memory-swap", str(host["MemorySwap"]))
    yield from ("--memory-swappiness", "0", "--shm-size", str(host["ShmSize"]), "--cpus", "0.5")
    yield from ("--pids-limit", str(host["PidsLimit"]), "--oom-score-adj", str(host["OomScoreAdj"]))
    yield from ("--ulimit", "nofile=16384:16384", "--ulimit", "core=0:0", "--log-driver", "json-file")
    yield from ("--log-opt", "max-size=10m", "--log-opt", "max-file=3")
    yield from ("--publish", f"127.0.0.1:{HOST_PORT}:8080")
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
