"""Who may do what with which lease: certificate, then token, then the lease itself. Nothing else decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc.aio
from grpc import StatusCode

from provider.domain.ids import HOME, LeaseId, MarketId, ProviderId
from provider.ports import Clock
from provider.rpc.member import Member, Role
from provider.rpc.status import Denied, caller, caller_as
from provider.rpc.tokens import Scope, require, verify

_SCHEME = "Bearer "


class Doorman:
    """Of the provider ``member`` in its market, which is ``market`` in the provider's own ids; who comes in
    here can name no lease of another. ``keys``: the market's public token keys as they are now."""

    def __init__(
        self,
        member: Member,
        keys: Callable[[], tuple[str, ...]],
        clock: Clock,
        market: MarketId = HOME,
    ) -> None:
        self.market = market
        self._member = member
        self._keys = keys
        self._clock = clock

    def admit(self, context: grpc.aio.ServicerContext[Any, Any], lease: LeaseId, scope: Scope) -> None:
        """Return if the caller may do ``scope`` with ``lease``, as the market names it; ``Denied`` otherwise,
        with why."""
        tenant = caller_as(context, Role.TENANT, self._member.market)
        token = verify(
            _bearer(context),
            self._keys(),
            market=self._member.market,
            provider=ProviderId(self._member.name),
            at=self._clock.now(),
        )
        require(token, tenant=tenant.name, lease=lease, scope=scope)

    def guest(self, context: grpc.aio.ServicerContext[Any, Any]) -> Member:
        """The caller, who may ask what any of the market's tenants, or its coordinator, may."""
        role = Role.COORDINATOR if caller(context).role is Role.COORDINATOR else Role.TENANT
        return caller_as(context, role, self._member.market)


def _bearer(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    values = [value for key, value in context.invocation_metadata() or () if key == "authorization"]
    if len(values) != 1 or not isinstance(values[0], str) or not values[0].startswith(_SCHEME):
        raise Denied(
            StatusCode.UNAUTHENTICATED,
            "TOKEN_MISSING",
            "this call carries no lease token",
            remedy="ask the coordinator for one and send it as `authorization: Bearer TOKEN`",
        )
    return values[0].removeprefix(_SCHEME)
