"""Certificates are short-lived: a new key and certificate at two thirds of the old one's life."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import grpc.aio

from provider.adapters.link.backoff import Backoff
from provider.adapters.link.settings import LinkSettings
from provider.domain.errors import ProviderError
from provider.domain.moment import MINUTE, Instant
from provider.ports import Clock
from provider.rpc.enrolment import renew
from provider.rpc.identity import Identity, LiveIdentity, save

_LOOK_AGAIN = 10 * MINUTE
"""A wall clock may be set: no sleep towards a date is longer than this."""
_JITTER = 0.05
"""Of a certificate's life: members that enrolled together do not renew together."""


class Renewal:
    """Keeps one ``LiveIdentity`` alive for as long as ``run`` runs."""

    def __init__(
        self, settings: LinkSettings, identity: LiveIdentity, clock: Clock, chance: random.Random
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._clock = clock
        self._chance = chance
        self._backoff = Backoff(settings, chance)
        self.problem: str | None = None
        """Why the last attempt failed; None when it did not."""

    async def run(
        self, channel: Callable[[], Awaitable[grpc.aio.Channel]], renewed: Callable[[], None]
    ) -> None:
        """``channel``: waits for one to the coordinator. ``renewed``: the identity in use is a new one."""
        while True:
            due = self._due(self._identity.now)
            while (now := self._clock.now()) < due:
                await self._clock.sleep_until(min(due, Instant(now + _LOOK_AGAIN)))
            try:
                fresh = await renew(await channel(), self._identity.now)
                save(fresh, self._settings.state_dir)
            except ProviderError as error:
                self.problem = f"the certificate could not be renewed: {error.what}"
                await asyncio.sleep(self._backoff.next_s())
                continue
            self._identity.now = fresh
            self.problem = None
            self._backoff.forgive()
            renewed()

    def _due(self, identity: Identity) -> Instant:
        life = identity.certificate.not_after - identity.certificate.not_before
        return Instant(int(identity.renew_at + life * _JITTER * self._chance.uniform(0, 1)))
