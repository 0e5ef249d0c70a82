"""A market, a provider's link and LeaseService, and a tenant: all real, over real mutual TLS on loopback.

What the provider runs is told, as in the gateway's own tests. Between everybody and the coordinator is a
proxy that can cut.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from provider import ports
from provider.adapters.clock import SystemClock
from provider.adapters.gateway import Doorman, GatewaySettings, LeaseGateway, LeaseServer, LeaseWorld
from provider.adapters.link import GrpcLink, LinkSettings
from provider.app.lease_client import LeaseCalls
from provider.app.market_client import Market
from provider.coordinator.server import RunningCoordinator
from provider.core.policy import Policy
from provider.core.state import AgentState
from provider.domain.ids import EffectId, LeaseId, ProviderId
from provider.domain.market import Bid, Usage
from provider.rpc.identity import Identity, LiveIdentity
from provider.rpc.tokens import Scope
from provider.rpc.v1.lease_pb2 import ExecRequest
from provider.sim.journal import MemoryJournal
from provider.sim.proxy import FaultyProxy
from tests.coordinators import Tenant, coordinator, couple
from tests.integration.gateway.world import Engine, StillAgent
from tests.integration.gateway.world import lease as lease_of
from tests.integration.link.market_world import Follower
from tests.market import rate

CLOCK = SystemClock()
NORTH = ProviderId("north")
SCOPES = (Scope.MANIFEST, Scope.STATUS, Scope.LOGS, Scope.EXEC)


@dataclass(kw_only=True)
class World:
    market: RunningCoordinator
    alice: Identity
    north: Identity
    proxy: FaultyProxy
    """Between the provider and the coordinator."""
    link: GrpcLink
    server: LeaseServer
    lease: LeaseId
    engine: Engine
    agent: StillAgent
    stop_market: Callable[[], Awaitable[None]]
    roads: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def calls(self, address: str = "", *, who: Identity | None = None) -> AsyncIterator[LeaseCalls]:
        """A tenant's way to its lease, as ``tenant`` itself goes."""
        async with Market(who or self.alice, self.roads.append) as market:
            token = await market.lease_token(self.lease, SCOPES)
            async with market.lease(self.lease, address, token) as calls:
                yield calls

    async def echoed(self, calls: LeaseCalls, sent: bytes, piece: int = 60_000) -> bytes:
        """What a command that repeats its input says to ``sent``."""
        got = bytearray()
        async with calls.exec() as call, asyncio.TaskGroup() as tasks:

            async def feed() -> None:
                await call.write(calls.start(ports.ExecRequest(service="web", argv=("cat",))))
                for start in range(0, len(sent), piece):
                    await call.write(ExecRequest(input=sent[start : start + piece]))
                await call.write(ExecRequest(input_closed=True))

            tasks.create_task(feed())
            async for answer in call:
                got += answer.stdout
        return bytes(got)

    async def settle(self) -> None:
        """The provider's last word on a lease that was closed."""
        usage = Usage(lease=self.lease, number=1, running_ms=0, at=CLOCK.now(), is_final=True)
        await self.link.report_usage(EffectId(secrets.token_hex(4)), usage)


@asynccontextmanager
async def provider(
    folder: Path, who: Identity, served_as: Identity, world: LeaseWorld
) -> AsyncIterator[tuple[GrpcLink, LeaseServer]]:
    """A provider's link, and the LeaseService that its tunnels lead to."""
    follower, door = Follower(), folder / "lease.sock"
    link_settings = LinkSettings(
        state_dir=folder,
        instance=secrets.token_hex(4),
        software="0",
        lease_socket=door,
        retry_first_s=0.01,
        retry_unit_s=0.02,
        retry_most_s=0.05,
    )
    link = GrpcLink(link_settings, LiveIdentity(who), CLOCK, random.Random(1), follower.position)  # noqa: S311 -- jitter
    settings = GatewaySettings(listen="127.0.0.1:0", socket=door, streams_per_lease=64)
    gateway = LeaseGateway(settings, world, Doorman(who.member, link.token_keys, CLOCK))
    async with asyncio.TaskGroup() as tasks, link:
        tasks.create_task(follower.follow(link))
        async with LeaseServer(settings, LiveIdentity(served_as), gateway) as server:
            yield link, server


async def rented(alice: Identity, link: GrpcLink) -> LeaseId:
    """A lease of alice's at north, active in the book."""
    async with Tenant(alice) as tenant:
        order = await tenant.deploy()
        bid = Bid(id=order.lease(NORTH), rate=rate(100))
        await link.place_bid(EffectId(secrets.token_hex(4)), bid)
        await tenant.accept(bid.id)
        await link.confirm_lease(EffectId(secrets.token_hex(4)), bid.id)
        await tenant.until(order.dseq, lambda seen: seen.leases)
    return bid.id


@asynccontextmanager
async def world(
    folder: Path,
    *,
    served_as: Callable[[RunningCoordinator], Awaitable[Identity]] | None = None,
    **changes: Any,
) -> AsyncIterator[World]:
    """``served_as`` makes the identity of whoever answers in the provider's place."""
    async with asyncio.timeout(40), AsyncExitStack() as stack:
        running = await stack.enter_async_context(AsyncExitStack())
        market = await running.enter_async_context(coordinator(folder / "market", **changes))
        alice, north = await couple(market)
        proxy = await stack.enter_async_context(FaultyProxy(market.address))
        agent, engine = StillAgent(AgentState(policy=Policy(provider=NORTH))), Engine()
        identity = await served_as(market) if served_as else north
        (folder / "north").mkdir()
        link, server = await stack.enter_async_context(
            provider(
                folder / "north",
                replace(north, coordinator=proxy.address),
                identity,
                LeaseWorld(agent=agent, runtime=engine, clock=CLOCK, journal=MemoryJournal()),  # type: ignore[arg-type]
            )
        )
        lease = await rented(alice, link)
        agent.state = replace(agent.state, leases={lease: replace(lease_of(), id=lease)})
        yield World(
            market=market,
            alice=alice,
            north=north,
            proxy=proxy,
            link=link,
            server=server,
            lease=lease,
            engine=engine,
            agent=agent,
            stop_market=running.aclose,
        )


def run(folder: Path, scenario: Callable[[World], Awaitable[None]], **changes: Any) -> None:
    """``scenario`` in a world, with a bound."""

    async def main() -> None:
        async with world(folder, **changes) as made:
            await scenario(made)

    asyncio.run(main())
