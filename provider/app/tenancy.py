"""From a tenant's file to a running service: the steps that ``tenant`` and ``provider demo`` share.

Each step waits for the market's own word and never for time to pass. What a provider is sent comes from the
tenant's own copies (``kept_manifests``), found by the hash that the market has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from provider import sdl
from provider.app.kept_manifests import Kept, KeptManifests
from provider.app.lease_client import LeaseCalls
from provider.app.market_client import Market, new_key
from provider.domain.errors import ConfigError, Permanent, Temporary
from provider.domain.ids import LeaseId
from provider.domain.manifest import Manifest
from provider.domain.market import GroupSpec
from provider.domain.money import Money
from provider.domain.workload import Dependency
from provider.rpc import codec
from provider.rpc.tokens import Scope
from provider.rpc.v1 import resources_pb2, tenant_pb2

Done = Callable[[tenant_pb2.Deployment], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A tenant's file, read."""

    manifest: Manifest
    groups: tuple[GroupSpec, ...]
    dependencies: tuple[Dependency, ...] = ()

    @property
    def kept(self) -> Kept:
        """As it is kept, and sent."""
        return Kept(manifest_json=sdl.manifest_json(self.manifest), dependencies=self.dependencies)

    @property
    def hash(self) -> str:
        return sdl.manifest_hash(self.manifest)


def plan_of(parsed: sdl.Parsed, images: Mapping[str, str]) -> Plan:
    """A parsed file, with other images for some services."""
    manifest = _with_images(parsed.manifest, images)
    return Plan(manifest=manifest, groups=parsed.groups, dependencies=parsed.dependencies)


def _with_images(manifest: Manifest, images: Mapping[str, str]) -> Manifest:
    names = {service.name for group in manifest.groups for service in group.services}
    for name in images:
        if name not in names:
            raise ConfigError(
                f"--image {name}=...: there is no such service",
                remedy=f"use one of {', '.join(sorted(names))}",
            )
    groups = tuple(
        replace(
            group,
            services=tuple(
                replace(service, image=images.get(service.name, service.image)) for service in group.services
            ),
        )
        for group in manifest.groups
    )
    return Manifest(groups=groups)


