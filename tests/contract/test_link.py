"""``ports.CoordinatorLink``: the same promises, in memory and over real gRPC with mutual TLS."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from provider.adapters.clock import SystemClock
from provider.adapters.link import GrpcLink, LinkSettings
from provider.core.effects import (
    ConfirmLease,
    Effect,
    EndLease,
    PlaceBid,
    RefuseLease,
    ReportLease,
    ReportUsage,
    WithdrawBid,
)
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
from provider.domain.errors import Permanent
from provider.domain.ids import EffectId, LeaseId, OrderId, Owner, ProviderId
from provider.domain.market import (
    Award,
    Bid,
    CloseReason,
    GpuOffer,
    GroupSpec,
    LeaseHealth,
    Order,
    Refusal,
    Refused,
    Usage,
)
from provider.domain.moment import Instant
from provider.domain.money import Denom, Rate
from provider.domain.resources import GIB, Resources, ResourceUnit
from provider.domain.workload import PortBinding
from provider.ports import CoordinatorLink
from provider.rpc.identity import LiveIdentity
from provider.rpc.member import Role
from provider.sim.authority import ThrowawayAuthority
from provider.sim.link import SimulatedLink
from provider.sim.market import SimulatedMarket
from provider.sim.proxy import FaultyProxy
from provider.sim.waiting import until
from provider.sim.wire import WireMarket

PROVIDER = ProviderId("frankfurt-1")
RATE = Rate(amount=Decimal("1.25"), denom=Denom.UACT)


def order(dseq: int) -> Order:
    resources = Resources(id=1, cpu_millis=500, memory_bytes=GIB)
    group = GroupSpec(name="web", units=(ResourceUnit(resources=resources, count=1, price=RATE),))
    id_ = OrderId(owner=Owner("alice"), dseq=dseq, gseq=1, oseq=1)
    return Order(id=id_, group=group, manifest_hash="ab" * 32)


def lease(dseq: int) -> LeaseId:
    return order(dseq).id.lease(PROVIDER)


def effects(dseq: int) -> tuple[Effect, ...]:
    """One of each, for one lease."""
    id_ = lease(dseq)
    port = PortBinding(service="web", port=80, host_port=31000, external_port=80)
    usage = Usage(lease=id_, number=1, running_ms=6000, at=Instant(1_700_000_000_000))
    refused = Refused(why=Refusal.BID_GONE)

    def key(number: int) -> EffectId:
        return EffectId(f"{id_}#{number}")

    return (
        PlaceBid(id=key(1), bid=Bid(id=id_, rate=RATE, gpus=(GpuOffer(model="h100", count=1),))),
        ConfirmLease(id=key(2), lease=id_),
        ReportLease(id=key(3), lease=id_, health=LeaseHealth.RUNNING, ports=(port,), detail="as ordered"),
        ReportUsage(id=key(4), usage=usage),
        EndLease(id=key(5), lease=id_, reason=CloseReason.GPU_FAILED, detail="GPU-1 fell off the bus"),
        RefuseLease(id=key(6), lease=id_, why=refused),
        WithdrawBid(id=key(7), bid=id_),
    )


async def tell(link: CoordinatorLink, effect: Effect) -> None:
    """As the agent's shell performs it."""
    match effect:
        case PlaceBid():
            await link.place_bid(effect.id, effect.bid)
        case WithdrawBid():
            await link.withdraw_bid(effect.id, effect.bid)
        case ConfirmLease():
            await link.confirm_lease(effect.id, effect.lease)
        case RefuseLease():
            await link.refuse_lease(effect.id, effect.lease, effect.why)
        case ReportLease():
            await link.report_lease(effect.id, effect.lease, effect.health, effect.ports, effect.detail)
        case ReportUsage():
            await link.report_usage(effect.id, effect.usage)
        case EndLease():
            await link.end_lease(effect.id, effect.lease, effect.reason, effect.detail)
        case _:
            raise AssertionError(effect)


class Agent:
    """Reads a link, commits in order, and remembers how far it has come."""

    def __init__(self) -> None:
        self.market = ""
        self.version = 0
        self.events: list[Event] = []
        self.commits = True

    def position(self) -> tuple[str, int]:
        return self.market, self.version

    async def follow(self, link: CoordinatorLink) -> None:
        async for delivery in link.inbound():
            event = delivery.event
            self.events.append(event)
            if isinstance(event, CoordinatorConnected):
                self.market = event.market
            if not self.commits:
                continue
            if isinstance(event, OrderOpened | OrderClosed | LeaseAwarded | LeaseUpdated | LeaseEnded):
                self.version = max(self.version, event.version)
            if delivery.committed:
                delivery.committed()

    def of_market(self) -> list[Event]:
        about_link = CoordinatorConnected | CoordinatorLost
        return [event for event in self.events if not isinstance(event, about_link)]

    def epochs(self) -> list[int]:
        return [event.epoch for event in self.events if isinstance(event, CoordinatorConnected)]


