"""What each provider is told, and what it is told again after an absence."""

from __future__ import annotations

import pytest

from provider.coordinator.market.notices import (
    LeaseAwarded,
    LeaseEnded,
    LeaseUpdated,
    Notice,
    OrderClosed,
    OrderOpened,
    notice,
)
from provider.coordinator.market.requests import CloseDeployment, Resumed, TimePassed
from provider.coordinator.rows import BidRow, LeaseRow, LeaseUnknown, OrderRow
from provider.domain.ids import ProviderId
from provider.domain.market import CloseReason
from tests.market import ALICE, HASH, NORTH, OTHER_HASH, SOUTH, Market, group, order_of, rate


@pytest.fixture
def market() -> Market:
    made = Market()
    made.populate()
    return made


def told(market: Market, provider: ProviderId, since: int = 0) -> list[Notice]:
    """Everything after ``since``, as a session that begins now would send it."""
    book = market.book
    rows: list[OrderRow | BidRow | LeaseRow | LeaseUnknown] = [*book.orders.values(), *book.leases.values()]
    rows += [bid for bids in book.bids.values() for bid in bids]
    found = (notice(book, row, provider, since=since) for row in rows)
    return sorted((each for each in found if each), key=lambda each: each.version)


def kinds(notices: list[Notice]) -> list[type[Notice]]:
    return [type(each) for each in notices]


def test_an_open_order_is_told_to_everybody(market: Market) -> None:
    order = order_of(market.deploy())
    expected = [OrderOpened(order=market.book.orders[order].order, version=1)]
    assert told(market, NORTH) == told(market, SOUTH) == expected
    assert told(market, NORTH, since=1) == []


def test_an_award_is_told_to_the_winner_alone_and_losers_hear_when_it_is_confirmed(market: Market) -> None:
    order = order_of(market.deploy())
    north, _ = market.bid(order, NORTH), market.bid(order, SOUTH)
    market.accept(north)
    assert kinds(told(market, NORTH, since=1)) == [LeaseAwarded]
    assert told(market, SOUTH, since=1) == []
    market.confirm(north)
    assert kinds(told(market, NORTH, since=1)) == [LeaseAwarded]
    assert told(market, SOUTH, since=1) == [OrderClosed(order=order, version=3, won_at=rate(100))]


def test_who_never_saw_an_order_open_is_not_told_that_it_closed(market: Market) -> None:
    deployment = market.deploy()
    market.ask(CloseDeployment(owner=ALICE, key="c", deployment=deployment))
    assert told(market, NORTH) == []
    assert kinds(told(market, NORTH, since=1)) == [OrderClosed]


def test_who_bid_on_an_order_is_told_that_it_closed_whatever_it_remembers(market: Market) -> None:
    deployment = market.deploy()
    market.bid(order_of(deployment))
    market.ask(CloseDeployment(owner=ALICE, key="c", deployment=deployment))
    assert kinds(told(market, NORTH)) == [OrderClosed]


def test_an_overdue_award_is_told_as_ended_and_the_order_opens_again_for_all(market: Market) -> None:
    bid = market.bid(order_of(market.deploy()))
    market.accept(bid)
    market.later(10_000)
    market.ask(TimePassed(deployment=bid.deployment))
    ended = LeaseEnded(lease=bid, reason=CloseReason.NOT_CONFIRMED, version=3)
    assert told(market, NORTH, since=2)[0] == ended
    assert kinds(told(market, SOUTH, since=2)) == [OrderOpened]


def test_a_lease_that_ends_replaces_its_award(market: Market) -> None:
    lease = market.lease()
    assert kinds(told(market, NORTH)) == [LeaseAwarded]
    market.ask(CloseDeployment(owner=ALICE, key="c", deployment=lease.deployment))
    assert told(market, NORTH) == [
        LeaseEnded(lease=lease, reason=CloseReason.TENANT_CLOSED, version=market.book.version)
    ]


