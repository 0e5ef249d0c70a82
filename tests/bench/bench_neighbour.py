"""What a lease notices of its neighbour: the time of an answer while the other one attacks, against calm.

The engine is in a network namespace of its own; so is who asks. Calm and attack alternate, so that both see
the same machine. Every attack is one that ``tests/integration/runtime/test_hostile.py`` shows to fail.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import docker

from provider.adapters.clock import SystemClock
from provider.adapters.runtime import DockerRuntime, DockerSettings
from provider.app import busybox_image
from provider.domain.ids import LeaseId, ProviderId
from provider.domain.resources import MIB, Resources, Volume
from provider.domain.workload import Launch
from provider.ports import ExecRequest
from tests.engine_images import IMAGES
from tests.integration.runtime import probe
from tests.integration.runtime.engines import SecondEngine, machines_engine, newer_engine, second_engine
from tests.launches import IMAGE, launch, replica, service, take

ASKED = 300
"""Times in each window."""
WINDOWS = 3
TARGET = 1.5
TOOLS = Path("build/tools")
ROOM = Resources(
    id=1, cpu_millis=500, memory_bytes=64 * MIB, storage=(Volume(name="default", size_bytes=256 * MIB),)
)

_FORKS = "while :; do i=0; while [ $i -lt 50 ]; do sleep 1 & i=$((i+1)); done; wait; done 2>/dev/null"
ATTACKS = {
    "spins on all cores": "for i in 1 2 3 4; do (while :; do :; done) & done; wait",
    "forks without end": _FORKS,
    "asks for more memory than it has": "while :; do head -c 200m /dev/zero | tail -c 200m >/dev/null; done",
    "writes its disk over and over": "while :; do dd if=/dev/zero of=/tmp/x bs=1M count=99 2>/dev/null; done",
    "floods its log": "echo > /proc/1/fd/1; yes 'a line that nobody asked for' > /proc/1/fd/1",
    "prints what nobody reads": "cat /dev/zero",
    "opens 2,000 sockets": f"while :; do {probe.PLACE} sockets 2000 7001 & sleep 1; kill $!; wait; done",
}
"""Each as ``sh -c`` inside, until it is ended."""


def rows() -> list[dict[str, object]]:
    """Milliseconds, 50th and 99th percentile. Needs root and an engine on the default socket."""
    client = docker.APIClient(base_url="unix:///var/run/docker.sock", version="1.41")
    busybox_image.import_into(client, busybox_image.find_busybox(TOOLS), IMAGE)
    try:
        with second_engine(newer_engine() or machines_engine()) as engine:
            engine.load(IMAGE)
            return asyncio.run(_rows(engine))
    finally:
        busybox_image.remove_from(client, IMAGE)
        client.close()


async def _rows(engine: SecondEngine) -> list[dict[str, object]]:
    settings = DockerSettings(
        provider=ProviderId("bench"), socket=engine.socket, simulated_gpus=True, images=IMAGES
    )
    enough = replace(ROOM, cpu_millis=2_000)  # its own limit is not what slows it
    theirs = launch(replica(service(script=None, resources=enough)))
    attacker = launch(replica(service(resources=ROOM)))
    async with DockerRuntime(settings, SystemClock()) as runtime:
        try:
            neighbour = (await runtime.start(theirs)).containers[0].id
            address = _address(engine, neighbour)
            await _ask(engine, address)  # warms caches
            return [
                row for name in ATTACKS for row in await _measure(engine, runtime, attacker, name, address)
            ]
        finally:
            for each in (theirs, attacker):
                await runtime.stop(each.lease, 0)


async def _measure(
    engine: SecondEngine, runtime: DockerRuntime, attacker: Launch, name: str, address: str
) -> list[dict[str, object]]:
    calm: list[float] = []
    attacked: list[float] = []
    await runtime.start(attacker)
    _arm(engine, attacker.lease)
    for _ in range(WINDOWS):
        calm += await _ask(engine, address)
        async with _attack(runtime, attacker.lease, ATTACKS[name]):
            attacked += await _ask(engine, address)
    await runtime.stop(attacker.lease, 0)
    return [
        {
            "name": f"neighbour {name}: an answer, {label}",
            "ours": round(_quantile(attacked, percent), 3),
            "baseline": round(_quantile(calm, percent), 3),
            "unit": "ms",
            "ratio": round(_quantile(attacked, percent) / _quantile(calm, percent), 3),
            "target": TARGET,
        }
        for label, percent in (("p50", 50), ("p99", 99))
    ]


def _quantile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]


@asynccontextmanager
async def _attack(runtime: DockerRuntime, lease: LeaseId, script: str) -> AsyncIterator[None]:
    """From its first output, which nobody reads on, to its end."""
    request = ExecRequest(service="web", argv=("sh", "-c", f"echo begun; {script}"))
    async with await runtime.exec(lease, request) as session:
        await take(session.output(), 1)
        yield


def _arm(engine: SecondEngine, lease: LeaseId) -> None:
    with tempfile.TemporaryDirectory() as folder, engine.client() as client:
        program = probe.build(Path(folder))
        (container,) = client.containers(filters={"label": f"gp.lease={lease}"})
        probe.put(client, container["Id"], program)


def _address(engine: SecondEngine, container: str) -> str:
    with engine.client() as client:
        (network,) = client.inspect_container(container)["NetworkSettings"]["Networks"].values()
        return f"http://{network['IPAddress']}:{busybox_image.PORT}/"


async def _ask(engine: SecondEngine, address: str) -> list[float]:
    command = ["nsenter", f"--net=/run/netns/{engine.namespace}", sys.executable, "-m", __name__, address]
    asking = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, env=dict(os.environ))
    told, _ = await asking.communicate()
    took: list[float] = json.loads(told)
    return took


def _asked(address: str) -> list[float]:
    """Milliseconds of ``ASKED`` answers, one after the other."""
    took = []
    for _ in range(ASKED):
        began = time.perf_counter()
        with urllib.request.urlopen(address, timeout=30) as answer:  # noqa: S310 - made by _address
            answer.read()
        took.append((time.perf_counter() - began) * 1000)
    return took


if __name__ == "__main__":
    print(json.dumps(_asked(sys.argv[1])))
