"""The declaration, and that state and facts fill it: what is there has series, what is gone has none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from provider.adapters.telemetry import table
from provider.adapters.telemetry.metrics import ORDER_RESULTS, Metrics, order_result
from provider.adapters.telemetry.table.metric import Kind
from provider.adapters.telemetry.view import IdleView, LeaseView, MarketView, Snapshot, TelemetryView
from provider.core.lease import Phase
from provider.domain.gpu import Gpu, GpuHealth, GpuInventory, GpuReading
from provider.domain.ids import GpuUuid, LeaseId, NodeName
from provider.domain.market import CloseReason, Refusal
from provider.domain.moment import Instant
from provider.domain.money import Denom, Money, Rate
from provider.domain.node import HostCapacity, Node
from provider.domain.usage import GpuUsage, LeaseUsage, ServiceUsage, UsageCounter

DOCUMENT = Path(__file__).parents[3] / "docs" / "metrics.md"
FIRST, SECOND = GpuUuid("GPU-1"), GpuUuid("GPU-2")
CAPACITY = HostCapacity(cpu_millis=1000, memory_bytes=1, storage_bytes=1, boot_id="b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A probe's status."""

    is_up: bool = True
    last_success: Instant | None = None
    restarts: tuple[tuple[str, int], ...] = (("timeout", 2),)
    failures: tuple[tuple[str, int, int], ...] = (("nvmlDeviceGetName", 999, 3),)
    unreapable: int = 0


def card(uuid: GpuUuid, index: int, *, simulated: bool = False) -> Gpu:
    return Gpu(
        uuid=uuid,
        index=index,
        name="NVIDIA L4",
        model="l4",
        memory_bytes=1000,
        minor=index,
        architecture="ada",
        compute_capability="8.9",
        pci_bus_id="0000:18:00.0",
        power_limit_watts=72.0,
        simulated=simulated,
    )


def node(*gpus: Gpu) -> Node:
    inventory = GpuInventory(gpus=gpus, driver_version="570.1", cuda_version="12.8")
    return Node(name=NodeName("node-1"), capacity=CAPACITY, inventory=inventory)


def lease(key: str, *gpus: GpuUuid, earned: int = 0) -> LeaseView:
    return LeaseView(
        key=key,
        phase=Phase.RUNNING,
        gpus=gpus,
        rate=Rate(amount=Decimal("1.5"), denom=Denom.UACT),
        earned=Money(amount=earned, denom=Denom.UACT),
        ran_ms=2_500,
        usage=usage(*gpus),
        market="acme",
    )


def usage(*gpus: GpuUuid) -> LeaseUsage:
    """What every figure is told of."""
    cards = (
        GpuUsage(
            uuid=uuid,
            utilization_ratio=0.5,
            busy_s=1.25,
            memory_bytes=250,
            power_watts=40.0,
            energy_joules=100.0,
            allocated_s=2.5,
        )
        for uuid in gpus
    )
    service = ServiceUsage(
        service="web",
        counters={counter: number * 1_000_000 for number, counter in enumerate(UsageCounter)},
        memory_bytes=64,
        memory_limit_bytes=128,
        restarts=3,
    )
    return LeaseUsage(
        lease=LeaseId.parse("alice/7/1/1/north"),
        at=Instant(0),
        gpus=tuple(cards),
        services=(service,),
        disk_bytes=4096,
    )


READING = GpuReading(
    uuid=FIRST,
    at=Instant(0),
    utilization_ratio=0.5,
    memory_used_bytes=300,
    memory_reserved_bytes=100,
    power_watts=40.0,
    energy_joules=9.0,
    temperature_celsius=50.0,
    fan_ratio=0.3,
    clock_sm_hertz=1e9,
    clock_memory_hertz=2e9,
)


def busy() -> Snapshot:
    view = TelemetryView(
        nodes=(node(card(FIRST, 0), card(SECOND, 1)),),
        leases=(lease("abc", FIRST, earned=7),),
        idle=(
            IdleView(gpu=FIRST, is_running=False, ran_ms=60_000),
            IdleView(gpu=SECOND, is_running=True, ran_ms=2_500),
            IdleView(gpu=GpuUuid("GPU-that-is-gone"), is_running=True, ran_ms=1),
        ),
        bids_open=2,
        markets=(MarketView(name="acme", is_connected=True),),
    )
    return Snapshot(view=view, readings=(READING,), probe=Facts(last_success=Instant(1_500)))


Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def series(metrics: Metrics, snapshot: Snapshot) -> Series:
    metrics.show(snapshot)
    text = generate_latest(metrics.registry).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def at(found: Series, name: str, **labels: str) -> float | None:
    return found.get((name, frozenset(labels.items())))


def names(found: Mapping[tuple[str, frozenset[tuple[str, str]]], float]) -> set[str]:
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name, _ in found}