class World:
    """A link, what is at its other end, and a hand on the wire between them."""

    def __init__(
        self, link: CoordinatorLink, market: SimulatedMarket, agent: Agent, hand: FaultyProxy | SimulatedLink
    ) -> None:
        self.link = link
        self.market = market
        self.agent = agent
        self._hand = hand

    def cut(self) -> None:
        if isinstance(self._hand, FaultyProxy):
            self._hand.close()
        else:
            self._hand.cut()

    def restore(self) -> None:
        if isinstance(self._hand, FaultyProxy):
            self._hand.open()
        else:
            self._hand.restore()


Make = Callable[[Path, SimulatedMarket], AbstractAsyncContextManager[World]]


@asynccontextmanager
async def in_memory(_: Path, market: SimulatedMarket) -> AsyncIterator[World]:
    agent = Agent()
    async with asyncio.TaskGroup() as tasks:
        async with SimulatedLink(market, agent.position) as link:
            following = tasks.create_task(agent.follow(link))
            yield World(link, market, agent, link)
        await following


@asynccontextmanager
async def over_grpc(state_dir: Path, market: SimulatedMarket) -> AsyncIterator[World]:
    clock, agent = SystemClock(), Agent()
    authority = ThrowawayAuthority(market.name)
    identity = LiveIdentity(authority.member(Role.PROVIDER, PROVIDER, at=clock.now()))
    async with AsyncExitStack() as stack:
        served = WireMarket(market, authority, clock)
        await stack.enter_async_context(served)
        proxy = await stack.enter_async_context(FaultyProxy(served.address))
        settings = LinkSettings(
            state_dir=state_dir,
            instance="1",
            software="0",
            address=proxy.address,
            retry_first_s=0.02,
            retry_unit_s=0.02,
            retry_most_s=0.1,
        )
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        chance = random.Random(1)  # noqa: S311 -- jitter
        link = GrpcLink(settings, identity, clock, chance, agent.position)
        await stack.enter_async_context(link)
        tasks.create_task(agent.follow(link))
        yield World(link, market, agent, proxy)


Scenario = Callable[[World], Awaitable[None]]


@pytest.fixture(params=[in_memory, over_grpc], ids=lambda make: make.__name__)
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Scenario], None]:
    make: Make = request.param

    def run(scenario: Scenario) -> None:
        async def main() -> None:
            async with make(tmp_path, SimulatedMarket()) as world:
                await until(world.agent.epochs)
                await scenario(world)

        asyncio.run(main())

    return run


Play = Callable[[Scenario], None]


def test_it_connects_and_says_to_which_market(play: Play) -> None:
    async def scenario(world: World) -> None:
        assert world.agent.events == [CoordinatorConnected(market="sim", epoch=1)]

    play(scenario)


def test_what_happens_in_the_market_arrives_in_its_order(play: Play) -> None:
    award = Award(id=lease(2), rate=RATE, manifest_hash="cd" * 32, confirm_by=Instant(1_700_000_000_000))

    async def scenario(world: World) -> None:
        world.market.open_order(order(1))
        await until(lambda: len(world.agent.of_market()) == 1)
        world.market.close_order(order(1).id, RATE)
        world.market.award(award)
        await until(lambda: len(world.agent.of_market()) == 3)
        world.market.update(lease(2), "ef" * 32)
        await until(lambda: len(world.agent.of_market()) == 4)
        world.market.end_lease(lease(2), CloseReason.TENANT_CLOSED)
        await until(lambda: len(world.agent.of_market()) == 5)
        assert world.agent.of_market() == [
            OrderOpened(order=order(1), version=1),
            OrderClosed(order=order(1).id, version=2, won_at=RATE),
            LeaseAwarded(award=award, version=3),
            LeaseUpdated(lease=lease(2), manifest_hash="ef" * 32, version=4),
            LeaseEnded(lease=lease(2), reason=CloseReason.TENANT_CLOSED, version=5),
        ]

    play(scenario)


def test_what_is_told_is_taken_in_before_the_call_returns(play: Play) -> None:
    async def scenario(world: World) -> None:
        for number, effect in enumerate(effects(1), 1):
            await tell(world.link, effect)
            assert tuple(world.market.told.values()) == effects(1)[:number]

    play(scenario)