class Tenancy:
    """One tenant at one market, with a folder of its own."""

    def __init__(self, market: Market, home: Path) -> None:
        self.market = market
        self.kept = KeptManifests(home, market.owner)

    async def deploy(self, plan: Plan, deposit: Money) -> int:
        """Open the orders; the deployment's number."""
        created = await self.market.create(plan.groups, plan.hash, deposit, new_key())
        self.kept.keep(created.dseq, plan.kept)
        return created.dseq

    async def until(self, dseq: int, done: Done, timeout_s: float, waiting_for: str) -> tenant_pb2.Deployment:
        """The deployment once ``done``; ``Temporary`` when that takes longer than ``timeout_s``."""
        last: tenant_pb2.Deployment | None = None
        try:
            async with asyncio.timeout(timeout_s):
                async for view in self.market.watch(dseq):
                    if done(view):
                        return view
                    last = view
        except TimeoutError:
            pass
        known = "; ".join(lease.detail for lease in last.leases if lease.detail) if last else ""
        raise Temporary(
            f"no {waiting_for} within {timeout_s:g} s" + (f": {known}" if known else ""),
            remedy=f"tenant status {dseq}",
        )

    async def first_bids(self, dseq: int, timeout_s: float) -> tenant_pb2.Deployment:
        """Once every open order has a bid."""
        return await self.until(dseq, every_order_has_a_bid, timeout_s, "bid")

    async def accept(self, dseq: int, provider: str | None, timeout_s: float) -> list[LeaseId]:
        """Accept the cheapest bid, or `provider`s, on each open order; the leases once all are confirmed."""
        view = await self.market.deployment(dseq)
        chosen = [
            choose(order, provider) for order in view.orders if order.state == tenant_pb2.ORDER_STATE_OPEN
        ]
        for bid in chosen:
            await self.market.accept(bid, new_key())
        confirmed = await self.until(dseq, every_order_is_leased, timeout_s, "confirmation by the provider")
        return [
            codec.lease_id_from_pb(lease.id)
            for lease in confirmed.leases
            if lease.state == tenant_pb2.LEASE_STATE_ACTIVE
        ]

    async def send_manifest(self, lease: LeaseId) -> None:
        """To the provider of ``lease``, which checks it against the order's hash."""
        view = await self.market.deployment(lease.dseq)
        kept = self.kept.of_hash(lease.dseq, view.manifest_hash.hex())
        async with AsyncExitStack() as stack:
            calls = await stack.enter_async_context(await self.lease_calls(lease, (Scope.MANIFEST,)))
            await calls.send_manifest(kept.manifest_json, kept.dependencies)

    async def running(self, dseq: int, timeout_s: float) -> tenant_pb2.Deployment:
        """Once every lease runs. ``Permanent`` as soon as one has ended instead, with its reason."""
        view = await self.until(dseq, every_lease_runs_or_one_ended, timeout_s, "running service")
        for lease in view.leases:
            if lease.state != tenant_pb2.LEASE_STATE_ACTIVE:
                raise lease_ended(lease, dseq)
        return view

    async def lease_calls(self, lease: LeaseId, scopes: tuple[Scope, ...]) -> LeaseCalls:
        """The way to a lease, with a token for ``scopes``."""
        view = await self.market.deployment(lease.dseq)
        addresses = [each.lease_address for each in view.leases if codec.lease_id_from_pb(each.id) == lease]
        if not addresses:
            raise ConfigError(f"there is no lease {lease}", remedy=f"tenant status {lease.dseq}")
        token = await self.market.lease_token(lease, scopes)
        return self.market.lease(lease, addresses[0], token)

    async def lease_of(self, dseq: int, service: str = "", *, or_ended: bool = False) -> LeaseId:
        """The one lease of a deployment; of several the one that has ``service``.

        ``or_ended``: the last one will do where none is active, for what a provider keeps of it.
        """
        view = await self.market.deployment(dseq)
        found = [each for each in view.leases if each.state == tenant_pb2.LEASE_STATE_ACTIVE]
        if not found and or_ended:
            found = list(view.leases)[-1:]
        if not found:
            raise ConfigError(
                f"deployment {dseq} has no lease that is active", remedy=f"tenant status {dseq}"
            )
        leases = [codec.lease_id_from_pb(each.id) for each in found]
        if len(leases) == 1:
            return leases[0]
        for lease in leases:
            async with await self.lease_calls(lease, (Scope.STATUS,)) as calls:
                if service in {each.name for each in (await calls.status()).services}:
                    return lease
        what = f"no lease with the service {service}" if service else f"{len(leases)} leases"
        raise ConfigError(f"deployment {dseq} has {what}", remedy="name one of its services")

    async def close(self, dseq: int, timeout_s: float) -> tenant_pb2.Deployment:
        """End it; the deployment once all is settled and the rest is refunded."""
        await self.market.close(dseq, new_key())
        closed = await self.until(dseq, is_closed, timeout_s, "settlement")
        self.kept.forget(dseq)
        return closed


def choose(order: tenant_pb2.OrderView, provider: str | None) -> LeaseId:
    """The cheapest bid on ``order``, or that of ``provider``."""
    for bid in order.bids:
        if provider in (None, bid.id.provider):
            return codec.lease_id_from_pb(bid.id)
    of_whom = f" of {provider}" if provider else ""
    raise Permanent(
        f"there is no bid{of_whom} on group {order.order.group.name}",
        remedy=f"tenant bids {order.order.id.dseq} --wait 60",
    )


def lease_ended(lease: tenant_pb2.LeaseView, dseq: int) -> Permanent:
    """That a lease has ended, and for which reason."""
    reason = resources_pb2.CloseReason.Name(lease.reason).removeprefix("CLOSE_REASON_").lower()
    return Permanent(
        f"the lease with {lease.id.provider} ended: {reason.replace('_', ' ')}"
        + (f" ({lease.detail})" if lease.detail else ""),
        remedy=f"tenant status {dseq}",
    )


def every_order_has_a_bid(view: tenant_pb2.Deployment) -> bool:
    return all(order.bids or order.state != tenant_pb2.ORDER_STATE_OPEN for order in view.orders)


def every_order_is_leased(view: tenant_pb2.Deployment) -> bool:
    active = [lease for lease in view.leases if lease.state == tenant_pb2.LEASE_STATE_ACTIVE]
    return len(active) >= len(view.orders) > 0


def every_lease_runs_or_one_ended(view: tenant_pb2.Deployment) -> bool:
    ended = any(lease.state != tenant_pb2.LEASE_STATE_ACTIVE for lease in view.leases)
    runs = all(lease.health == resources_pb2.LEASE_HEALTH_RUNNING for lease in view.leases)
    return ended or (runs and bool(view.leases))


def is_closed(view: tenant_pb2.Deployment) -> bool:
    return view.state == tenant_pb2.DEPLOYMENT_STATE_CLOSED
