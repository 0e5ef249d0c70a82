"""State to series: one snapshot in, the families of ``table`` out.

Owns the way from figures (``rows``) to the library's families. Keeps nothing between scrapes but the snapshot
it is given, so that what is gone from the snapshot is gone from the exposition. Runs in the render thread.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.metrics_core import Metric as Family

from provider.adapters.telemetry.renderer import family_of
from provider.adapters.telemetry.rows import daemon, gpu, lease, market, nvml, reading, usage
from provider.adapters.telemetry.rows.sample import Rows
from provider.adapters.telemetry.view import Snapshot

LEASES_MOST = 256
"""Leases with series of their own; more than a machine can run."""


class StateCollector:
    """A prometheus-client collector. Registered once; ``snapshot`` is replaced before each render."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None

    def collect(self) -> Iterable[Family]:
        """Every family, those without a sample too."""
        if self.snapshot is None:
            return
        for metric, samples in rows(self.snapshot):
            yield family_of(metric, samples)


def rows(snapshot: Snapshot) -> Rows:
    """Each metric that is read off the state, once, with its samples."""
    leases = snapshot.view.leases[:LEASES_MOST]
    cards = [(node, card) for node in snapshot.view.nodes for card in node.gpus]
    yield from gpu.cards(cards, snapshot)
    yield from reading.readings(cards, snapshot)
    yield from nvml.probe(snapshot)
    yield from lease.held_by(leases, {card.uuid: card for _, card in cards})
    yield from lease.gpus_of(leases)
    yield from usage.used_by(leases)
    yield from market.market(snapshot.view)
    yield from daemon.daemon(snapshot)
