"""Values survive the wire unchanged, and what cannot be is refused with the path of the field."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from provider.domain.errors import PeerError
from provider.domain.ids import LeaseId, OrderId, Owner, ProviderId
from provider.domain.manifest import Proto
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
    Requirements,
    SignedBy,
    Usage,
)
from provider.domain.moment import Instant
from provider.domain.money import Denom, Money, Rate
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
from provider.rpc import codec, codec_market
from provider.rpc.codec_market import LeaseEnding, LeaseRefusal, LeaseReport
from provider.rpc.v1 import market_pb2, resources_pb2

names = st.from_regex(r"\A[a-z0-9][a-z0-9-]{0,62}\Z")
words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
texts = st.text(st.characters(codec="utf-8"), max_size=40)
counts = st.integers(1, 2**31 - 1)
sizes = st.integers(1, 2**63 - 1)
instants = st.integers(1, 2**53).map(Instant)
hashes = st.binary(min_size=32, max_size=32).map(bytes.hex)
amounts = st.decimals(0, 10**12, places=18, allow_nan=False) | st.integers(0, 10**12).map(Decimal)
rates = st.builds(Rate, amount=amounts, denom=st.just(Denom.UACT))
attributes = st.lists(st.builds(Attribute, key=words, value=texts), max_size=3).map(tuple)
maybe = st.none() | words
alternatives = st.builds(GpuAlternative, vendor=words, model=maybe, ram=maybe, interface=maybe)
asks = st.just(GpuAsk()) | st.builds(
    GpuAsk, units=counts, alternatives=st.lists(alternatives, min_size=1, max_size=2).map(tuple)
)
volumes = st.builds(Volume, name=words, size_bytes=sizes, attributes=attributes)
endpoints = st.builds(Endpoint, kind=st.sampled_from(EndpointKind), sequence_number=st.integers(0, 9))
resources = st.builds(
    Resources,
    id=counts,
    cpu_millis=sizes,
    memory_bytes=sizes,
    gpu=asks,
    storage=st.lists(volumes, max_size=2).map(tuple),
    endpoints=st.lists(endpoints, max_size=2).map(tuple),
    cpu_attributes=attributes,
)
hosts = st.sampled_from(("a.example", "shop.example.org", "xn--bcher-kva.example", "localhost"))
units = st.builds(ResourceUnit, resources=resources, count=counts, price=rates)
auditors = st.none() | st.lists(words, min_size=1, max_size=2).map(tuple)
requirements = st.builds(
    Requirements,
    signed_by=st.builds(SignedBy, all_of=auditors, any_of=auditors),
    attributes=attributes,
    notice=st.none() | st.integers(1, 2**40),
)
groups = st.builds(
    GroupSpec,
    name=words,
    units=st.lists(units, min_size=1, max_size=2).map(tuple),
    requirements=requirements,
    hostnames=st.sets(hosts, max_size=2).map(sorted).map(tuple),
)
order_ids = st.builds(OrderId, owner=names.map(Owner), dseq=sizes, gseq=counts, oseq=counts)
lease_ids = st.builds(lambda order, name: order.lease(ProviderId(name)), order_ids, names)
orders = st.builds(Order, id=order_ids, group=groups, manifest_hash=hashes, bids_until=st.none() | instants)
offers = st.builds(
    GpuOffer,
    model=words,
    count=counts,
    memory_bytes=st.none() | sizes,
    interface=maybe,
    simulated=st.booleans(),
)
ports = st.builds(
    PortBinding,
    service=words,
    port=st.integers(1, 65535),
    host_port=st.integers(1, 65535),
    external_port=st.integers(1, 65535),
    proto=st.sampled_from(Proto),
)


@given(orders)
def test_an_order_survives(value: Order) -> None:
    assert codec_market.order_from_pb(codec_market.order_to_pb(value)) == value


@given(st.builds(Bid, id=lease_ids, rate=rates, gpus=st.lists(offers, max_size=2).map(tuple)))
def test_a_bid_survives(value: Bid) -> None:
    assert codec_market.bid_from_pb(codec_market.bid_to_pb(value)) == value


@given(st.builds(Award, id=lease_ids, rate=rates, manifest_hash=hashes, confirm_by=instants))
def test_an_award_survives(value: Award) -> None:
    assert codec_market.award_from_pb(codec_market.award_to_pb(value)) == value


@given(lease_ids, hashes)
def test_an_update_survives(lease: LeaseId, manifest_hash: str) -> None:
    wire = codec_market.update_to_pb(lease, manifest_hash)
    assert codec_market.update_from_pb(wire) == (lease, manifest_hash)


@given(st.builds(Money, amount=st.integers(0, 2**63 - 1), denom=st.sampled_from(Denom)))
def test_money_survives(value: Money) -> None:
    assert codec.money_from_pb(codec.money_to_pb(value)) == value


@given(
    st.builds(
        LeaseReport,
        lease=lease_ids,
        health=st.sampled_from(LeaseHealth),
        ports=st.lists(ports, max_size=2).map(tuple),
        detail=texts,
    )
)
def test_a_report_survives(value: LeaseReport) -> None:
    assert codec_market.report_from_pb(codec_market.report_to_pb(value)) == value


@given(st.builds(LeaseEnding, lease=lease_ids, reason=st.sampled_from(CloseReason), detail=texts))
def test_an_ending_survives(value: LeaseEnding) -> None:
    assert codec_market.ending_from_pb(codec_market.ending_to_pb(value)) == value


@given(lease_ids, st.sampled_from(Refusal), texts)
def test_a_refusal_arrives_as_its_name_and_its_sentence(lease: LeaseId, why: Refusal, fact: str) -> None:
    refused = Refused(why=why, required=fact)
    expected = LeaseRefusal(lease=lease, reason=why, detail=str(refused))
    assert codec_market.refusal_from_pb(codec_market.refused_to_pb(lease, refused)) == expected


@given(
    st.builds(
        Usage,
        lease=lease_ids,
        number=sizes,
        running_ms=st.integers(0, 2**63 - 1),
        at=instants,
        is_final=st.booleans(),
    )
)
def test_usage_survives(value: Usage) -> None:
    assert codec_market.usage_from_pb(codec_market.usage_to_pb("key", value)) == value


def test_whatever_an_engine_says_can_be_told() -> None:
    """Half a surrogate and no end: a report must never be one that the market refuses for ever."""
    report = LeaseReport(
        lease=LeaseId.parse("alice/1/1/1/p1"), health=LeaseHealth.RUNNING, detail="\udcff" + "x" * 10_000
    )
    seen = codec_market.report_from_pb(codec_market.report_to_pb(report))
    assert seen.detail == "?" + "x" * 4095


def good_order() -> resources_pb2.Order:
    ask = GpuAsk(units=1, alternatives=(GpuAlternative(vendor="nvidia", model="h100"),))
    resource = Resources(
        id=1,
        cpu_millis=1,
        memory_bytes=1,
        gpu=ask,
        storage=(Volume(name="default", size_bytes=1),),
        endpoints=(Endpoint(kind=EndpointKind.SHARED_HTTP),),
    )
    unit = ResourceUnit(resources=resource, count=1, price=Rate(amount=Decimal(1), denom=Denom.UACT))
    order = Order(
        id=OrderId.parse("alice/1/1/1"),
        group=GroupSpec(name="web", units=(unit, unit)),
        manifest_hash="00" * 32,
    )
    return codec_market.order_to_pb(order)


Break = Callable[[Any], object]
BROKEN: list[tuple[str, Break]] = [
    ("order.id: is missing", lambda wire: wire.ClearField("id")),
    ("order.id.owner: is not a name", lambda wire: setattr(wire.id, "owner", "Al ice")),
    ("order.id.owner: is not a name", lambda wire: setattr(wire.id, "owner", "")),
    ("order.id.dseq: is 0", lambda wire: setattr(wire.id, "dseq", 0)),
    ("order.id.oseq: is -1", lambda wire: setattr(wire.id, "oseq", -1)),
    ("order.group: is missing", lambda wire: wire.ClearField("group")),
    ("order.group.hostnames[0]: is not a host name", lambda wire: wire.group.hostnames.append("http://a.b")),
    ("order.group.units: is empty", lambda wire: wire.group.ClearField("units")),
    ("order.group.units[1].count: is 0", lambda wire: setattr(wire.group.units[1], "count", 0)),
    ("order.group.units[1].price: is missing", lambda wire: wire.group.units[1].ClearField("price")),
    ("order.group.units[0].price.amount", lambda wire: _price(wire, "1e3")),
    ("order.group.units[0].price.amount", lambda wire: _price(wire, "-1")),
    ("order.group.units[0].price.amount", lambda wire: _price(wire, "NaN")),
    ("order.group.units[0].price.amount", lambda wire: _price(wire, "1." + "0" * 19)),
    ("order.group.units[0].price.amount", lambda wire: _price(wire, "\u0661")),
    (
        "order.group.units[0].price.denom: 'usd' is none of uact, uakt, uusdc",
        lambda wire: setattr(wire.group.units[0].price, "denom", "usd"),
    ),
    (
        "order.group.units: has prices of more than one denom",
        lambda wire: setattr(wire.group.units[0].price, "denom", "uakt"),
    ),
    (
        "order.group.units[0].resources.cpu_millis: is 0",
        lambda wire: setattr(wire.group.units[0].resources, "cpu_millis", 0),
    ),
    (
        "order.group.units[0].resources.gpu_alternatives: has 1 items for 0 GPUs",
        lambda wire: setattr(wire.group.units[0].resources, "gpu_units", 0),
    ),
    (
        "order.group.units[0].resources.endpoints[0].kind: 9 is no kind",
        lambda wire: setattr(wire.group.units[0].resources.endpoints[0], "kind", 9),
    ),
    (
        "order.group.units[0].resources.endpoints[0].kind: 0 is no kind",
        lambda wire: setattr(wire.group.units[0].resources.endpoints[0], "kind", 0),
    ),
    (
        "order.group.units[0].resources.storage[0].name: is empty",
        lambda wire: setattr(wire.group.units[0].resources.storage[0], "name", ""),
    ),
    (
        "order.group.attributes: has more than 1000 items",
        lambda wire: wire.group.attributes.extend([resources_pb2.Attribute(key="k")] * 1001),
    ),
    ("order.group.name: is longer than", lambda wire: setattr(wire.group, "name", "x" * 5000)),
    ("order.manifest_hash: has 31 bytes, not 32", lambda wire: setattr(wire, "manifest_hash", bytes(31))),
    ("order.bids_until_ms: is -1", lambda wire: setattr(wire, "bids_until_ms", -1)),
]


def _price(wire: Any, amount: str) -> None:
    wire.group.units[0].price.amount = amount


@pytest.mark.parametrize(("message", "damage"), BROKEN)
def test_an_order_that_cannot_be_is_refused_with_its_path(message: str, damage: Break) -> None:
    wire = good_order()
    damage(wire)
    with pytest.raises(PeerError) as refused:
        codec_market.order_from_pb(wire)
    assert str(refused.value).startswith(message)


@given(st.binary(max_size=200))
def test_no_bytes_do_anything_but_decode_or_be_refused(data: bytes) -> None:
    wire = resources_pb2.Order()
    try:
        wire.MergeFromString(data)
        codec_market.order_from_pb(wire)
    except (PeerError, DecodeError):
        return


@pytest.mark.parametrize(
    ("decode", "wire", "message"),
    [
        (codec_market.health_from_pb, 0, "health: 0 is no health of a lease"),
        (codec_market.reason_from_pb, 99, "reason: 99 is no reason for a lease to end"),
        (
            codec_market.refusal_from_pb,
            market_pb2.LeaseRefused(lease=codec.lease_id_to_pb(LeaseId.parse("alice/1/1/1/p1")), reason="x"),
            "lease_refused.reason: 'x' is none of not_bidding, order_invalid",
        ),
        (
            codec.money_from_pb,
            resources_pb2.Money(amount_micros=-1, denom="uact"),
            "money.amount_micros: is -1",
        ),
        (
            codec_market.port_from_pb,
            resources_pb2.PortBinding(service="web", port=70_000),
            "port.port: 70000 is no port",
        ),
    ],
)
def test_other_values_that_cannot_be(decode: Callable[[Any], object], wire: object, message: str) -> None:
    with pytest.raises(PeerError) as refused:
        decode(wire)
    assert str(refused.value).startswith(message)
