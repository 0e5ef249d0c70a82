"""The library's counters and histograms, each of which knows when it last moved.

Owns that mark, by which ``renderer`` leaves alone what stands still. Invariant: it is new after every move,
so whoever reads the mark first and then the figures has at least those of that mark. Any thread may count.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import Metric as Family

from provider.adapters.telemetry.table.metric import Kind, Metric


class Counted(Protocol):
    """One of those below."""

    moved: object
    """Another one after every move."""

    def collect(self) -> Iterable[Family]:
        """One family, with its samples."""
        ...


class Count:
    """A counter."""

    def __init__(self, metric: Metric, registry: CollectorRegistry) -> None:
        assert metric.kind is Kind.COUNTER
        self._counter = Counter(metric.name, metric.help, metric.labels, registry=registry)
        self.moved = object()

    def begin(self, *labels: str) -> None:
        """At zero, so that the first time is seen as a rise."""
        self._counter.labels(*labels)
        self.moved = object()

    def inc(self, *labels: str, by: float = 1) -> None:
        """So much more."""
        (self._counter.labels(*labels) if labels else self._counter).inc(by)
        self.moved = object()

    def collect(self) -> Iterable[Family]:
        return self._counter.collect()


class Spread:
    """A histogram."""

    def __init__(self, metric: Metric, registry: CollectorRegistry) -> None:
        assert metric.kind is Kind.HISTOGRAM
        self._histogram = Histogram(
            metric.name, metric.help, metric.labels, buckets=metric.buckets, registry=registry
        )
        self.moved = object()

    def observe(self, seconds: float, *labels: str) -> None:
        """One more."""
        (self._histogram.labels(*labels) if labels else self._histogram).observe(seconds)
        self.moved = object()

    def collect(self) -> Iterable[Family]:
        return self._histogram.collect()
