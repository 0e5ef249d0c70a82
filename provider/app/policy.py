"""From the operator's configuration to the policy that decisions are made by.

What a single value cannot show (a range upside down, an unknown currency) is checked here, once.
"""

from __future__ import annotations

from collections.abc import Mapping

from provider.app.bid_settings import bid_policy
from provider.app.config import ProviderConfig
from provider.app.ingress_settings import ingress_policy
from provider.app.pricing_policy import prices
from provider.core.health import HealthSettings, table
from provider.core.health_row import Row
from provider.core.policy import Policy
from provider.domain.errors import ConfigError
from provider.domain.ids import MarketId, ProviderId
from provider.domain.moment import Span
from provider.domain.money import Denom
from provider.domain.resources import Attribute


def policy(
    config: ProviderConfig, provider: ProviderId, names: Mapping[MarketId, ProviderId] | None = None
) -> Policy:
    """The policy of ``provider``, which has ``names`` of its own in markets that it joined later.

    ``ConfigError`` where settings contradict themselves.
    """
    bidding, pricing = config.bidding, prices(config.pricing)
    return Policy(
        provider=provider,
        names=names or {},
        price=pricing.scale,
        strategy=pricing.strategy,
        floor=pricing.floor,
        worth=pricing.worth,
        denoms=frozenset(_denom(text) for text in bidding.denoms),
        attributes=tuple(
            Attribute(key=key, value=value) for key, value in sorted(bidding.attributes.items())
        ),
        port_range=port_range(config.runtime.ports),
        bid_lifetime=_span(bidding.bid_lifetime_s),
        manifest_patience=_span(bidding.manifest_patience_s),
        usage_interval=_span(bidding.usage_interval_s),
        retry_first=_span(bidding.retry_first_s),
        deaths_most=max(bidding.deaths_most, 1),
        update_probation=_span(bidding.update_probation_s),
        stop_grace_s=bidding.stop_grace_s,
        checks_gpus=not config.gpu.simulate,
        bids=bid_policy(bidding, provider),
        ingress=ingress_policy(config),
    )


def health_rows(config: ProviderConfig) -> tuple[Row, ...]:
    """The health table as the operator wants it. ``ConfigError`` for times that are none."""
    for name in ("hold_s", "check_s"):
        if getattr(config.health, name) < 0:
            raise ConfigError(f"health.{name}: a time is not negative", remedy="write it like 300")
    return table(
        HealthSettings(
            hold=_span(config.health.hold_s),
            check_within=_span(config.health.check_s),
            judges_heat=config.health.heat,
        )
    )


def port_range(text: str) -> tuple[int, int]:
    """``31000-31999`` as its ends."""
    first, _, last = text.partition("-")
    if not (first.isdigit() and last.isdigit() and 1 <= int(first) <= int(last) <= 65535):
        raise ConfigError(
            f"runtime.ports: {text!r} is not a range of ports", remedy="write it like 31000-31999"
        )
    return int(first), int(last)


def _denom(text: str) -> Denom:
    try:
        return Denom(text)
    except ValueError:
        raise ConfigError(
            f"bidding.denoms: {text!r} is not a currency", remedy=f"use {', '.join(Denom)}"
        ) from None


def _span(seconds: float) -> Span:
    return Span(round(seconds * 1000))
