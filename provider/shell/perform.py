"""Doing what the core wants: one exhaustive match, effect to port call to result event.

Owns retries of what must succeed in the end (removing a workload, telling the market) and the mapping
of failures to ``Failed``. Does not decide what a failure means: that is the core's. The one place in
the agent where every exception is caught, because a bug in an adapter must become an event, not the
end of all other leases.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import assert_never

import structlog

from provider.core.effects import (
    AskPrice,
    ConfirmLease,
    Effect,
    EndLease,
    PlaceBid,
    RefuseLease,
    ReportLease,
    ReportUsage,
    RestartService,
    StartWorkload,
    StopWorkload,
    WithdrawBid,
)
from provider.core.events import Failed, Performed
from provider.core.markets import Told, as_told, lease_of
from provider.domain.errors import ImageUnavailable, Permanent, ProviderError, Temporary
from provider.domain.ids import MarketId
from provider.domain.market import CloseReason
from provider.domain.moment import after
from provider.ports import Clock, CoordinatorLink, Pricer, Runtime
from provider.shell import backoff

log = structlog.get_logger()

TRIED_ONCE = (StartWorkload, RestartService, AskPrice)
"""Whose failures the core must hear of at once, because it decides when the next try is due."""
NEVER_GIVEN_UP = (StopWorkload,)
"""Tried until it is done, whatever the engine says: a lease is over once nothing of it is left."""


class Performer:
    """Performs effects. Safe to use from many lanes at once."""

    def __init__(
        self,
        runtime: Runtime,
        links: Mapping[MarketId, CoordinatorLink],
        pricer: Pricer,
        clock: Clock,
        random: Random,
    ) -> None:
        self._runtime = runtime
        self._links = links
        self._pricer = pricer
        self._clock = clock
        self._random = random

    async def perform(self, effect: Effect) -> Performed | Failed:
        """Do it, however often it takes; return what came of it."""
        attempt = 0
        while True:
            try:
                done = await self._call(effect)
            except Exception as failure:
                if isinstance(failure, Permanent) and not isinstance(effect, NEVER_GIVEN_UP):
                    return Failed(effect=effect, what=str(failure), is_final=True, reason=_reason(failure))
                retry_after = failure.retry_after if isinstance(failure, Temporary) else None
                if not isinstance(failure, ProviderError):
                    log.exception("effect_raised", effect=effect.id)
                if isinstance(effect, TRIED_ONCE):
                    return Failed(effect=effect, what=str(failure), is_final=False, retry_after=retry_after)
                log.warning("effect_delayed", effect=effect.id, attempt=attempt, problem=str(failure))
                wait = retry_after or backoff.wait(attempt, self._random)
                await self._clock.sleep_until(after(self._clock.now(), wait))
                attempt += 1
            else:
                return done

    async def _call(self, effect: Effect) -> Performed:
        match effect:
            case StartWorkload():
                runs = await self._runtime.start(effect.launch)
                return Performed(effect=effect, workload=runs)
            case RestartService():
                runs = await self._runtime.restart(effect.lease, effect.service, effect.grace_s)
                return Performed(effect=effect, workload=runs)
            case AskPrice():
                return Performed(effect=effect, price=await self._pricer.price(effect.question))
            case StopWorkload():
                await self._runtime.stop(effect.lease, effect.grace_s)
            case _:
                await self._tell(effect)
        return Performed(effect=effect)

    async def _tell(self, wanted: Told) -> None:
        """The market that it is about, in that market's words."""
        market = lease_of(wanted).market
        link = self._links.get(market)
        if link is None:
            raise Permanent(f"this provider is in no market {market} any more")
        effect, key = as_told(wanted), wanted.id
        match effect:
            case PlaceBid():
                await link.place_bid(key, effect.bid)
            case WithdrawBid():
                await link.withdraw_bid(key, effect.bid)
            case ConfirmLease():
                await link.confirm_lease(key, effect.lease)
            case RefuseLease():
                await link.refuse_lease(key, effect.lease, effect.why)
            case ReportLease():
                await link.report_lease(key, effect.lease, effect.health, effect.ports, effect.detail)
            case ReportUsage():
                await link.report_usage(key, effect.usage)
            case EndLease():
                await link.end_lease(key, effect.lease, effect.reason, effect.detail)
            case _:
                assert_never(effect)


def _reason(failure: Permanent) -> CloseReason:
    """What a start that can never succeed makes of its lease."""
    if isinstance(failure, ImageUnavailable):
        return CloseReason.IMAGE_UNAVAILABLE
    return CloseReason.WORKLOAD_REFUSED
