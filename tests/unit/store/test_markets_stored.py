"""What a state file remembers of markets, and files of before there could be several."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from provider.adapters.store import rows
from provider.adapters.store.database import Schema, open_database
from provider.adapters.store.sqlite import SqliteStore
from provider.core.events import CoordinatorConnected, CoordinatorLost, OrderOpened
from provider.core.markets import Heard, within
from provider.core.state import Market
from provider.domain.ids import HOME, MarketId
from tests.agents import POLICY, Agent, healthy, lease_of, order
from tests.former_schemas import former_schema

ACME = MarketId("acme.example")


@pytest.fixture
def of_one_market(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Schema]:
    """The schema as it was when a state belonged to one market."""
    with former_schema(tmp_path, monkeypatch, 3) as schema:
        yield schema


def test_a_file_of_one_market_is_taken_up_where_it_was(tmp_path: Path, of_one_market: Schema) -> None:
    agent = Agent(*healthy(0, 1))
    agent.begin(1)
    agent.opens(2)
    path = tmp_path / "provider.db"
    with open_database(path, of_one_market) as old, old.transaction() as connection:
        connection.execute("UPDATE position SET market = 'first', version = 7, is_draining = 1")
        connection.execute(
            "INSERT INTO lease VALUES (?, ?)", (str(lease_of(1)), rows.row_text(agent.lease(1)))
        )
        bid = agent.state.bids[lease_of(2)]
        connection.execute("INSERT INTO bid VALUES (?, ?)", (str(lease_of(2)), rows.row_text(bid)))

    store = SqliteStore.open(path, POLICY)
    found, _ = store.load()
    store.close()
    assert found.markets == {HOME: Market(name="first", version=7)}
    assert found.is_draining
    assert (dict(found.leases), dict(found.bids)) == (dict(agent.state.leases), dict(agent.state.bids))


def test_a_file_of_before_deposits_were_kept_has_none_until_its_market_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with former_schema(tmp_path, monkeypatch, 7) as schema:
        with open_database(tmp_path / "provider.db", schema) as old, old.transaction() as connection:
            connection.execute("INSERT INTO market VALUES ('', 'first', 7)")
        store = SqliteStore.open(tmp_path / "provider.db", POLICY)
    assert store.load()[0].markets == {HOME: Market(name="first", version=7)}
    store.close()


def test_a_file_that_was_never_in_a_market_is_in_none(tmp_path: Path, of_one_market: Schema) -> None:
    open_database(tmp_path / "provider.db", of_one_market).close()
    store = SqliteStore.open(tmp_path / "provider.db", POLICY)
    assert store.load()[0].markets == {}
    store.close()


def test_of_each_market_it_is_kept_how_far_it_was_read_and_its_terms_and_nothing_of_its_link(
    tmp_path: Path,
) -> None:
    agent = Agent(*healthy(0))
    store = SqliteStore.open(tmp_path / "provider.db", POLICY)
    store.load()
    said: list[Heard] = [
        CoordinatorConnected(market="first", epoch=1, bid_deposit=500_000),
        within(CoordinatorConnected(market="acme.example", epoch=1), ACME),
        OrderOpened(order=order(1), version=3),
        within(OrderOpened(order=order(1), version=9), ACME),
        within(CoordinatorLost(why="cut"), ACME),
    ]
    store.commit([agent.take(event) for event in said])
    store.close()
    again = SqliteStore.open(tmp_path / "provider.db", POLICY)
    found, _ = again.load()
    again.close()
    assert found.markets == {
        HOME: Market(name="first", version=3, bid_deposit=500_000),
        ACME: Market(name="acme.example", version=9),
    }
    assert set(found.orders) == set(agent.state.orders)
