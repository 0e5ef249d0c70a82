"""The configuration read again while the daemon runs: prices and what is bid on, all of it or nothing.

Owns what may change so (``pricing``, ``bidding``, and ``idle`` with the file that it names) and the
comparison with what runs. Whatever else is different waits for the next start, and is named. Invariant: a
file with any problem changes nothing, and what changes does so by one event of the loop, like all else; open
bids and leases keep their price.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import replace

import structlog

from provider.app.config import ProviderConfig
from provider.app.idle_settings import idle_job
from provider.app.policy import policy
from provider.app.pricers import LivePricer, pricer_of
from provider.core.events import PolicyChanged
from provider.domain.errors import ProviderError
from provider.domain.secret import Secret
from provider.ports import LiveAgent, Reloaded

log = structlog.get_logger()


class Reloading:
    """``reload`` is what SIGHUP and ``provider reload`` do. One at a time."""

    def __init__(
        self,
        running: ProviderConfig,
        reread: Callable[[], ProviderConfig],
        agent: LiveAgent,
        pricer: LivePricer,
    ) -> None:
        self._running = running
        self._reread = reread
        self._agent = agent
        self._pricer = pricer
        self._turn = asyncio.Lock()

    async def reload(self) -> Reloaded:
        """Never raises for what is wrong with the file: that is in the answer, and in the log."""
        async with self._turn:
            try:
                done = await self._reload()
            except ProviderError as failure:
                log.warning("configuration_refused", problem=failure.what, remedy=failure.remedy)
                return Reloaded(problem=failure.what, remedy=failure.remedy or "")
        if done.waits:
            log.warning("configuration_waits", settings=list(done.waits), remedy="restart the daemon")
        return done

    async def _reload(self) -> Reloaded:
        found = await asyncio.to_thread(self._reread)
        now = replace(self._running, pricing=found.pricing, bidding=found.bidding, idle=found.idle)
        state = self._agent.state
        idle = await asyncio.to_thread(idle_job, now.idle)
        rules = replace(policy(now, state.policy.provider, state.policy.names), idle=idle)
        pricer = await pricer_of(now.pricing)
        changes, waits = tuple(differences(self._running, now)), tuple(differences(now, found))
        if idle != state.policy.idle and now.idle == self._running.idle:
            changes += (f"{now.idle.manifest}: what it says of the idle job",)
        if changes:
            before, self._pricer.now = self._pricer.now, pricer
            try:
                await self._agent.submit(PolicyChanged(policy=rules, changes=changes))
            except ProviderError:
                self._pricer.now = before
                raise
            self._running = now
        return Reloaded(changes=changes, waits=waits)


def differences(before: object, after: object, place: str = "") -> Iterator[str]:
    """``pricing.gpu_hour: {'*': 1} -> {'*': 2}``, for every setting that is another. Secrets show as such."""
    assert dataclasses.is_dataclass(before), "settings are dataclasses"
    for each in dataclasses.fields(before):
        old, new = getattr(before, each.name), getattr(after, each.name)
        name = f"{place}{each.name}"
        if dataclasses.is_dataclass(old) and type(old) is type(new) and not isinstance(old, Secret):
            yield from differences(old, new, f"{name}.")
        elif old != new:
            yield f"{name}: {_shown(old)} -> {_shown(new)}"


def _shown(value: object) -> str:
    """As short as it can be told."""
    match value:
        case None | "" | ():
            return "none"
        case tuple():
            return f"[{', '.join(map(_shown, value))}]"
        case dict():
            return "{" + ", ".join(f"{key}: {_shown(each)}" for key, each in value.items()) + "}"
        case _:
            return str(value)
