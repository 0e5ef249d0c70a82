"""What a row of the health table is made of: see ``health`` for the rules, ``health_rows`` for the rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from provider.core.health_looks import CardWatch, Look
from provider.domain.gpu import GpuHealth
from provider.domain.gpu_health import GpuSignal
from provider.domain.moment import Span

AT_ONCE = Span(0)


class Clears(StrEnum):
    """What ends a signal, besides the operator's word, which ends any."""

    QUIET = "quiet"
    """The opposite was so for the hold time."""
    RESET = "reset"
    """Of the card alone, or by a reboot."""
    REBOOT = "reboot"
    QUIET_OR_REBOOT = "quiet_or_reboot"
    OPERATOR = "operator"
    """Nothing else."""


BY_QUIET = frozenset({Clears.QUIET, Clears.QUIET_OR_REBOOT})
BY_REBOOT = frozenset({Clears.RESET, Clears.REBOOT, Clears.QUIET_OR_REBOOT})


class Action(StrEnum):
    NOTE = "note"
    """Told, and sold on."""
    DRAIN = "drain"
    """Not sold, its open bids withdrawn; a lease on it lives."""
    DRAIN_LINKED = "drain_linked"
    """The same, but a lease whose replicas have several GPUs ends."""
    EVICT = "evict"
    """Not sold; a lease on it ends, and the GPU is at fault."""


_STATES: Mapping[Action, GpuHealth] = {
    Action.NOTE: GpuHealth.HEALTHY,
    Action.DRAIN: GpuHealth.DEGRADED,
    Action.DRAIN_LINKED: GpuHealth.DEGRADED,
    Action.EVICT: GpuHealth.UNHEALTHY,
}


class Stops(StrEnum):
    """Which cards of a host must have it for the host to bid on nothing."""

    NEVER = "never"
    ONE = "one"
    TWO = "two"
    EVERY = "every"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """A condition, and how long it must be so."""

    condition: Callable[[Look, CardWatch], str | None]
    after: Span = AT_ONCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One signal. Without triggers it comes from events: Xids, the operator, a lease's end, the inventory."""

    number: str
    """Of the table in docs/operating.md."""
    signal: GpuSignal
    action: Action
    seen: str
    """In words: what is seen, how often, how long."""
    triggers: tuple[Trigger, ...] = ()
    clears: Clears = Clears.QUIET
    cleared_by: str = ""
    """In words, where it is quiet that clears it."""
    clears_after: Span | None = None
    """None: the operator's hold time."""
    stops: Stops = Stops.NEVER

    @property
    def state(self) -> GpuHealth:
        return _STATES[self.action]

    @property
    def clears_words(self) -> str:
        match self.clears:
            case Clears.QUIET | Clears.QUIET_OR_REBOOT:
                return self.cleared_by
            case Clears.RESET:
                return "at a reset of the card or a reboot, or `provider gpus uncordon`"
            case Clears.REBOOT:
                return "at a reboot, or `provider gpus uncordon`"
            case Clears.OPERATOR:
                return "`provider gpus uncordon`"
            case _:
                assert_never(self.clears)
