"""A real Prometheus scrapes a running metrics server, and promtool finds nothing to mend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from provider.adapters.clock import SystemClock
from provider.adapters.telemetry.exposition import Exposition
from provider.adapters.telemetry.http import HttpSettings, Readiness, TelemetryServer
from provider.adapters.telemetry.metrics import BidOutcome, BidStage, Metrics
from provider.adapters.telemetry.view import Feed, LeaseView, TelemetryView
from provider.core.lease import Phase
from provider.domain.gpu import GpuInventory
from provider.domain.ids import NodeName
from provider.domain.market import CloseReason, Refusal
from provider.domain.money import Denom, Money, Rate
from provider.domain.node import Node
from provider.sim.gpu import SimulatedGpus, SimulatedProbe
from provider.sim.host import SMALL_SERVER
from tests.prometheus import Prometheus, fetch, prometheus, promtool_complaints


class BusyHost:
    """A simulated provider with one running lease on its first card."""

    def __init__(self) -> None:
        self.probe = SimulatedProbe([SimulatedGpus(model="h100", count=2)], SystemClock(), seed="node-1")
        self.inventory: GpuInventory = asyncio.run(self.probe.discover())
        self.leased = self.inventory.gpus[0].uuid
        self.earned = 0
        self.is_leased = True
        self.metrics = Metrics(version="0.1.0", revision="test")
        self.probe.load(self.leased, 0.8)
        self._say_everything_once()

    def view(self) -> TelemetryView:
        self.earned += 1_000_000
        node = Node(name=NodeName("node-1"), capacity=SMALL_SERVER, inventory=self.inventory)
        lease = LeaseView(
            key="abcdefghijkl",
            phase=Phase.RUNNING,
            gpus=(self.leased,),
            rate=Rate(amount=Decimal(100), denom=Denom.UACT),
            earned=Money(amount=self.earned, denom=Denom.UACT),
            ran_ms=1_000,
        )
        return TelemetryView(nodes=(node,), leases=(lease,) if self.is_leased else ())

    def _say_everything_once(self) -> None:
        self.metrics.order_seen(None)
        self.metrics.order_seen(Refusal.GPU_BUSY)
        self.metrics.bid(BidOutcome.WON)
        self.metrics.bid_waited(BidStage.SUBMIT, 0.02)
        self.metrics.effect_done("StartWorkload", 0.7, ok=True)
        self.metrics.effect_done("StopWorkload", 0.2, ok=True)
        self.metrics.coordinator_lost()
        self.metrics.store_commit(0.001)
        self.metrics.loop_lag(0.0002)
        self.metrics.nvml_sweep(0.002)
        self.metrics.lease_closed(
            CloseReason.TENANT_CLOSED, key="old", ran_s=100, earned=Money(amount=5, denom=Denom.UACT)
        )


@asynccontextmanager
async def serving(host: BusyHost) -> AsyncIterator[tuple[str, int]]:
    exposition = Exposition(host.metrics, Feed(view=host.view, readings=host.probe.readings), cache_s=0)
    ready = Readiness(is_ready=True, reason="ready")
    async with TelemetryServer(HttpSettings(port=0), exposition, lambda: ready) as server:
        yield server.address


@pytest.mark.timeout(120)
def test_a_real_prometheus_reads_a_lease_from_beginning_to_end(tmp_path: Path) -> None:
    host = BusyHost()

    async def body() -> None:
        async with serving(host) as (address, port):
            with prometheus(tmp_path, f"{address}:{port}") as scraper:
                await scraped(scraper)

    async def scraped(prometheus: Prometheus) -> None:
        await prometheus.until('up{job="provider"} == 1')
        ((labels, watts),) = await prometheus.until(
            "provider_lease_gpu_power_watts * on(uuid) group_left(model, simulated) provider_gpu_info"
        )
        assert (labels["lease"], labels["uuid"]) == ("abcdefghijkl", host.leased)
        assert (labels["model"], labels["simulated"]) == ("h100", "true")
        assert 400 < watts < 700
        await prometheus.until("rate(provider_revenue_total[30s]) > 0")
        await prometheus.until("rate(provider_gpu_energy_joules_total[30s]) > 0")
        await prometheus.until("histogram_quantile(0.5, provider_container_start_seconds_bucket) < 1")
        assert await asyncio.to_thread(prometheus.query, "provider_nvml_up") == []
        host.is_leased = False
        await prometheus.until("absent(provider_lease_info)")
        assert await asyncio.to_thread(prometheus.query, '{lease!=""}') == []

    asyncio.run(body())


def test_promtool_finds_nothing_to_mend() -> None:
    host = BusyHost()

    async def body() -> None:
        async with serving(host) as (address, port):
            text = await asyncio.to_thread(fetch, f"http://{address}:{port}/metrics")
        assert await asyncio.to_thread(promtool_complaints, text) == ""

    asyncio.run(body())
