"""What a provider costs while one lease runs and nothing happens: memory of all its processes, and CPU.

The NVML worker is one of them, over a simulated driver with eight cards; the lease itself has no GPU, so
that any engine can run it. Baselines: for memory, an interpreter that has only imported the same libraries,
and the budget; for CPU, the budget: one per cent of a core.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from provider.app.loopback_registry import loopback_registry
from provider.sim.nvml.build import build_library
from provider.sim.nvml.state import SimulatedDriver
from tests.e2e.world import ROOT, TOOLS, World

WATCH_S = 20.0
BUDGET_CPU_PERCENT = 1.0
IMPORTS = "import grpc.aio, docker, prometheus_client, yaml, cryptography.x509, jwt, cattrs, structlog"


def rows() -> list[dict[str, object]]:
    return asyncio.run(_rows())


async def _rows() -> list[dict[str, object]]:
    async with loopback_registry(TOOLS) as registry:
        image = await registry.push_hello(TOOLS)
        memory_mib, cpu_percent = await asyncio.to_thread(_watch_a_lease, image)
    baseline = await asyncio.to_thread(_bare_imports_mib)
    return [
        _row(
            "idle memory of an agent with one lease (baseline: imports alone)",
            memory_mib,
            baseline,
            "MiB",
            2.0,
        ),
        _row("idle memory of an agent with one lease (baseline: budget)", memory_mib, 110.0, "MiB", 1.0),
        _row(
            "idle cpu of an agent with one lease (baseline: budget)",
            cpu_percent,
            BUDGET_CPU_PERCENT,
            "% of a core",
            1.0,
        ),
    ]


def _row(name: str, ours: float, baseline: float, unit: str, target: float) -> dict[str, object]:
    return {
        "name": name,
        "ours": ours,
        "baseline": baseline,
        "unit": unit,
        "ratio": ours / baseline,
        "target": target,
    }


def _watch_a_lease(image: str) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        driver = stack.enter_context(SimulatedDriver(build_library(Path("build/tests")), Path(folder)))
        for _ in range(8):
            driver.add("h100")
        manifest = Path(folder) / "hello.yaml"
        text = (ROOT / "manifests" / "hello-gpu.yaml").read_text()
        manifest.write_text(re.sub(r"        gpu:\n(?:          .*\n)+", "", text))
        world = World(
            folder=Path(folder),
            provider_name=f"bench-{os.getpid()}",
            provider_environment={
                "PROVIDER_BIDDING__USAGE_INTERVAL_S": "10",  # as in production, unlike the tests'
                "PROVIDER_GPU__SIMULATE": "[]",
                "PROVIDER_GPU__NVML_LIBRARY": str(driver.library),
            },
        )
        try:
            world.start_coordinator()
            world.enroll_all()
            world.start_provider()
            dseq = world.rent(manifest, "--image", f"hello={image}")
            pids = _tree(world.processes["provider"].pid)
            before, began = _cpu_s(pids), time.monotonic()
            time.sleep(WATCH_S)
            cpu = 100 * (_cpu_s(pids) - before) / (time.monotonic() - began)
            memory = sum(_rss_mib(pid) for pid in pids)
            world.tenant("close", str(dseq))
        finally:
            world.close()
    return memory, cpu


def _tree(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in _tree(int(child)))]


def _rss_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("a living process has a resident set")


def _cpu_s(pids: list[int]) -> float:
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _bare_imports_mib() -> float:
    code = f"{IMPORTS}\nprint([l for l in open('/proc/self/status') if l.startswith('VmRSS')][0].split()[1])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return int(out.strip()) / 1024
