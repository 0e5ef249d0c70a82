"""The market's file: what goes in comes out, and nothing else gets in."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from provider.coordinator.market.requests import ForgetAnswers, PlaceBid, ReportLease
from provider.coordinator.record import RecordEntry, verify
from provider.coordinator.store import BookStore
from provider.domain.errors import ConfigError
from provider.domain.ids import DeploymentId
from provider.domain.market import Bid, GpuOffer, GroupSpec, LeaseHealth, Requirements, SignedBy
from provider.domain.moment import HOUR
from provider.domain.resources import (
    Attribute,
    Endpoint,
    EndpointKind,
    GpuAlternative,
    GpuAsk,
    Resources,
    ResourceUnit,
    Volume,
)
from provider.domain.workload import PortBinding
from tests.market import NORTH, Market, order_of, rate

H100 = GpuAlternative(vendor="nvidia", model="h100", ram="80Gi")
RICH = GroupSpec(
    name="gpu",
    units=(
        ResourceUnit(
            resources=Resources(
                id=1,
                cpu_millis=1500,
                memory_bytes=2**33,
                gpu=GpuAsk(
                    units=1, alternatives=(GpuAlternative(vendor="nvidia", model="h100", ram="80Gi"),)
                ),
                storage=(
                    Volume(name="default", size_bytes=2**30),
                    Volume(
                        name="data", size_bytes=2**40, attributes=(Attribute(key="class", value="beta3"),)
                    ),
                ),
                endpoints=(Endpoint(kind=EndpointKind.RANDOM_PORT),),
                cpu_attributes=(Attribute(key="arch", value="amd64"),),
            ),
            count=2,
            price=rate("12345.678901234567890123"),
        ),
    ),
    requirements=Requirements(
        signed_by=SignedBy(any_of=("akash1auditor",)), attributes=(Attribute(key="region", value="eu"),)
    ),
)


def busy() -> Market:
    """A market with something in every table."""
    market = Market()
    market.populate()
    order = order_of(market.deploy(RICH))
    gpus = (GpuOffer(model="h100", count=2, memory_bytes=80 * 2**30, interface="sxm", simulated=True),)
    bid = Bid(id=order.lease(NORTH), rate=rate("0.000000000000000001"), gpus=gpus)
    market.ask(PlaceBid(provider=NORTH, key="b", bid=bid))
    market.accept(bid.id)
    market.confirm(bid.id)
    ports = (PortBinding(service="web", port=80, host_port=30000, external_port=80),)
    market.ask(
        ReportLease(
            provider=NORTH, key="r", lease=bid.id, health=LeaseHealth.RUNNING, ports=ports, detail="fine"
        )
    )
    market.used(market.lease(price=Decimal(70).to_eng_string()), 1, 0)
    return market


def test_the_same_book_comes_out(tmp_path: Path) -> None:
    market = busy()
    store = BookStore.open(tmp_path / "market.db")
    store.load("test", b"salt")
    store.commit(market.rows, version=market.book.version, at=market.book.at)
    store.close()
    again = BookStore.open(tmp_path / "market.db")
    assert again.load(None, b"another") == market.book
    entries = again.record(1, 100)
    assert list(entries) == [row for row in market.rows if isinstance(row, RecordEntry)]
    assert verify(entries) is None
    assert again.record(2, 1) == entries[1:2]
    again.close()


def test_a_file_from_before_updates_is_brought_up_to_date(tmp_path: Path) -> None:
    market, path = busy(), tmp_path / "market.db"
    store = BookStore.open(path)
    store.load("test", b"salt")
    store.commit(market.rows, version=market.book.version, at=market.book.at)
    store.close()
    older = sqlite3.connect(path, isolation_level=None)
    older.execute("ALTER TABLE deployment DROP COLUMN updates")
    older.execute("PRAGMA user_version = 1")
    older.close()
    store = BookStore.open(path)
    assert store.load("test", b"salt") == market.book
    assert path.with_name("market.db.schema-1").exists(), "the older one is kept"
    market.rows = ()
    assert market.update(order_of(DeploymentId.parse("alice/1")).deployment) is None
    store.commit(market.rows, version=market.book.version, at=market.book.at)
    store.close()
    again = BookStore.open(path)
    assert again.load("test", b"salt") == market.book
    again.close()


def test_answers_are_kept_for_a_day(tmp_path: Path) -> None:
    market = busy()
    market.later(24 * HOUR)
    market.ask(ForgetAnswers())
    assert len(market.book.answers) > 0
    market.later(1)
    market.ask(ForgetAnswers())
    assert len(market.book.answers) == 0
    store = BookStore.open(tmp_path / "market.db")
    store.load("test", b"salt")
    store.commit(market.rows, version=market.book.version, at=market.book.at)
    assert store.load("test", b"salt") == market.book
    store.close()


def test_one_file_is_one_market(tmp_path: Path) -> None:
    store = BookStore.open(tmp_path / "market.db")
    with pytest.raises(ConfigError, match="there is no market here yet"):
        store.load(None, b"salt")
    store.load("north-market", b"salt")
    with pytest.raises(ConfigError, match="is the market north-market's, not other's"):
        store.load("other", b"salt")
    store.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE record SET body_json = '{}' WHERE number = 1",
        "DELETE FROM record WHERE number = 1",
        "UPDATE transfer SET amount_micros = 1",
        "DELETE FROM transfer",
        "UPDATE account SET balance_micros = -1 WHERE name = 'tenant:alice'",
        "UPDATE lease SET reason = 'gpu_failed'",
        "UPDATE orders SET state = 'lost'",
    ],
)
def test_the_file_itself_refuses_what_cannot_be(tmp_path: Path, statement: str) -> None:
    market = busy()
    store = BookStore.open(tmp_path / "market.db")
    store.load("test", b"salt")
    store.commit(market.rows, version=market.book.version, at=market.book.at)
    outside = sqlite3.connect(tmp_path / "market.db", isolation_level=None)
    with pytest.raises(sqlite3.IntegrityError):
        outside.execute(statement)
    outside.close()
    store.close()


def test_a_row_that_is_written_once_cannot_be_written_again(tmp_path: Path) -> None:
    market = busy()
    store = BookStore.open(tmp_path / "market.db")
    book = store.load("test", b"salt")
    store.commit(market.rows, version=market.book.version, at=market.book.at)
    entry = next(row for row in market.rows if isinstance(row, RecordEntry))
    with pytest.raises(sqlite3.IntegrityError):
        store.commit([replace(entry, body_json="{}")], version=99, at=market.at)
    assert store.load("test", b"salt") == market.book != book
    store.close()
