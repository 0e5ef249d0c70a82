"""Who is told what, when: catching up, live changes, slow agents, newer sessions."""

from __future__ import annotations

import asyncio

import pytest

from provider.coordinator import sessions
from provider.coordinator.clockwork import touched
from provider.coordinator.market.notices import LeaseAwarded, OrderClosed, OrderOpened
from provider.coordinator.sessions import Feed, Outgoing, Sessions, Told
from provider.coordinator.writer import Committed
from provider.domain.errors import Temporary
from provider.domain.ids import OrderId, ProviderId
from provider.domain.market import Order
from tests.market import ALICE, HASH, NORTH, SOUTH, Market, group, order_of

GONE = Temporary("a newer session took over")


@pytest.fixture
def market() -> Market:
    made = Market()
    made.populate()
    return made


class Published:
    """A market whose every change is published to ``live``."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.live = Sessions(market.book, GONE)
        self._before, self._written = market.book, len(market.rows)

    def publish(self) -> None:
        rows = self.market.rows[self._written :]
        self.live.publish(Committed(before=self._before, book=self.market.book, rows=rows))
        self._before, self._written = self.market.book, len(self.market.rows)

    def open(self, provider: ProviderId, epoch: int = 1, since: int = 0) -> Outgoing:
        return self.live.open(self.market.book, provider, epoch, since)


def kinds(outgoing: Outgoing) -> list[type]:
    return [type(told.notice) for told in outgoing.waiting]


def test_what_was_missed_comes_first_and_then_what_changes(market: Market) -> None:
    order = order_of(market.deploy())
    world = Published(market)
    north = world.open(NORTH)
    assert kinds(north) == [OrderOpened]
    bid = market.bid(order)
    market.accept(bid)
    world.publish()
    assert kinds(north) == [OrderOpened, LeaseAwarded]
    versions = [told.notice.version for told in north.waiting]
    assert versions == sorted(versions)


def test_all_who_hear_the_same_share_one_wire_form(market: Market) -> None:
    world = Published(market)
    north, south = world.open(NORTH), world.open(SOUTH)
    market.deploy()
    world.publish()
    assert north.waiting[0] is south.waiting[0]


def test_several_changes_in_one_commit_are_told_as_the_last_of_them(market: Market) -> None:
    world = Published(market)
    north, south = world.open(NORTH), world.open(SOUTH)
    order = order_of(market.deploy())
    bid = market.bid(order)
    market.accept(bid)
    market.confirm(bid)
    world.publish()
    assert kinds(north) == [LeaseAwarded]
    assert kinds(south) == [], "it never saw the order open"


def test_a_newer_session_ends_the_older_and_not_the_other_way_round(market: Market) -> None:
    world = Published(market)
    older, newer = world.open(NORTH, epoch=1), world.open(NORTH, epoch=2)
    assert (older.end, newer.end) == (GONE, None)
    late = world.open(NORTH, epoch=1)
    assert (late.end, newer.end) == (GONE, None)
    world.live.left(NORTH, older)
    assert NORTH in world.live
    world.live.left(NORTH, newer)
    assert NORTH not in world.live


def test_an_agent_that_never_reads_is_told_to_come_again() -> None:
    outgoing = Outgoing(1, [])
    order = OrderId(owner=ALICE, dseq=1, gseq=1, oseq=1)
    told = Told(OrderClosed(order=order, version=1))
    for _ in range(sessions.QUEUE_MAX):
        outgoing.push(told)
    assert outgoing.end is None
    outgoing.push(told)
    assert isinstance(outgoing.end, Temporary)


def test_the_feed_finds_what_changed_after_any_version(market: Market) -> None:
    first, second = order_of(market.deploy()), order_of(market.deploy())
    market.accept(market.bid(first))
    feed = Feed(market.book)
    assert [row.version for row in feed.since(0)] == [1, 2, 3]
    assert [row.version for row in feed.since(2)] == [3]
    assert feed.since(3) == []
    assert touched(feed.since(1)) == {first.deployment, second.deployment}


def test_stopping_asks_everybody_to_leave_and_waits_for_them(market: Market) -> None:
    async def body() -> None:
        world = Published(market)
        north = world.open(NORTH)
        async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
            stopping = tasks.create_task(world.live.stop())
            await north.wake.wait()
            assert north.is_stopping
            assert world.open(SOUTH).is_stopping, "who comes now is told as well"
            assert not stopping.done()
            for provider, outgoing in ((NORTH, north), (SOUTH, world.open(SOUTH, epoch=2))):
                world.live.left(provider, outgoing)
            await stopping

    asyncio.run(body())


def test_notices_carry_the_order_as_it_was_asked(market: Market) -> None:
    world = Published(market)
    north = world.open(NORTH)
    order = order_of(market.deploy(group("gpu", price="0.5")))
    world.publish()
    expected = Order(id=order, group=group("gpu", price="0.5"), manifest_hash=HASH)
    assert [told.notice for told in north.waiting] == [OrderOpened(order=expected, version=1)]