def test_a_lease_of_nobody_is_told_to_whoever_spoke_of_it(market: Market) -> None:
    row = LeaseUnknown(lease=order_of(market.deploy()).lease(NORTH), version=9)
    ended = LeaseEnded(lease=row.lease, reason=CloseReason.LEASE_FORGOTTEN, version=9)
    assert notice(market.book, row, NORTH, since=8) == ended
    assert notice(market.book, row, SOUTH, since=8) is None


def hashes(notices: list[Notice]) -> list[str]:
    found = []
    for each in notices:
        match each:
            case OrderOpened(order=order):
                found.append(order.manifest_hash)
            case LeaseAwarded(award=award):
                found.append(award.manifest_hash)
            case LeaseUpdated(manifest_hash=manifest_hash):
                found.append(manifest_hash)
            case _:
                pass
    return found


def test_an_update_is_told_to_the_leases_provider_alone(market: Market) -> None:
    lease = market.lease()
    known = market.book.version
    market.update(lease.deployment)
    assert told(market, NORTH, since=known) == [
        LeaseUpdated(lease=lease, manifest_hash=OTHER_HASH, version=market.book.version)
    ]
    assert told(market, SOUTH, since=known) == []


def test_whoever_was_away_hears_of_the_award_first_and_only_of_the_newest_manifest(market: Market) -> None:
    lease = market.lease()
    market.update(lease.deployment, "11" * 32)
    market.update(lease.deployment)
    everything = told(market, NORTH)
    assert kinds(everything) == [LeaseAwarded, LeaseUpdated]
    assert hashes(everything) == [OTHER_HASH, OTHER_HASH]
    market.ask(CloseDeployment(owner=ALICE, key="c", deployment=lease.deployment))
    assert kinds(told(market, NORTH)) == [LeaseEnded]


def test_each_lease_of_a_provider_is_told_of_by_itself(market: Market) -> None:
    deployment = market.deploy(group("a"), group("b"))
    leases = [market.bid(order_of(deployment, gseq)) for gseq in (1, 2)]
    for lease in leases:
        market.accept(lease)
        market.confirm(lease)
    known = market.book.version
    market.update(deployment)
    news = told(market, NORTH, since=known)
    assert [each.lease for each in news if isinstance(each, LeaseUpdated)] == leases
    assert len({each.version for each in news}) == 2


def test_an_update_between_award_and_confirmation_is_told_after_the_award(market: Market) -> None:
    bid = market.bid(order_of(market.deploy()))
    market.accept(bid)
    (award,) = told(market, NORTH, since=1)
    assert hashes([award]) == [HASH]
    market.update(bid.deployment)
    assert told(market, NORTH, since=award.version) == [], "an award that is told again would be a second one"
    market.confirm(bid)
    news = told(market, NORTH, since=award.version)
    assert news == [LeaseUpdated(lease=bid, manifest_hash=OTHER_HASH, version=market.book.version)]
    assert kinds(told(market, NORTH)) == [LeaseAwarded, LeaseUpdated]


def test_an_open_order_is_not_told_again_and_its_later_award_has_the_new_manifest(market: Market) -> None:
    bid = market.bid(order_of(market.deploy()))
    market.update(bid.deployment)
    assert told(market, SOUTH, since=1) == []
    assert hashes(told(market, SOUTH)) == [OTHER_HASH]
    market.accept(bid)
    assert hashes(told(market, NORTH, since=1)) == [OTHER_HASH]


def test_an_award_that_is_told_twice_loses_no_update(market: Market) -> None:
    """A provider that has heard of the award does not listen to it again."""
    bid = market.bid(order_of(market.deploy()))
    market.accept(bid)
    market.update(bid.deployment)
    known = market.book.version
    market.ask(Resumed())
    assert kinds(told(market, NORTH, since=known)) == [LeaseAwarded]
    market.confirm(bid)
    assert told(market, NORTH)[-1] == LeaseUpdated(
        lease=bid, manifest_hash=OTHER_HASH, version=market.book.version
    )


def test_a_deployment_that_never_changed_is_told_of_by_its_awards_alone(market: Market) -> None:
    market.lease()
    assert kinds(told(market, NORTH)) == [LeaseAwarded]
