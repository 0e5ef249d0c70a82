"""What the daemon hands over to be shown: values, made on the event loop, rendered elsewhere.

Owns the shape of the hand-over. Invariant: frozen, so that a thread may render it while the daemon goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from provider.core.lease import Phase
from provider.domain.gpu import GpuReading
from provider.domain.ids import GpuUuid
from provider.domain.moment import Instant
from provider.domain.money import Money, Rate
from provider.domain.node import Node
from provider.domain.usage import LeaseUsage


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseView:
    """One live lease."""

    key: str
    """``LeaseId.key``: no tenant's name leaves in a label."""
    phase: Phase
    gpus: tuple[GpuUuid, ...]
    rate: Rate
    earned: Money
    ran_ms: int
    """Time that is billed so far."""
    usage: LeaseUsage | None = None
    """None until it was sampled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryView:
    """The agent's state as far as metrics tell it."""

    nodes: tuple[Node, ...] = ()
    leases: tuple[LeaseView, ...] = ()
    bids_open: int = 0
    is_connected: bool = False
    is_bidding: bool = True


class ProbeFacts(Protocol):
    """How reading the GPUs does; ``adapters.gpu.probe.NvmlStatus`` is one."""

    @property
    def is_up(self) -> bool: ...
    @property
    def last_success(self) -> Instant | None: ...
    @property
    def restarts(self) -> tuple[tuple[str, int], ...]: ...
    @property
    def failures(self) -> tuple[tuple[str, int, int], ...]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """Where a scrape's figures come from: quick calls on the event loop, none of which may reach a driver."""

    view: Callable[[], TelemetryView]
    readings: Callable[[], tuple[GpuReading, ...]]
    probe: Callable[[], ProbeFacts | None] = lambda: None
    """None where GPUs are simulated: then nothing is said about NVML."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One look at the feed."""

    view: TelemetryView
    readings: tuple[GpuReading, ...]
    probe: ProbeFacts | None


def look(feed: Feed) -> Snapshot:
    """Everything at one moment."""
    return Snapshot(view=feed.view(), readings=feed.readings(), probe=feed.probe())