@pytest.mark.parametrize("which", range(7))
def test_a_refusal_is_for_good(play: Play, which: int) -> None:
    async def scenario(world: World) -> None:
        effect = effects(1)[which]
        world.market.refusals[effect.id] = Permanent("the order is closed")
        with pytest.raises(Permanent, match="the order is closed"):
            await tell(world.link, effect)
        await tell(world.link, effects(2)[1])
        assert tuple(world.market.told.values()) == (effects(2)[1],)

    play(scenario)


def test_a_cut_is_told_and_what_was_missed_comes_after_it(play: Play) -> None:
    async def scenario(world: World) -> None:
        world.market.open_order(order(1))
        await until(lambda: world.agent.version == 1)
        world.cut()
        await until(lambda: isinstance(world.agent.events[-1], CoordinatorLost))
        world.market.open_order(order(2))
        world.market.close_order(order(1).id)
        world.restore()
        await until(lambda: world.agent.version == 3)
        assert world.agent.of_market() == [
            OrderOpened(order=order(1), version=1),
            OrderOpened(order=order(2), version=2),
            OrderClosed(order=order(1).id, version=3),
        ]
        assert world.agent.epochs() == [1, 2]

    play(scenario)


def test_what_was_not_committed_comes_again(play: Play) -> None:
    async def scenario(world: World) -> None:
        world.agent.commits = False
        world.market.open_order(order(1))
        await until(lambda: len(world.agent.of_market()) == 1)
        world.cut()
        await until(lambda: isinstance(world.agent.events[-1], CoordinatorLost))
        world.agent.commits = True
        world.restore()
        await until(lambda: world.agent.version == 1)
        assert world.agent.of_market() == [OrderOpened(order=order(1), version=1)] * 2

    play(scenario)


def test_what_is_told_while_there_is_no_connection_waits_for_one(play: Play) -> None:
    async def scenario(world: World) -> None:
        world.cut()
        await until(lambda: isinstance(world.agent.events[-1], CoordinatorLost))
        async with asyncio.TaskGroup() as tasks:
            telling = [tasks.create_task(tell(world.link, effect)) for effect in effects(1)]
            await until(lambda: not any(task.done() for task in telling))
            assert world.market.told == {}
            world.restore()
        assert {effect.id for effect in effects(1)} == set(world.market.told)
        told = world.market.told.values()
        on_stream = [each for each in told if isinstance(each, ConfirmLease | ReportLease | EndLease)]
        assert on_stream == [effects(1)[1], effects(1)[2], effects(1)[4]]

    play(scenario)


def test_a_burst_of_bids_is_taken_in_whole(play: Play) -> None:
    """More of them at once than a market allows calls."""
    bids = [effects(dseq)[0] for dseq in range(1, 601)]

    async def scenario(world: World) -> None:
        refused = bids[300]
        world.market.refusals[refused.id] = Permanent("the order is closed")
        told = await asyncio.gather(*(tell(world.link, bid) for bid in bids), return_exceptions=True)
        assert [each for each in told if each is not None] == [told[300]]
        assert isinstance(told[300], Permanent)
        assert set(world.market.told) == {bid.id for bid in bids if bid is not refused}

    play(scenario)


def test_cuts_at_any_moment_lose_and_double_nothing(play: Play) -> None:
    async def scenario(world: World) -> None:
        async with asyncio.TaskGroup() as tasks:
            for dseq in range(1, 11):
                for effect in effects(dseq):
                    tasks.create_task(tell(world.link, effect))
                world.market.open_order(order(dseq))
                if dseq % 3 == 0:
                    world.cut()
                    await until(lambda: isinstance(world.agent.events[-1], CoordinatorLost))
                    world.restore()
                    await until(lambda: not isinstance(world.agent.events[-1], CoordinatorLost))
        await until(lambda: world.agent.version == 10)
        assert set(world.market.told.values()) == {e for dseq in range(1, 11) for e in effects(dseq)}
        seen = [event.version for event in world.agent.of_market() if isinstance(event, OrderOpened)]
        assert list(dict.fromkeys(seen)) == list(range(1, 11))

    play(scenario)


@pytest.mark.parametrize("make", [in_memory, over_grpc])
def test_leaving_ends_what_it_brings(make: Make, tmp_path: Path) -> None:
    async def main() -> None:
        async with asyncio.timeout(10), make(tmp_path, SimulatedMarket()) as world:
            await until(world.agent.epochs)

    asyncio.run(main())
