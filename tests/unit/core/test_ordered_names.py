"""Host names that an order tells: what is taken or blocked here is not bid on, and is once it is free."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provider.core.effects import PlaceBid, StartWorkload, StopWorkload
from provider.core.events import LeaseUpdated, ManifestArrived, OrderOpened
from provider.core.ledger import Began, Named, Record
from provider.core.policy import IngressPolicy
from provider.core.step import OrderConsidered, Step
from provider.domain.ids import OrderId, Owner
from provider.domain.manifest import Manifest
from provider.domain.market import GroupSpec, Order, Refusal, Refused
from provider.domain.resources import GpuAsk
from tests.agents import HASH, POLICY, Agent, gpu, group, lease_of, manifest, resources, run_for, settle, unit
from tests.unit.core.test_replay import decisions, replayed

SHOP, BLOG = "shop.example.org", "blog.example.org"
DOMAIN = "apps.example.com"
SERVED = replace(POLICY, ingress=IngressPolicy(domain=DOMAIN, blocked=(".bank.example",)))
OTHER_HASH = "cd" * 32


def asks(*names: str) -> GroupSpec:
    return replace(group(unit(resources(gpus=GpuAsk()))), hostnames=names)


def content(*names: str) -> Manifest:
    """As of ``asks``, with ``names`` on its one HTTP port."""
    plain = manifest(asks()).groups[0]
    (service,) = plain.services
    expose = replace(service.expose[0], hosts=names or None)
    return Manifest(groups=(replace(plain, services=(replace(service, expose=(expose,)),)),))


def opened_by(agent: Agent, owner: str, *names: str) -> Step:
    opened = Order(
        id=OrderId(owner=Owner(owner), dseq=9, gseq=1, oseq=1), group=asks(*names), manifest_hash=HASH
    )
    return agent.take(OrderOpened(order=opened, version=agent._next()))


def refused(step: Step) -> Refused | None:
    (note,) = (each for each in step.notes if isinstance(each, OrderConsidered))
    return note.decision.refused


def leased(*names: str, policy: object = SERVED) -> Agent:
    """Alice's lease on an order with ``names``, which awaits its manifest."""
    agent = Agent(gpu(0), policy=policy)  # type: ignore[arg-type]
    agent.begin(1, asks(*names))
    return agent


def sends(agent: Agent, *names: str, hashed: str = HASH) -> Step:
    return agent.take(ManifestArrived(lease=lease_of(), manifest=content(*names), manifest_hash=hashed))


def test_a_name_that_another_tenants_order_brought_is_taken_at_once() -> None:
    agent = leased(SHOP)
    assert refused(opened_by(agent, "bob", BLOG, SHOP)) == Refused(
        why=Refusal.HOSTNAME_TAKEN, required=SHOP, available="another tenant has it here"
    )
    assert refused(opened_by(agent, "carol", BLOG)) is None


def test_it_is_free_again_once_the_lease_is_gone() -> None:
    agent = leased(SHOP)
    opened_by(agent, "bob", SHOP)
    agent.ends()
    step = agent.done(agent.last(StopWorkload))
    assert agent.kinds(step) == ["PlaceBid"]
    assert decisions(replayed(agent.records, SERVED)) == decisions(agent.records)


def test_the_same_tenant_may_ask_for_it_again() -> None:
    assert refused(opened_by(leased(SHOP), "alice", SHOP)) is None


@pytest.mark.parametrize("name", ["my.bank.example", "bank.example", f"a.{DOMAIN}", DOMAIN])
def test_what_the_operator_keeps_is_not_bid_on(name: str) -> None:
    found = refused(opened_by(Agent(gpu(0), policy=SERVED), "bob", name))
    assert found is not None
    assert (found.why, found.required) == (Refusal.HOSTNAME_BLOCKED, name)


def test_orders_that_tell_no_names_and_providers_without_an_ingress_are_as_before() -> None:
    assert refused(opened_by(leased(SHOP), "bob")) is None
    assert refused(opened_by(leased(SHOP, policy=POLICY), "bob", SHOP)) is None


def test_names_that_only_the_manifest_told_are_taken_too_and_the_ledger_has_them() -> None:
    agent = leased()
    assert sends(agent, SHOP).refused is None
    agent.done(agent.last(StartWorkload))
    found = refused(opened_by(agent, "bob", SHOP))
    assert found is not None
    assert found.why is Refusal.HOSTNAME_TAKEN
    assert [each.hostnames for each in agent.records if isinstance(each, Named)] == [(SHOP,)]
    as_recorded(agent)


def test_a_name_that_the_manifest_does_not_bring_is_given_back() -> None:
    agent = leased(SHOP)
    opened_by(agent, "bob", SHOP)
    assert "PlaceBid" in agent.kinds(sends(agent, BLOG))
    as_recorded(agent)


def test_a_name_that_an_update_takes_away_is_free_once_that_is_proven() -> None:
    agent = leased(SHOP)
    sends(agent, SHOP)
    agent.done(agent.last(StartWorkload))
    opened_by(agent, "bob", SHOP)
    agent.take(LeaseUpdated(lease=lease_of(), manifest_hash=OTHER_HASH, version=agent._next()))
    assert "PlaceBid" not in agent.kinds(sends(agent, BLOG, hashed=OTHER_HASH))
    settle(agent, StartWorkload)
    run_for(agent, agent.launch(), SERVED.update_probation + 1_000)
    assert [effect.bid.id.owner for effect in agent.wanted if isinstance(effect, PlaceBid)] == [
        "alice",
        "bob",
    ]
    as_recorded(agent)


def test_after_a_restart_the_ledger_still_has_them() -> None:
    agent = leased()
    sends(agent, SHOP)
    agent.starts_again()
    began = agent.records[-1]
    assert isinstance(began, Began)
    assert began.held[0].order.group.hostnames == (SHOP,)
    opened_by(agent, "bob", SHOP)
    as_recorded(agent)


def as_recorded(agent: Agent) -> None:
    """Replayed from the first record, and from the last step that changed names."""
    records: list[Record] = agent.records
    assert decisions(replayed(records, SERVED)) == decisions(records)
    last = max(place for place, each in enumerate(records) if isinstance(each, Named))
    assert decisions(replayed(records[last:], SERVED, records[:last])) == decisions(records[last:])
