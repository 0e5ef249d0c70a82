"""Every declared metric, over the life of a simulated provider: nothing is declared that nobody feeds."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from prometheus_client import Metric as Family
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from provider.adapters.telemetry import table
from provider.adapters.telemetry.table.metric import Kind, Metric
from provider.app import busy_story
from provider.app.busy_host import BusyHost
from provider.domain.market import CloseReason
from provider.sim import vtime
from tests.prometheus import promtool_complaints

Families = dict[str, Family]


def parsed(exposition: bytes) -> Families:
    """By the family's name, as the parser has it: a counter's without ``_total``."""
    return {each.name: each for each in text_string_to_metric_families(exposition.decode())}


def of(metric: Metric, found: Families) -> Family | None:
    return found.get(metric.name.removesuffix("_total") if metric.kind is Kind.COUNTER else metric.name)


class Told:
    """Three expositions of one host: new, busy, and when all leases and cards are gone."""

    def __init__(self) -> None:
        self.new = self.busy = self.left = b""

    async def happen(self) -> None:
        host = BusyHost()
        self.new = host.exposition()
        async with host.alive():
            await busy_story.happen(host)
            self.busy = host.exposition()
            for lease in tuple(host.loop.state.leases):
                host.market.end_lease(lease, CloseReason.TENANT_CLOSED)
            await host.until(lambda: not host.loop.state.leases)
            self.gone = host.exposition()
            for gpu in host.loop.state.nodes[0].gpus:
                host.probe.remove(gpu.uuid)
            await host.until(lambda: not host.loop.state.nodes[0].gpus)
            self.left = host.exposition()


@pytest.fixture(scope="module")
def told() -> Told:
    told = Told()
    with capture_logs():
        vtime.run(told.happen())
    return told


def unmoved(found: Families) -> Iterator[str]:
    for metric in table.metrics():
        family = of(metric, found)
        samples = [] if family is None else family.samples
        if metric.kind is Kind.HISTOGRAM:
            samples = [each for each in samples if each.name.endswith("_count")]
        moved = samples if metric.kind is Kind.GAUGE else [each for each in samples if each.value > 0]
        if not moved:
            yield metric.name


def test_every_declared_metric_moves(told: Told) -> None:
    assert list(unmoved(parsed(told.busy))) == []


def test_gauges_are_not_all_zero(told: Told) -> None:
    """But for those whose zero is the good news."""
    good_news = {
        "provider_gpu_remap_pending",
        "provider_gpu_remap_failed",
        "provider_gpu_recovery_action",
        "provider_nvml_workers_stuck",
        "provider_node_bidding_blocked",
        "provider_gpu_performance_state",
        "provider_gpu_energy_estimated",
    }
    found = parsed(told.busy)
    zero = {
        metric.name
        for metric in table.metrics()
        if metric.kind is Kind.GAUGE and (family := of(metric, found))
        if not any(sample.value for sample in family.samples)
    }
    assert zero == good_news


def test_nothing_is_exported_that_is_not_declared(told: Told) -> None:
    declared = {metric.name: metric for metric in table.metrics()}
    for family in parsed(told.busy).values():
        if not family.name.startswith("provider_"):
            assert family.name.startswith(("process_", "python_")), family.name
            continue
        metric = declared.get(family.name) or declared[f"{family.name}_total"]
        assert family.type == metric.kind
        assert family.documentation == metric.help
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels), sample.name
            assert not sample.name.endswith("_created")


def test_nothing_of_a_lease_is_left_when_it_is_gone(told: Told) -> None:
    labelled = re.compile(r'[{,]lease="')
    assert labelled.search(told.busy.decode())
    assert not labelled.search(told.gone.decode())
    assert "provider_leases_closed_total{" in told.gone.decode(), "what it came to stays"


def test_nothing_of_a_card_is_left_when_it_is_gone(told: Told) -> None:
    labelled = re.compile(r'[{,](parent_)?uuid="')
    assert labelled.search(told.gone.decode())
    assert not labelled.search(told.left.decode())
    assert 'provider_gpus{simulated="true",state="expected"} 9.0' in told.left.decode(), "it is missed"
    assert 'provider_gpus{simulated="true",state="detected"} 0.0' in told.left.decode()


def test_counters_never_fall(told: Told) -> None:
    before: dict[str, float] = {}
    for exposition in (told.new, told.busy, told.gone, told.left):
        now = {
            f"{sample.name} {sorted(sample.labels.items())}": sample.value
            for metric in table.metrics()
            if metric.kind is not Kind.GAUGE and (family := of(metric, parsed(exposition)))
            for sample in family.samples
        }
        assert [name for name in now.keys() & before.keys() if now[name] < before[name]] == []
        before = now


def test_no_tenant_can_be_told_from_it(told: Told) -> None:
    assert "alice" not in told.busy.decode()


def test_the_same_run_has_the_same_series(told: Told) -> None:
    with capture_logs():
        again = busy_story.exposition()

    def series(exposition: bytes) -> set[str]:
        lines = (line for line in exposition.decode().splitlines() if line.startswith("provider_"))
        return {line.rpartition(" ")[0] for line in lines}

    assert series(again) == series(told.busy)


def test_promtool_finds_nothing_to_mend(told: Told) -> None:
    for exposition in (told.new, told.busy, told.left):
        assert promtool_complaints(exposition) == ""
