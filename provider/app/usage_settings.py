"""How often it is looked at what leases use, from the configuration."""

from __future__ import annotations

from provider.app.config import ProviderConfig
from provider.core.attribution import LONGEST_S
from provider.domain.errors import ConfigError
from provider.domain.moment import SECOND, Span

LEAST_S, MOST_S = 0.5, LONGEST_S / 2
"""Oftener costs more than it tells; more rarely, a look that is late would leave a hole in what is summed."""


def usage_interval(config: ProviderConfig) -> Span:
    """``ConfigError`` for a period that cannot be kept."""
    seconds = config.usage.interval_s
    if not LEAST_S <= seconds <= MOST_S:
        raise ConfigError(
            f"usage.interval_s is {seconds}", remedy=f"give a number of seconds from {LEAST_S} to {MOST_S}"
        )
    return Span(round(seconds * SECOND))
