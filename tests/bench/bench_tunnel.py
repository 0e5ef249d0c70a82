"""A command's output at its tenant: through a tunnel, against the straight road, in one run.

Real coordinator, link, LeaseService and tenant, mutual TLS on both roads, all in one process: what is
compared is what the two roads cost in all, and on machines of their own the tunnel's part of it is spread
over three. Rounds of the two alternate.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import structlog

from provider.ports import ExecRequest
from tests.integration.tunnel.world import World, world

ROUND_BYTES = 16 * 1024 * 1024
ROUNDS = 5


def rows() -> list[dict[str, object]]:
    with structlog.testing.capture_logs():
        tunnel, straight = asyncio.run(_measure())
    return [
        {
            "name": "exec output through a tunnel (baseline: straight to the provider)",
            "ours": round(tunnel, 1),
            "baseline": round(straight, 1),
            "unit": "MB/s",
            "ratio": round(tunnel / straight, 2),
            "target": 0.25,
        }
    ]


async def _measure() -> tuple[float, float]:
    tunnel, straight = [], []
    with tempfile.TemporaryDirectory() as folder:
        async with world(Path(folder)) as made:
            made.engine.floods = True
            for _ in range(ROUNDS):
                tunnel.append(await _round(made, ""))
                straight.append(await _round(made, f"127.0.0.1:{made.server.port}"))
    return statistics.median(tunnel), statistics.median(straight)


async def _round(made: World, address: str) -> float:
    """Megabytes a second."""
    async with made.calls(address) as calls, calls.exec() as call:
        await call.write(calls.start(ExecRequest(service="web", argv=("yes",))))
        read, began = 0, time.perf_counter()
        async for answer in call:
            read += len(answer.stdout)
            if read >= ROUND_BYTES:
                break
        return read / (time.perf_counter() - began) / 1e6
