"""The feed: whoever comes back from any version on hears everything that changed since."""

from __future__ import annotations

from provider.coordinator.book import Book
from provider.coordinator.market.requests import CloseDeployment
from provider.coordinator.rows import BidRow, LeaseRow, LeaseUnknown, OrderRow
from provider.coordinator.sessions import Feed
from tests.market import ALICE, Market, order_of


def visible(market: Market) -> list[OrderRow | BidRow | LeaseRow | LeaseUnknown]:
    return [row for row in market.rows if isinstance(row, OrderRow | BidRow | LeaseRow | LeaseUnknown)]


def test_a_row_that_changes_without_a_new_version_hides_no_newer_one() -> None:
    """An ended lease is settled after another order has opened: the order must still be heard of."""
    market, feed = Market(), Feed(Book(market="test", salt=b"salt"))
    market.populate()
    lease = market.lease()
    market.ask(CloseDeployment(owner=ALICE, key="close", deployment=lease.deployment))
    ended = market.book.version
    opened = order_of(market.deploy())
    market.later(1000)
    market.used(lease, 1, 500, final=True)
    for row in visible(market):
        feed.add([row])
    assert [row.order.id for row in feed.since(ended) if isinstance(row, OrderRow)] == [opened]
    versions = [row.version for row in feed.since(0)]
    assert versions == sorted(versions)
