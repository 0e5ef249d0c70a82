"""What sampling costs: a hundred leases of one container each, on the kernel's own files.

Each container is a process in control groups of its own, made here: the files are the kernel's. Every lease
has a card that is busy, so that every total is written down each time. Measured is CPU time (user and system,
of all threads), not the time that it took: the machine may be busy. Baseline: the budget, one per cent of a
core at the period that is used.
"""

from __future__ import annotations

import asyncio
import hashlib
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from provider.adapters.clock import SystemClock
from provider.adapters.usage import CgroupUsage, SqliteTallies, TallySettings
from provider.domain.gpu import GpuReading
from provider.domain.ids import GpuUuid
from provider.domain.workload import Container, ContainerState, Workload
from provider.shell.attributing import EVERY, Attribution, Sources
from tests.agents import Agent, healthy
from tests.launches import lease_id

CGROUPS = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "cpuacct", "memory", "blkio")
GROUP = "provider-bench"
LEASES = 100
SAMPLES = 50
BUDGET_CPU_PERCENT = 1.0


@contextmanager
def containers() -> Iterator[list[Container]]:
    """Processes that sleep, each in a group named as an engine names a container's."""
    is_unified = (CGROUPS / "cgroup.controllers").exists()
    roots = [CGROUPS] if is_unified else [CGROUPS / name for name in CONTROLLERS]
    made: list[Container] = []
    processes: list[subprocess.Popen[bytes]] = []
    folders: list[Path] = []
    try:
        for root in roots:
            (root / GROUP).mkdir(exist_ok=True)
        for number in range(LEASES):
            name = hashlib.sha256(str(number).encode()).hexdigest()
            process = subprocess.Popen(["sleep", "3600"])
            processes.append(process)
            for root in roots:
                folder = root / GROUP / name
                folder.mkdir()
                folders.append(folder)
                (folder / "cgroup.procs").write_text(str(process.pid))
            made.append(
                Container(
                    service="web",
                    replica=0,
                    state=ContainerState.RUNNING,
                    id=name,
                    pid=process.pid,
                    started_at=SystemClock().now(),
                )
            )
        yield made
    finally:
        for process in processes:
            process.kill()
            process.wait()
        for folder in (*folders, *(root / GROUP for root in roots)):
            _removed(folder)


def _removed(folder: Path) -> None:
    """A group is busy for a moment after its last process."""
    for _ in range(100):
        try:
            folder.rmdir()
        except OSError:
            time.sleep(0.01)
        else:
            return


async def measure(place: Path, made: list[Container]) -> tuple[float, float]:
    """Median CPU milliseconds of a sample, and those of them that reading the kernel's files takes."""
    agent = Agent(*healthy(*range(8)))
    agent.run()
    template = agent.lease()
    leases = [replace(template, id=lease_id()) for _ in made]
    agent.state = replace(agent.state, leases={each.id: each for each in leases})
    usage, book = CgroupUsage(), SqliteTallies(TallySettings(path=place / "usage.db"))
    readings = tuple(
        GpuReading(
            uuid=GpuUuid(f"GPU-{number}"),
            at=SystemClock().now(),
            utilization_ratio=0.5,
            energy_joules=9.0,
            memory_used_bytes=5,
        )
        for number in range(8)
    )
    sampler = Attribution(
        Sources(
            state=lambda: agent.state,
            readings=lambda: readings,
            probe=usage,
            book=book,
            clock=SystemClock(),
            steady_s=time.monotonic,
        )
    )
    sampler.note_workloads(
        [
            Workload(lease=each.id, containers=(container,))
            for each, container in zip(leases, made, strict=True)
        ]
    )
    await sampler.sample()
    assert sampler.problem is None
    assert all(each.services[0].memory_bytes is not None for each in sampler.usages.values())
    whole, reading = [], []
    for _ in range(SAMPLES):
        began = time.process_time()
        await sampler.sample()
        whole.append(time.process_time() - began)
        began = time.process_time()
        usage.read_now(made)
        reading.append(time.process_time() - began)
    book.close()
    return statistics.median(whole) * 1000, statistics.median(reading) * 1000


def rows() -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory() as place, containers() as made:
        sample_ms, reading_ms = asyncio.run(measure(Path(place), made))
    budget_ms = BUDGET_CPU_PERCENT / 100 * EVERY
    name = f"sampling what {LEASES} leases use"
    return [
        _row(f"{name} (baseline: budget)", sample_ms / EVERY * 100, BUDGET_CPU_PERCENT, "% of a core"),
        _row(f"{name}: of which the kernel's files (baseline: budget)", reading_ms, budget_ms, "ms CPU"),
    ]


def _row(name: str, ours: float, baseline: float, unit: str) -> dict[str, object]:
    return {
        "name": name,
        "ours": ours,
        "baseline": baseline,
        "unit": unit,
        "ratio": ours / baseline,
        "target": 1.0,
    }
