"""``tenant migrate-hostnames``: names move from one deployment to another, at the provider of both."""

from __future__ import annotations

import argparse
import asyncio
from contextlib import AsyncExitStack

from provider.adapters.clock import SystemClock
from provider.app.cli.entry import DONE
from provider.app.cli.tenant_commands import home
from provider.app.enrolling import fresh
from provider.app.market_client import Market
from provider.app.tenancy import Tenancy
from provider.domain.errors import ConfigError
from provider.domain.ids import LeaseId
from provider.rpc import codec, identity
from provider.rpc.member import Role
from provider.rpc.tokens import Scope
from provider.rpc.v1 import tenant_pb2


def migrate(args: argparse.Namespace) -> int:
    """All of the names, or none."""

    async def go() -> None:
        who = identity.load(home(args), Role.TENANT, at=SystemClock().now())
        async with AsyncExitStack() as stack:
            market = await stack.enter_async_context(Market(await fresh(who, home(args)), lambda _: None))
            tenancy = Tenancy(market, home(args))
            source, target = pair(
                await market.deployment(args.source), await market.deployment(args.target), args.provider
            )
            calls = await stack.enter_async_context(await tenancy.lease_calls(target, (Scope.MANIFEST,)))
            await calls.migrate_hostnames(source, args.hostnames)

    asyncio.run(go())
    print(f"{', '.join(args.hostnames)}: now with deployment {args.target}")
    return DONE


def pair(
    source: tenant_pb2.Deployment, target: tenant_pb2.Deployment, provider: str | None
) -> tuple[LeaseId, LeaseId]:
    """The live leases of both that are at one provider. ``ConfigError`` unless there is exactly one pair."""
    found = [
        (one, other)
        for one in _live(source)
        for other in _live(target)
        if one.provider == other.provider and provider in {None, one.provider}
    ]
    if len(found) != 1:
        where = f"at {provider}" if provider else "at one provider"
        what = "have no leases" if not found else "have several leases"
        raise ConfigError(
            f"deployments {source.dseq} and {target.dseq} {what} {where}",
            remedy=f"tenant status {target.dseq}, then --provider NAME"
            if found
            else f"names move only between leases of one provider: tenant status {target.dseq}",
        )
    return found[0]


def _live(deployment: tenant_pb2.Deployment) -> list[LeaseId]:
    return [
        codec.lease_id_from_pb(lease.id)
        for lease in deployment.leases
        if lease.state == tenant_pb2.LEASE_STATE_ACTIVE
    ]
