"""What goes wrong in a simulated world: how bad the weather is, and which disasters come when.

Owns the odds. What a disaster does is the world's (``world.py``). All of it is drawn from one seeded chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random

from provider.domain.moment import SECOND, Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """Odds for every single message and start."""

    loss: float
    """Share of requests that never arrive, and of answers that never come back."""
    double: float
    """Share of messages that arrive twice."""
    delay_most: Span
    start_fails: float
    """Share of starts at which the engine or a registry is away."""


CALM = Weather(loss=0.0, double=0.0, delay_most=Span(30), start_fails=0.0)
STORM = Weather(loss=0.15, double=0.15, delay_most=Span(3 * SECOND), start_fails=0.2)


class Fault(StrEnum):
    AGENT_CRASHES = "agent_crashes"
    """kill -9; it is started again after a while."""
    HOST_REBOOTS = "host_reboots"
    """The same, and every container has ended."""
    MARKET_RESTARTS = "market_restarts"
    LINK_IS_CUT = "link_is_cut"
    ENGINE_IS_AWAY = "engine_is_away"
    GPU_DIES = "gpu_dies"
    GPU_SICKENS = "gpu_sickens"
    """It is degraded for a while: a lease on it lives, and nobody else gets it."""
    GPU_REPORTS = "gpu_reports"
    """The driver reports an error, of a program or of the card."""
    CONTAINER_DIES = "container_dies"
    CONTAINER_VANISHES = "container_vanishes"
    """With all that was around it, behind the agent's back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disaster:
    after: Span
    """The beginning of the world."""
    fault: Fault
    agent: int
    """Which one it hits; the market is hit by its own."""
    lasts: Span


class Chance:
    """The weather, as it is now."""

    def __init__(self, random: Random, weather: Weather) -> None:
        self.weather = weather
        self._random = random

    def delay(self) -> Span:
        """Of one message: short most of the time."""
        most = self.weather.delay_most
        return Span(self._random.randint(1, most if self._random.randrange(8) == 0 else max(most // 20, 1)))

    def loses(self) -> bool:
        return self._random.random() < self.weather.loss

    def doubles(self) -> bool:
        return self._random.random() < self.weather.double

    def fails_a_start(self) -> bool:
        return self._random.random() < self.weather.start_fails


def disasters(random: Random, agents: int, within: Span) -> tuple[Disaster, ...]:
    """Between five and twenty of them."""
    return tuple(
        Disaster(
            after=Span(random.randrange(within)),
            fault=random.choice(tuple(Fault)),
            agent=random.randrange(agents),
            lasts=Span(random.randint(1, 20 * SECOND)),
        )
        for _ in range(random.randint(5, 20))
    )
