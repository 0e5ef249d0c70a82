"""An agent's real link, a real market's end, and a proxy between them that can cut, freeze and delay."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from provider.adapters.clock import SystemClock
from provider.adapters.link import GrpcLink, LinkSettings
from provider.core.events import (
    CoordinatorConnected,
    CoordinatorLost,
    Event,
    LeaseAwarded,
    LeaseEnded,
    LeaseUpdated,
    OrderClosed,
    OrderOpened,
)
from provider.domain.ids import LeaseId, OrderId, Owner, ProviderId
from provider.domain.market import GroupSpec, Order
from provider.domain.money import Denom, Rate
from provider.domain.resources import GIB, Resources, ResourceUnit
from provider.ports import Clock
from provider.rpc.identity import Identity, LiveIdentity
from provider.rpc.member import Role
from provider.rpc.settings import DEADLINE_S
from provider.sim.authority import ThrowawayAuthority
from provider.sim.market import SimulatedMarket
from provider.sim.proxy import FaultyProxy
from provider.sim.wire import WireMarket

CLOCK = SystemClock()
PROVIDER = ProviderId("frankfurt-1")
RATE = Rate(amount=Decimal("1.25"), denom=Denom.UACT)


def order(dseq: int) -> Order:
    resources = Resources(id=1, cpu_millis=500, memory_bytes=GIB)
    group = GroupSpec(name="web", units=(ResourceUnit(resources=resources, count=1, price=RATE),))
    id_ = OrderId(owner=Owner("alice"), dseq=dseq, gseq=1, oseq=1)
    return Order(id=id_, group=group, manifest_hash="ab" * 32)


def lease(dseq: int) -> LeaseId:
    return order(dseq).id.lease(PROVIDER)


def settings(state_dir: Path, address: str) -> LinkSettings:
    return LinkSettings(
        state_dir=state_dir,
        instance="1",
        software="0",
        address=address,
        retry_first_s=0.01,
        retry_unit_s=0.01,
        retry_most_s=0.05,
        welcome_s=1.0,
    )


class Follower:
    """Reads a link as an agent does: commits in order, remembers how far it has come."""

    def __init__(self) -> None:
        self.market = ""
        self.version = 0
        self.events: list[Event] = []

    def position(self) -> tuple[str, int]:
        return self.market, self.version

    async def follow(self, link: GrpcLink) -> None:
        async for delivery in link.inbound():
            self.events.append(delivery.event)
            if isinstance(delivery.event, CoordinatorConnected):
                self.market = delivery.event.market
            if isinstance(
                delivery.event, OrderOpened | OrderClosed | LeaseAwarded | LeaseUpdated | LeaseEnded
            ):
                self.version = max(self.version, delivery.event.version)
            if delivery.committed:
                delivery.committed()

    def losses(self) -> list[str]:
        return [event.why for event in self.events if isinstance(event, CoordinatorLost)]

    def epochs(self) -> list[int]:
        return [event.epoch for event in self.events if isinstance(event, CoordinatorConnected)]

    def opened(self) -> list[int]:
        return [event.version for event in self.events if isinstance(event, OrderOpened)]


@dataclass(frozen=True, kw_only=True)
class Wire:
    """Everything between and including both ends."""

    authority: ThrowawayAuthority
    market: SimulatedMarket
    served: WireMarket
    proxy: FaultyProxy
    state_dir: Path

    @asynccontextmanager
    async def agent(
        self,
        identity: Identity | None = None,
        *,
        clock: Clock = CLOCK,
        address: str = "",
        lives_in: str = "agent",
        deadline_s: float = DEADLINE_S,
    ) -> AsyncIterator[tuple[GrpcLink, Follower]]:
        """An agent's link, entered, with somebody who reads it."""
        follower = Follower()
        identity = identity or self.member()
        made = settings(self.state_dir / lives_in, address or self.proxy.address)
        made = replace(made, deadline_s=deadline_s)
        chance = random.Random(1)  # noqa: S311 -- jitter
        link = GrpcLink(made, LiveIdentity(identity), clock, chance, follower.position)
        async with asyncio.TaskGroup() as tasks, link:
            tasks.create_task(follower.follow(link))
            yield link, follower

    def member(self, role: Role = Role.PROVIDER, name: str = PROVIDER) -> Identity:
        identity = self.authority.member(role, name, at=CLOCK.now())
        return replace(identity, coordinator=self.served.address)


@asynccontextmanager
async def wire(state_dir: Path, *, heartbeat_ms: int = 1000) -> AsyncIterator[Wire]:
    """Three heartbeat intervals of silence end a session: seconds, so that a busy machine is no fault."""
    authority, market = ThrowawayAuthority("sim"), SimulatedMarket()
    async with asyncio.timeout(40), AsyncExitStack() as stack:
        served = WireMarket(market, authority, CLOCK, heartbeat_ms=heartbeat_ms)
        await stack.enter_async_context(served)
        proxy = await stack.enter_async_context(FaultyProxy(served.address))
        yield Wire(authority=authority, market=market, served=served, proxy=proxy, state_dir=state_dir)
