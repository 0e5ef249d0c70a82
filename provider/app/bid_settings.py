"""From the ``bidding`` block to the policy of its rules; what means nothing is named, with a remedy."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import TypeVar

from provider.app.audited import audited_attributes
from provider.app.bidding_config import BiddingConfig
from provider.core.bid_policy import BidPolicy, NumaPinning, Overcommit
from provider.core.maintenance import window
from provider.core.order_filter import condition
from provider.domain.errors import ConfigError
from provider.domain.ids import ProviderId
from provider.domain.moment import Span

T = TypeVar("T")


def bid_policy(bidding: BiddingConfig, provider: ProviderId) -> BidPolicy:
    """``ConfigError`` where a value means nothing, or an auditor's statement is not to be trusted."""
    return BidPolicy(
        overcommit=Overcommit(
            cpu=_factor("overcommit_cpu", bidding.overcommit_cpu),
            memory=_factor("overcommit_memory", bidding.overcommit_memory),
            storage=_factor("overcommit_storage", bidding.overcommit_storage),
        ),
        overbid=_at_least("overbid", bidding.overbid, 1),
        numa=_numa(bidding.numa),
        owners_allow=bidding.owners_allow,
        owners_deny=bidding.owners_deny,
        conditions=_each("filter", bidding.filter, condition),
        volumes_most=_at_least("volumes_most", bidding.volumes_most, 1),
        audited=audited_attributes(bidding.audited, bidding.auditors, provider),
        notice=Span(round(bidding.notice_s * 1000)),
        bids_per_minute=bidding.bids_per_minute,
        open_bids_most=bidding.open_bids_most,
        deposit_budget=_budget(bidding.deposit_budget),
        maintenance=_each("maintenance", bidding.maintenance, window),
        maintenance_ahead=Span(round(bidding.maintenance_ahead_s * 1000)),
    )


def _each(name: str, texts: tuple[str, ...], read: Callable[[str], T]) -> tuple[T, ...]:
    made = []
    for number, text in enumerate(texts):
        try:
            made.append(read(text))
        except ValueError as error:
            raise ConfigError(
                f"bidding.{name}[{number}]: {error}", remedy="docs/configuration.md has examples"
            ) from None
    return tuple(made)


def _factor(name: str, factor: Decimal) -> Decimal:
    if not (factor.is_finite() and 1 <= factor <= 100):
        raise ConfigError(
            f"bidding.{name}: {factor} is not a factor of 1 to 100", remedy="1.5 promises half as much again"
        )
    return factor


def _budget(budget: Decimal | None) -> Decimal | None:
    if budget is not None and not (budget.is_finite() and budget >= 0):
        raise ConfigError(
            f"bidding.deposit_budget: {budget} is not an amount", remedy="such as 50, in whole units"
        )
    return None if budget is None else budget.scaleb(6)


def _at_least(name: str, number: int, least: int) -> int:
    if number < least:
        raise ConfigError(f"bidding.{name}: {number} is too small", remedy=f"use {least} or more")
    return number


def _numa(text: str) -> NumaPinning:
    try:
        return NumaPinning(text)
    except ValueError:
        raise ConfigError(
            f"bidding.numa: {text!r} is not a way to pin", remedy=f"use {', '.join(NumaPinning)}"
        ) from None
