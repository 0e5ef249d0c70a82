"""The way in to a lease: who may, by ``doorman``; and whether it is here, or was until not long ago.

Invariant: nothing is read from or done to a lease before ``admitted`` has returned.
"""

from __future__ import annotations

from typing import Any

import grpc.aio
from grpc import StatusCode

from provider.adapters.gateway.doorman import Doorman
from provider.core.state import Lease
from provider.domain.ids import LeaseId
from provider.domain.market import Refusal
from provider.ports import Clock, Journal, LiveAgent
from provider.rpc.codec import lease_id_from_pb
from provider.rpc.fields import present
from provider.rpc.status import Denied
from provider.rpc.tokens import Scope


class Entrance:
    def __init__(self, agent: LiveAgent, journal: Journal, clock: Clock, doorman: Doorman) -> None:
        self._agent = agent
        self._journal = journal
        self._clock = clock
        self._doorman = doorman

    def admitted(self, request: Any, context: grpc.aio.ServicerContext[Any, Any], scope: Scope) -> LeaseId:
        """The lease that ``request`` names, of which the caller may do ``scope``; ``Denied`` otherwise."""
        lease = lease_id_from_pb(request.lease, present(request, "lease", type(request).__name__))
        self._doorman.admit(context, lease, scope)
        return self.named(lease)

    def named(self, lease: LeaseId) -> LeaseId:
        """What the market whose door this is names so, as this provider names it."""
        return lease.within(self._doorman.market)

    def lease(self, lease: LeaseId) -> Lease:
        """As it is now; ``Denied`` where it is not here."""
        known = self.find(lease)
        if known is None:
            raise _unknown(lease)
        return known

    def find(self, lease: LeaseId) -> Lease | None:
        return self._agent.state.leases.get(lease)

    def recent(self, lease: LeaseId) -> LeaseId:
        """``lease``, if it is here or has ended not long ago: its logs and events outlive it for a while."""
        if self.find(lease) is None and not self._journal.knows(lease, self._clock.now()):
            raise _unknown(lease)
        return lease


def _unknown(lease: LeaseId) -> Denied:
    return Denied(
        StatusCode.NOT_FOUND,
        Refusal.LEASE_UNKNOWN.name,
        f"the lease {lease.as_told} is not here: it has ended, or never began",
        remedy="look at the deployment with `tenant status`",
    )
