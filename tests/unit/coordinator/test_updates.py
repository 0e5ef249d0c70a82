"""Another manifest for a deployment that goes on: what is taken, what is denied, what stays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provider.coordinator.denial import Denial, Denied
from provider.coordinator.market.requests import CloseDeployment, UpdateDeployment
from provider.coordinator.rows import Done, LeaseState, OrderState
from provider.domain.ids import DeploymentId, Owner
from provider.domain.market import CloseReason, GroupSpec, Requirements
from provider.domain.resources import Attribute, Endpoint, EndpointKind
from tests.market import ALICE, BOB, HASH, OTHER_HASH, Market, group, order_of


@pytest.fixture
def market() -> Market:
    made = Market()
    made.populate()
    return made


def asked(deployment: DeploymentId, *groups: GroupSpec, key: str = "u") -> UpdateDeployment:
    return UpdateDeployment(
        owner=ALICE, key=key, deployment=deployment, groups=groups or (group(),), manifest_hash=OTHER_HASH
    )


def test_only_the_manifest_changes(market: Market) -> None:
    lease = market.lease()
    market.runs(lease)
    market.later(60_000)
    market.used(lease, 1, 60_000)
    before = market.book
    assert market.update(lease.deployment) is None
    row, kept = market.book.leases[lease.order], before.leases[lease.order]
    assert row == replace(kept, version=market.book.version)
    assert market.book.ledger == before.ledger
    assert market.book.deployments[lease.deployment].manifest_hash == OTHER_HASH
    assert market.book.orders[lease.order].order.manifest_hash == OTHER_HASH
    market.later(60_000)
    market.used(lease, 2, 120_000)
    assert market.book.leases[lease.order].settled == 2_000, "the bill goes on"


def test_orders_that_are_still_open_get_it_too(market: Market) -> None:
    deployment = market.deploy(group("a"), group("b"))
    leased = market.bid(order_of(deployment, 1))
    market.accept(leased)
    market.confirm(leased)
    assert market.update(deployment) is None
    for gseq, state in ((1, OrderState.CLOSED), (2, OrderState.OPEN)):
        row = market.book.orders[order_of(deployment, gseq)]
        assert (row.state, row.order.manifest_hash) == (state, OTHER_HASH)


def test_host_names_are_the_manifests_and_may_change(market: Market) -> None:
    ordered = replace(group(), hostnames=("a.example",))
    deployment = market.deploy(ordered)
    assert market.ask(asked(deployment, replace(ordered, hostnames=("b.example",)))) == Done()
    assert market.book.orders[order_of(deployment)].order.group == ordered, "as it was ordered"


def test_the_manifest_that_stands_already_changes_nothing(market: Market) -> None:
    lease = market.lease()
    version, written = market.book.version, len(market.rows)
    assert market.update(lease.deployment, HASH) is None
    assert market.book.version == version
    assert len(market.rows) == written + 1, "only that it was answered"


def test_a_repeat_is_answered_again_and_does_not_undo_a_later_update(market: Market) -> None:
    lease = market.lease()
    first = asked(lease.deployment)
    assert market.ask(first) == Done()
    assert market.update(lease.deployment, HASH) is None
    version = market.book.version
    assert market.ask(first) == Done()
    assert market.book.version == version
    assert market.book.deployments[lease.deployment].manifest_hash == HASH
    assert market.denied(replace(first, manifest_hash="11" * 32)) is Denial.KEY_REUSED


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ((group(count=2),), "group web, resources 1: more replicas than ordered (ordered 1, found 2)"),
        ((group(price=999),), "another price than ordered (ordered 1000uact/block, found 999uact/block)"),
        ((group("api"),), "group api: no such group in the order"),
        ((group(), group("api")), "another number of groups (ordered 1, found 2)"),
        (
            (replace(group(), requirements=Requirements(attributes=(Attribute(key="region", value="eu"),))),),
            "group web: other requirements of the provider than ordered",
        ),
        ((replace(group(), units=group().units * 2),), "another number of resource units than ordered"),
    ],
)
def test_whoever_wants_something_else_is_told_what_differs(
    market: Market, changed: tuple[GroupSpec, ...], words: str
) -> None:
    lease = market.lease()
    reply = market.ask(asked(lease.deployment, *changed))
    assert isinstance(reply, Denied)
    assert reply.why is Denial.GROUPS_DIFFER
    assert words in reply.what
    assert reply.remedy == "close and deploy anew: tenant close 1, then tenant deploy"
    assert market.book.deployments[lease.deployment].manifest_hash == HASH


def test_another_size_or_port_is_another_order(market: Market) -> None:
    lease = market.lease()
    (unit,) = group().units
    resources = unit.resources
    for other in (
        replace(resources, cpu_millis=501),
        replace(resources, memory_bytes=2**28),
        replace(resources, id=2),
        replace(resources, endpoints=(Endpoint(kind=EndpointKind.RANDOM_PORT),)),
        replace(resources, cpu_attributes=(Attribute(key="arch", value="arm64"),)),
    ):
        changed = replace(group(), units=(replace(unit, resources=other),))
        assert market.denied(asked(lease.deployment, changed)) is Denial.GROUPS_DIFFER


def test_many_differences_are_counted(market: Market) -> None:
    lease = market.lease()
    reply = market.ask(asked(lease.deployment, *(group(f"g{number}") for number in range(5))))
    assert isinstance(reply, Denied)
    assert reply.what.endswith("; and 3 more")


def test_nobody_elses_and_nothing_that_has_ended(market: Market) -> None:
    lease = market.lease()
    deployment = lease.deployment
    assert market.denied(replace(asked(deployment), owner=BOB)) is Denial.DEPLOYMENT_UNKNOWN
    assert market.denied(replace(asked(deployment), owner=Owner("carol"))) is Denial.MEMBER_UNKNOWN
    assert market.update(replace(deployment, dseq=9)) is Denial.DEPLOYMENT_UNKNOWN
    assert market.update(deployment, "AB" * 32) is Denial.HASH_INVALID
    market.end(lease, CloseReason.WORKLOAD_UNSTABLE)
    assert market.book.leases[lease.order].state is LeaseState.CLOSING
    assert market.update(deployment) is Denial.DEPLOYMENT_ENDED
    market.used(lease, 1, 0, final=True)
    assert market.update(deployment, HASH) is Denial.DEPLOYMENT_ENDED
    closed = market.deploy()
    market.ask(CloseDeployment(owner=ALICE, key="c", deployment=closed))
    assert market.update(closed) is Denial.DEPLOYMENT_ENDED


def test_a_lease_that_ends_is_not_told_of_what_the_others_get(market: Market) -> None:
    deployment = market.deploy(group("a"), group("b"))
    leases = [market.bid(order_of(deployment, gseq)) for gseq in (1, 2)]
    for lease in leases:
        market.accept(lease)
        market.confirm(lease)
    market.end(leases[0])
    ended = market.book.leases[leases[0].order]
    assert market.update(deployment) is None
    assert market.book.leases[leases[0].order] == ended
    assert market.book.leases[leases[1].order].version == market.book.version
