"""State to series: one snapshot in, the families of ``table`` out.

Owns the way from figures (``rows``) to the library's families. Keeps nothing between scrapes but the snapshot
it is given, so that what is gone from the snapshot is gone from the exposition.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.metrics_core import Metric as Family

from provider.adapters.telemetry.renderer import families_of
from provider.adapters.telemetry.rows import daemon, gpu, lease, market, nvml, reading, usage
from provider.adapters.telemetry.rows.sample import Group
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
        for group in groups(self.snapshot):
            yield from families_of(group)


def groups(snapshot: Snapshot) -> Iterator[Group]:
    """Each metric that is read off the state is in one of them."""
    leases = snapshot.view.leases[:LEASES_MOST]
    cards = [(node, card) for node in snapshot.view.nodes for card in node.gpus]
    yield gpu.cards(cards, snapshot)
    yield gpu.counts(cards, snapshot)
    yield gpu.idle_jobs(cards, snapshot)
    yield reading.readings(cards, snapshot)
    if snapshot.probe is not None:
        yield nvml.probe(snapshot.probe)
    yield lease.held_by(leases, {card.uuid: card for _, card in cards})
    yield lease.earned_by(leases)
    yield usage.cards_of(leases)
    yield usage.services_of(leases)
    yield market.market(snapshot.view)
    yield daemon.daemon(snapshot)