def test_names_labels_and_units_follow_the_rules() -> None:
    for metric in table.metrics():
        assert re.fullmatch(r"provider_[a-z0-9_]+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER), metric.name
        assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM), metric.name
        assert metric.help.endswith("."), metric.name
        assert not {"pid", "tenant", "order", "image", "error"} & set(metric.labels), metric.name
    declared = [metric.name for metric in table.metrics()]
    assert len(declared) == len(set(declared))


def test_the_document_has_the_table() -> None:
    assert table.markdown() in DOCUMENT.read_text(), "run: python -m provider.adapters.telemetry.table"


def test_a_busy_card() -> None:
    found = series(Metrics(version="0.1.0"), busy())
    assert at(found, "provider_gpu_utilization_ratio", uuid=FIRST, engine="sm") == 0.5
    assert at(found, "provider_gpu_memory_free_bytes", uuid=FIRST) == 600
    assert at(found, "provider_gpu_energy_joules_total", uuid=FIRST) == 0, "it begins with the daemon"
    assert at(found, "provider_gpu_leased", uuid=FIRST) == 1
    assert at(found, "provider_gpu_leased", uuid=SECOND) == 0
    assert at(found, "provider_gpu_idle_job_running", uuid=FIRST) == 0
    assert at(found, "provider_gpu_idle_job_running", uuid=SECOND) == 1
    assert at(found, "provider_gpu_idle_job_seconds_total", uuid=FIRST) == 60
    assert at(found, "provider_gpu_idle_job_seconds_total", uuid=SECOND) == 2.5
    assert at(found, "provider_gpu_idle_job_running", uuid="GPU-that-is-gone") is None
    assert at(found, "provider_gpu_health_state", uuid=FIRST, state="healthy") == 1
    assert at(found, "provider_gpu_health_state", uuid=FIRST, state="degraded") == 0
    assert at(found, "provider_gpus", state="leased", simulated="false") == 1
    assert at(found, "provider_lease_gpu_power_watts", lease="abc", uuid=FIRST) == 40
    assert at(found, "provider_lease_gpu_seconds_total", lease="abc", uuid=FIRST) == 2.5
    assert at(found, "provider_lease_info", lease="abc", sku="l4", simulated="false", market="acme") == 1
    assert at(found, "provider_lease_state", lease="abc", state="running") == 1
    assert at(found, "provider_lease_state", lease="abc", state="starting") == 0
    assert at(found, "provider_lease_rate", lease="abc", denom="uact") == 1.5
    assert at(found, "provider_leases", state="running") == 1
    assert at(found, "provider_leases", state="stopping") == 0
    assert at(found, "provider_nvml_last_success_timestamp_seconds") == 1.5


def test_starts_and_stops_are_timed_of_leases_not_of_the_idle_job() -> None:
    metrics = Metrics(version="0.1.0")
    for kind in ("StartWorkload", "StopWorkload"):
        metrics.effect_done(kind, 2.0, ok=True)
        metrics.effect_done(kind, 600.0, ok=False, is_leases=False)
    found = series(metrics, busy())
    for name in ("provider_container_start_seconds", "provider_container_stop_seconds"):
        assert at(found, f"{name}_count", result="ok") == 1
        assert not at(found, f"{name}_count", result="failed")
    assert at(found, "provider_effects_total", kind="StartWorkload", result="failed") == 1


@pytest.mark.parametrize(
    "reading",
    [
        replace(READING, utilization_ratio=None),
        replace(READING, fan_ratio=None),
        replace(READING, power_watts=None),
        replace(READING, memory_used_bytes=None),
    ],
)
def test_what_is_not_known_has_no_series(reading: GpuReading) -> None:
    before = names(series(Metrics(version="0.1.0"), busy()))
    without = replace(busy(), readings=(reading,))
    gone = before - names(series(Metrics(version="0.1.0"), without))
    assert gone
    assert all("gpu_" in name for name in gone)


def test_stale_readings_leave_no_figures_but_the_cards_themselves() -> None:
    found = series(Metrics(version="0.1.0"), replace(busy(), readings=(), probe=Facts(is_up=False)))
    assert at(found, "provider_nvml_up") == 0
    assert at(found, "provider_gpu_memory_total_bytes", uuid=FIRST) == 1000
    assert "provider_gpu_power_watts" not in names(found)


