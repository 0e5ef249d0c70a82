"""What the daemon hands over to be shown.

Owns the shape of the hand-over. Invariant: values, never changed in place, so that what was written of one is
right for as long as it is the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from provider.adapters.telemetry.totals import CardTotals
from provider.adapters.telemetry.xids import CardXids
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
    market: str = ""
    """The name of the one that it is of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketView:
    """One market that this provider is in."""

    name: str
    is_connected: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleView:
    """The operator's idle job on one card."""

    gpu: GpuUuid
    is_running: bool
    ran_ms: int
    """In all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryView:
    """The agent's state as far as metrics tell it."""

    nodes: tuple[Node, ...] = ()
    leases: tuple[LeaseView, ...] = ()
    idle: tuple[IdleView, ...] = ()
    signals: tuple[tuple[GpuUuid, str], ...] = ()
    """What holds against cards now: card, ``domain.gpu_health.GpuSignal``."""
    bids_open: int = 0
    markets: tuple[MarketView, ...] = ()
    blocked: tuple[str, ...] = ()
    """Why it does not bid, of ``BLOCKS``; empty while it does."""
    prices: tuple[tuple[str, str, float], ...] = ()
    """Model, denom, micro-denom an hour for one card."""


BLOCKS = ("engine", "draining", "unfit", "market")


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
    @property
    def unreapable(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkFacts:
    """How the link to one market does."""

    market: str
    state: str
    """One of ``LINK_STATES``."""
    last_message: Instant | None = None


LINK_STATES = ("connecting", "connected", "backoff", "auth_failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Sizes that are measured in the background."""

    store_bytes: int | None = None
    image_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProcesses:
    """How many compute processes are on a card."""

    of_leases: int
    foreign: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """Where a scrape's figures come from: quick calls on the event loop, none of which may reach a driver."""

    view: Callable[[], TelemetryView]
    readings: Callable[[], tuple[GpuReading, ...]]
    probe: Callable[[], ProbeFacts | None] = lambda: None
    """None where GPUs are simulated: then nothing is said about NVML."""
    links: Callable[[], tuple[LinkFacts, ...]] = tuple
    held: Callable[[], Held] = Held
    tasks: Callable[[], int] = lambda: len(asyncio.all_tasks())


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One look at the feed, and what was summed up until then."""

    view: TelemetryView
    readings: tuple[GpuReading, ...] = ()
    probe: ProbeFacts | None = None
    links: tuple[LinkFacts, ...] = ()
    held: Held = Held()
    tasks: int | None = None
    totals: Mapping[GpuUuid, CardTotals] = field(default_factory=dict)
    gpus_expected: Mapping[bool, int] = field(default_factory=dict)
    """The most cards there were, simulated ones and others."""
    processes: Mapping[GpuUuid, GpuProcesses] = field(default_factory=dict)
    xids: Mapping[GpuUuid, CardXids] = field(default_factory=dict)


def look(feed: Feed) -> Snapshot:
    """Everything at one moment."""
    return Snapshot(
        view=feed.view(),
        readings=feed.readings(),
        probe=feed.probe(),
        links=feed.links(),
        held=feed.held(),
        tasks=feed.tasks(),
    )
