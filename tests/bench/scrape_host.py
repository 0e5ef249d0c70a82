"""A simulated provider with a hundred leases that is scraped: ``python -m tests.bench.scrape_host LEASES``.

Real shell, telemetry and server in a process of its own, in real time, over the real reader of eight cards of
the simulated library, at its own pace. Prints its port when all leases run; ends with its input.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from provider.adapters.clock import SystemClock
from provider.adapters.gpu.probe import NvmlProbe
from provider.adapters.gpu.settings import NvmlSettings
from provider.adapters.telemetry.exposition import Exposition
from provider.adapters.telemetry.http import HttpSettings, Readiness, TelemetryServer
from provider.adapters.telemetry.metrics import Metrics
from provider.app import busy_story, logs
from provider.app.busy_host import BusyHost
from provider.domain.resources import GIB
from provider.sim.host import SMALL_SERVER
from provider.sim.nvml.build import build_library
from provider.sim.nvml.state import SimulatedDriver

CARDS = 8
ROOMY = replace(SMALL_SERVER, cpu_millis=1_000_000, memory_bytes=8_000 * GIB, storage_bytes=100_000 * GIB)


async def main(leases: int) -> None:
    metrics, ready = Metrics(version="bench"), Readiness(is_ready=True, reason="ready")
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        driver = stack.enter_context(SimulatedDriver(build_library(Path("build/tests")), folder))
        for _ in range(CARDS):
            driver.add("h100")
        settings = NvmlSettings(nvml_library=str(driver.library))
        probe = NvmlProbe(settings, SystemClock(), on_sweep=metrics.nvml_sweep)
        host = BusyHost(metrics=metrics, sample_every_s=settings.interval_s, capacity=ROOMY, cards=probe)
        await stack.enter_async_context(probe)
        await stack.enter_async_context(host.alive())
        await host.until(lambda: host.loop.state.nodes and host.loop.state.connected)
        await asyncio.gather(
            *(
                busy_story.rent(host, 100 + number, "h100" if number < CARDS else "", number < CARDS)
                for number in range(leases)
            )
        )
        exposition = Exposition(metrics, host.feed(), cache_s=0)  # every scrape is rendered
        server = TelemetryServer(HttpSettings(port=0), exposition, lambda: ready)
        await stack.enter_async_context(server)
        print(server.address[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    logs.configure("error")
    asyncio.run(main(int(sys.argv[1])))