def test_what_a_lease_uses() -> None:
    found = series(Metrics(version="0.1.0"), busy())

    def told(name: str, **labels: str) -> float | None:
        return at(found, f"provider_lease_{name}", lease="abc", **labels)

    assert told("gpu_busy_seconds_total", uuid=FIRST) == 1.25
    assert told("gpu_energy_joules_total", uuid=FIRST) == 100
    assert told("gpu_memory_bytes", uuid=FIRST) == 250
    assert at(found, "provider_gpu_energy_estimated", uuid=FIRST) == 0
    assert told("cpu_seconds_total", service="web") == 0
    assert told("cpu_throttled_seconds_total", service="web") == 1
    assert told("oom_kills_total", service="web") == 2_000_000
    assert told("network_bytes_total", service="web", direction="rx") == 3_000_000
    assert told("network_bytes_total", service="web", direction="tx") == 4_000_000
    assert told("block_io_bytes_total", service="web", direction="read") == 5_000_000
    assert told("block_io_bytes_total", service="web", direction="write") == 6_000_000
    assert told("memory_bytes", service="web") == 64
    assert told("memory_limit_bytes", service="web") == 128
    assert told("restarts_total", service="web") == 3
    assert told("disk_used_bytes") == 4096


def test_what_a_lease_was_not_seen_to_use_has_no_series() -> None:
    bare = replace(
        usage(FIRST),
        gpus=(GpuUsage(uuid=FIRST),),
        services=(ServiceUsage(service="web"),),
        disk_bytes=None,
    )
    view = replace(busy().view, leases=(replace(lease("abc", FIRST), usage=bare),))
    found = names(series(Metrics(version="0.1.0"), replace(busy(), view=view)))
    assert {name for name in found if name.startswith("provider_lease_")} == {
        "provider_lease_info",
        "provider_lease_gpu_info",
        "provider_lease_state",
        "provider_lease_rate",
        "provider_lease_earned_total",
        "provider_lease_gpu_seconds_total",
        "provider_lease_restarts_total",
        "provider_lease_duration_seconds",
    }
    assert "provider_gpu_energy_estimated" not in found


def test_a_lease_takes_its_series_with_it() -> None:
    metrics = Metrics(version="0.1.0")
    before = series(metrics, busy())
    after = series(metrics, replace(busy(), view=replace(busy().view, leases=())))
    assert any(("lease", "abc") in labels for _, labels in before)
    assert not any(("lease", "abc") in labels for _, labels in after)
    assert at(after, "provider_gpu_leased", uuid=FIRST) == 0


def test_a_card_takes_its_series_with_it() -> None:
    found = series(Metrics(version="0.1.0"), replace(busy(), view=TelemetryView()))
    assert not any(("uuid", FIRST) in labels for _, labels in found)


def test_simulated_cards_say_so_and_nothing_is_said_about_nvml() -> None:
    view = TelemetryView(nodes=(node(card(FIRST, 0, simulated=True)),), leases=(lease("abc", FIRST),))
    found = series(Metrics(version="0.1.0"), Snapshot(view=view, readings=(READING,), probe=None))
    assert at(found, "provider_gpus", state="detected", simulated="true") == 1
    assert at(found, "provider_gpus", state="detected", simulated="false") == 0
    assert at(found, "provider_lease_info", lease="abc", sku="l4", simulated="true", market="acme") == 1
    assert [
        labels for name, labels in found if name == "provider_gpu_info" and ("simulated", "true") in labels
    ]
    assert "provider_nvml_up" not in names(found)


def test_revenue_counts_each_micro_once() -> None:
    metrics = Metrics(version="0.1.0")

    def see(earned: int) -> float | None:
        view = TelemetryView(leases=(lease("abc", earned=earned), lease("old", earned=1_000)))
        found = series(metrics, Snapshot(view=view, readings=(), probe=None))
        return at(found, "provider_revenue_total", market="acme", denom="uact")

    metrics.show(Snapshot(view=TelemetryView(leases=(lease("old", earned=1_000),))))  # found after a restart
    assert see(0) is None
    assert see(40) == 40
    assert see(40) == 40
    assert see(100) == 100
    metrics.lease_closed(
        CloseReason.TENANT_CLOSED,
        market="acme",
        key="abc",
        ran_s=9,
        earned=Money(amount=130, denom=Denom.UACT),
    )
    found = series(metrics, Snapshot(view=TelemetryView(), readings=(), probe=None))
    assert at(found, "provider_revenue_total", market="acme", denom="uact") == 130
    assert at(found, "provider_leases_closed_total", reason="tenant_closed", fault="nobody") == 1


def test_every_refusal_has_a_result() -> None:
    results = {refusal: order_result(refusal) for refusal in Refusal}
    assert {"matched", *results.values()} == set(ORDER_RESULTS)
    assert results[Refusal.GPU_BUSY] == "no_capacity"
    assert results[Refusal.GPU_UNKNOWN] == "filtered"
    assert order_result(None) == "matched"


def test_an_unhealthy_card_is_not_schedulable() -> None:
    sick = replace(card(FIRST, 0), health=GpuHealth.UNHEALTHY)
    found = series(
        Metrics(version="0.1.0"), Snapshot(view=TelemetryView(nodes=(node(sick),)), readings=(), probe=None)
    )
    assert at(found, "provider_gpu_schedulable", uuid=FIRST) == 0
    assert at(found, "provider_gpus", state="schedulable", simulated="false") == 0
