"""What a look at a hundred running leases costs, and whether leases that come and go leave memory behind.

Baselines are budgets: a look is taken every ten seconds. ``BENCH_LEASES`` says how many leases come and go.
"""

from __future__ import annotations

import asyncio
import os
import re
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import docker

from provider.adapters.clock import SystemClock
from provider.adapters.runtime import DockerRuntime, DockerSettings
from provider.app import busybox_image
from provider.domain.ids import ProviderId
from provider.domain.workload import Launch
from provider.shell.sources import LIST_EVERY
from tests.engine_images import IMAGES
from tests.launches import IMAGE, launch, lease_id

RUNNING = 100
LOOKS = 50
COME_AND_GO = int(os.environ.get("BENCH_LEASES", "200"))
AT_ONCE = 10
TOOLS = Path("build/tools")
SETTINGS = DockerSettings(
    provider=ProviderId("bench-many"), simulated_gpus=True, bind_address="127.0.0.1", images=IMAGES
)


def rows() -> list[dict[str, object]]:
    """Needs an engine on the default socket."""
    client = docker.APIClient(base_url=SETTINGS.socket, version="1.41")
    busybox_image.import_into(client, busybox_image.find_busybox(TOOLS), IMAGE)
    try:
        return asyncio.run(_rows())
    finally:
        busybox_image.remove_from(client, IMAGE)
        client.close()


async def _rows() -> list[dict[str, object]]:
    async with DockerRuntime(SETTINGS, SystemClock()) as runtime:
        await runtime.capabilities()
        look_ms, cpu_percent = await _look(runtime)
        grown_mib = await _come_and_go(runtime)
    return [
        _row(f"reconcile: a look at {RUNNING} running leases", look_ms, 50.0, "ms"),
        _row(f"reconcile: our CPU at rest with {RUNNING} leases", cpu_percent, 1.0, "% of a core"),
        _row(f"memory grown over {COME_AND_GO} leases come and gone", grown_mib, 4.0, "MiB"),
    ]


def _row(name: str, ours: float, budget: float, unit: str) -> dict[str, object]:
    return {
        "name": f"{name} (baseline: budget)",
        "ours": round(ours, 3),
        "baseline": budget,
        "unit": unit,
        "ratio": round(ours / budget, 3),
        "target": 1.0,
    }


async def _look(runtime: DockerRuntime) -> tuple[float, float]:
    wanted = [launch(lease=lease_id("many")) for _ in range(RUNNING)]
    try:
        for some in _some(wanted):
            await asyncio.gather(*(runtime.start(each) for each in some))
        assert len(await runtime.list()) == RUNNING
        took, cpu = [], time.process_time()
        for _ in range(LOOKS):
            began = time.perf_counter()
            await runtime.list()
            took.append((time.perf_counter() - began) * 1000)
        cpu_ms = (time.process_time() - cpu) * 1000 / LOOKS
        return statistics.median(took), 100 * cpu_ms / LIST_EVERY
    finally:
        for some in _some(wanted):
            await asyncio.gather(*(runtime.stop(each.lease, 0) for each in some))


async def _come_and_go(runtime: DockerRuntime) -> float:
    """MiB between the end of the first tenth, when caches are filled, and the end."""
    numbers = [launch(lease=lease_id("many")) for _ in range(COME_AND_GO)]
    first = _resident_mib()
    for count, some in enumerate(_some(numbers)):
        await asyncio.gather(*(runtime.start(each) for each in some))
        await runtime.list()
        await asyncio.gather(*(runtime.stop(each.lease, 0) for each in some))
        if (count + 1) * AT_ONCE == COME_AND_GO // 10:
            first = _resident_mib()
    return max(_resident_mib() - first, 0.0)


def _some(launches: Sequence[Launch]) -> Iterator[Sequence[Launch]]:
    return (launches[start : start + AT_ONCE] for start in range(0, len(launches), AT_ONCE))


def _resident_mib() -> float:
    match = re.search(r"^VmRSS:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert match, "every Linux tells a process's resident memory"
    return int(match[1]) / 1024
