"""How late the event loop is while tenants write to the disk that the agent's store is on.

Two processes write and sync as fast as the disk takes it, and twenty bids or outcomes a second are committed.
Ours: ``PatientCommits``, as the daemon has them; baseline: the same commits on the event loop. By turns.
"""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from provider.adapters.store.sqlite import SqliteStore
from provider.ports import Store
from provider.shell.commits import Commits, InlineCommits, PatientCommits
from tests.agents import POLICY, Agent, healthy

TURNS = 4
TURN_S = 6.0
COMMIT_EVERY_S = 0.05
LOOK_EVERY_S = 0.005
WRITERS = 2
WRITTEN_MIB = 512
"""By each, over and over again."""


def rows() -> list[dict[str, object]]:
    return asyncio.run(_measure())


async def _measure() -> list[dict[str, object]]:
    ours, baseline = list[float](), list[float]()
    # In the working tree: a folder for temporary files may be memory.
    with tempfile.TemporaryDirectory(dir=Path.cwd() / "build") as folder:
        async with _writers(Path(folder)):
            for turn in range(TURNS):
                ours += await _lateness_ms(Path(folder) / f"ours-{turn}.db", PatientCommits)
                baseline += await _lateness_ms(Path(folder) / f"inline-{turn}.db", InlineCommits)
    return [
        _row("p99", statistics.quantiles(ours, n=100)[98], statistics.quantiles(baseline, n=100)[98]),
        _row("at most", max(ours), max(baseline)),
    ]


def _row(which: str, ours: float, baseline: float) -> dict[str, object]:
    return {
        "name": f"commits: event loop late beside {WRITERS} writers, {which} (baseline: committing on it)",
        "ours": round(ours, 1),
        "baseline": round(baseline, 1),
        "unit": "ms",
        "ratio": round(ours / baseline, 2),
        "target": 0.25 if which == "p99" else "-",
    }


@asynccontextmanager
async def _writers(folder: Path) -> AsyncIterator[None]:
    writing = "while :; do dd if=/dev/zero of={} bs=1M count={} conv=fsync 2>/dev/null || exit; done"
    processes = [
        await asyncio.create_subprocess_exec(
            "sh", "-c", writing.format(folder / f"written-{number}", WRITTEN_MIB), start_new_session=True
        )
        for number in range(WRITERS)
    ]
    try:
        yield
    finally:
        for process in processes:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def _lateness_ms(path: Path, of: Callable[[Store], Commits]) -> list[float]:
    """Of a sleeper, each time that it woke."""
    store = SqliteStore.open(path, POLICY)
    store.load()
    commits = of(store)
    late, loop = list[float](), asyncio.get_running_loop()
    committing = asyncio.create_task(_commit(commits))
    ends = loop.time() + TURN_S
    while (due := loop.time() + LOOK_EVERY_S) < ends:
        await asyncio.sleep(LOOK_EVERY_S)
        late.append((loop.time() - due) * 1000)
    committing.cancel()
    await asyncio.wait({committing})
    if isinstance(commits, PatientCommits):
        commits.close()
    store.close()
    return late


async def _commit(commits: Commits) -> None:
    agent = Agent(*healthy(0, 1))
    number = 0
    while True:
        number += 1
        await commits.commit([agent.opens(number)])
        await asyncio.sleep(COMMIT_EVERY_S)
        await commits.commit([agent.closes(number)])
        await asyncio.sleep(COMMIT_EVERY_S)
