"""A real Prometheus scrapes a running simulated provider for a minute: what it makes of it is what was done.

The daemon's own shell, telemetry and server, in real time; only the ports are fakes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from provider.adapters.telemetry.exposition import Exposition
from provider.adapters.telemetry.http import HttpSettings, Readiness, TelemetryServer
from provider.app import busy_story
from provider.app.busy_host import BusyHost
from provider.domain.gpu import Gpu
from provider.domain.ids import LeaseId
from provider.domain.market import CloseReason
from provider.domain.money import BLOCKS_PER_HOUR
from provider.domain.usage import UsageCounter
from provider.sim.usage import MODEST
from tests.prometheus import Prometheus, fetch, prometheus, promtool_complaints

WINDOW_S = 60
LOAD = 0.5
NEAR = 0.1
"""Rates may be off by as much: samples are two seconds apart, scrapes one, and a window has two ends."""


@asynccontextmanager
async def serving(host: BusyHost) -> AsyncIterator[str]:
    exposition = Exposition(host.metrics, host.feed(), cache_s=0)
    ready = Readiness(is_ready=True, reason="ready")
    async with TelemetryServer(HttpSettings(port=0), exposition, lambda: ready) as server:
        address, port = server.address
        yield f"{address}:{port}"


class Scraped:
    """Prometheus, asked without holding the host up."""

    def __init__(self, scraper: Prometheus) -> None:
        self._scraper = scraper

    async def until(self, expression: str, within_s: float) -> None:
        async with asyncio.timeout(within_s):
            while not await asyncio.to_thread(self._scraper.query, expression):  # noqa: ASYNC110 - HTTP
                await asyncio.sleep(0.5)

    async def value(self, expression: str) -> float:
        ((_, value),) = await asyncio.to_thread(self._scraper.query, expression)
        return value


async def open_orders_for_ever(host: BusyHost) -> None:
    """One each second that nobody here can serve."""
    number = 1_000
    while True:
        number += 1
        host.market.open_order(busy_story.order_of(number, "b200", 1))
        await asyncio.sleep(1)


def expected(lease: LeaseId, gpu: Gpu, host: BusyHost) -> dict[str, float]:
    """What was done a second, by the expression that should say so."""
    key, window = lease.key, f"[{WINDOW_S}s]"
    per_block = float(host.loop.state.leases[lease].rate.amount)
    (reading,) = (each for each in host.probe.readings() if each.uuid == gpu.uuid)
    assert reading.energy_joules is not None
    limit, idle = gpu.power_limit_watts or 0, 70
    card, a_second = f'uuid="{gpu.uuid}"', MODEST.a_second
    held = f'lease="{key}",service="app"'
    return {
        f'rate(provider_lease_gpu_seconds_total{{lease="{key}"}}{window})': 1.0,
        f'rate(provider_lease_gpu_busy_seconds_total{{lease="{key}"}}{window})': LOAD,
        f"rate(provider_revenue_total{window})": per_block * BLOCKS_PER_HOUR / 3600,
        f"rate(provider_gpu_energy_joules_total{{{card}}}{window})": idle + LOAD * (limit - idle),
        f'rate(provider_lease_gpu_energy_joules_total{{lease="{key}"}}{window})': idle
        + LOAD * (limit - idle),
        f"rate(provider_lease_cpu_seconds_total{{{held}}}{window})": a_second[UsageCounter.CPU_US] / 1e6,
        f'rate(provider_lease_network_bytes_total{{{held},direction="tx"}}{window})': a_second[
            UsageCounter.SENT_BYTES
        ],
        f'rate(provider_order_refusals_total{{reason="gpu_unknown"}}{window})': 1.0,
    }


async def a_minute(host: BusyHost, scraped: Scraped) -> None:
    await host.until(lambda: host.loop.state.nodes and host.loop.state.connected)
    lease = await busy_story.rent(host, 1, "h100", 1)
    (uuid,) = host.loop.state.leases[lease].placement.gpus
    (gpu,) = (each for each in host.loop.state.nodes[0].gpus if each.uuid == uuid)
    host.probe.load(uuid, LOAD)
    orders = asyncio.create_task(open_orders_for_ever(host))
    key = lease.key
    await scraped.until(f'provider_lease_state{{lease="{key}",state="running"}} == 1', 30)
    long_ago = f'provider_lease_gpu_power_watts{{lease="{key}"}} offset {WINDOW_S + 3}s'
    await scraped.until(long_ago, 2 * WINDOW_S)
    for expression, done in expected(lease, gpu, host).items():
        assert await scraped.value(expression) == pytest.approx(done, rel=NEAR), expression
    joined = "provider_lease_gpu_power_watts * on (uuid) group_left (model, simulated) provider_gpu_info"
    assert 300 < await scraped.value(f'{joined}{{simulated="true",model="h100"}}') < 500
    orders.cancel()
    host.market.end_lease(lease, CloseReason.TENANT_CLOSED)
    await scraped.until("absent(provider_lease_info)", 30)
    await scraped.until('provider_leases_closed_total{reason="tenant_closed"} == 1', 30)
    await scraped.until('absent({lease!=""})', 30)


@pytest.mark.timeout(240)
def test_rates_are_what_was_done(tmp_path: Path) -> None:
    async def body() -> None:
        host = BusyHost(sample_every_s=2)
        async with host.alive(), serving(host) as target:
            with prometheus(tmp_path, target) as scraper:
                await a_minute(host, Scraped(scraper))
            text = await asyncio.to_thread(fetch, f"http://{target}/metrics")
            assert await asyncio.to_thread(promtool_complaints, text) == ""

    with capture_logs():
        asyncio.run(body())
