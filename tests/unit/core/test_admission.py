"""Whether to bid: a reason for every refusal, in the order in which a person would give it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from provider.core.admission import Accepted, consider
from provider.core.policy import PriceScale
from provider.core.state import AgentState
from provider.domain.market import GroupSpec, Refusal, Refused, Requirements, SignedBy
from provider.domain.money import Denom, Rate
from provider.domain.resources import Attribute, Endpoint, EndpointKind, GpuAsk
from provider.domain.workload import GpuAttachment, RuntimeCapabilities, Unfit
from tests.agents import CAPABLE, POLICY, PROVIDER, START, ask, gpu, group, node, order, rate, resources, unit

CLAIMS = (
    Attribute(key="region", value="eu"),
    Attribute(key="capabilities/gpu/vendor/nvidia/model/h100", value="true"),
)
STATE = AgentState(policy=replace(POLICY, attributes=CLAIMS), nodes=(node(gpu(0)),), runtime=CAPABLE)
BLIND = RuntimeCapabilities(engine="old", gpu_attachment=GpuAttachment.NONE, gpu_problem="no CDI")


def wants(*attributes: tuple[str, str], signed: SignedBy | None = None) -> GroupSpec:
    named = tuple(Attribute(key=key, value=value) for key, value in attributes)
    return group(requirements=Requirements(attributes=named, signed_by=signed or SignedBy()))


def priced_in(denom: Denom) -> GroupSpec:
    return group(replace(unit(), price=Rate(amount=Decimal(100), denom=denom)))


@pytest.mark.parametrize(
    ("of", "why"),
    [
        (group(), None),
        (priced_in(Denom.UAKT), Refusal.DENOM_NOT_ACCEPTED),
        (wants(("region", "eu")), None),
        (wants(("region", "us")), Refusal.ATTRIBUTES_NOT_MET),
        (wants(("region", "eu"), ("tier", "gold")), Refusal.ATTRIBUTES_NOT_MET),
        (wants(("capabilities/gpu/vendor/nvidia/model/*", "true")), None),
        (wants(signed=SignedBy(all_of=("audits-r-us",))), Refusal.AUDITORS_NOT_MET),
        (wants(signed=SignedBy(any_of=("audits-r-us",))), Refusal.AUDITORS_NOT_MET),
        (
            group(unit(replace(resources(), endpoints=(Endpoint(kind=EndpointKind.LEASED_IP),)))),
            Refusal.ENDPOINT_KIND_UNSUPPORTED,
        ),
        (group(unit(resources(gpus=ask(2)))), Refusal.GPU_UNKNOWN),
        (group(unit(resources(cpu_millis=17_000))), Refusal.CPU_SHORT),
        (group(unit(price="10.4")), Refusal.PRICE_TOO_LOW),
        (group(unit(price="10.5")), None),
    ],
)
def test_rules(of: GroupSpec, why: Refusal | None) -> None:
    verdict = consider(order(of=of), STATE, START)
    assert (verdict.why if isinstance(verdict, Refused) else None) is why


def test_reasons_have_their_facts() -> None:
    low = consider(order(of=group(unit(price="10.4"))), STATE, START)
    assert str(low) == "price too low (required 10.5uact/block, available 10.4uact/block)"
    attributes = consider(order(of=wants(("tier", "gold"))), STATE, START)
    assert "required tier=gold, available region=eu" in str(attributes)


@pytest.mark.parametrize("state", [replace(STATE, nodes=()), replace(STATE, runtime=None)])
def test_nothing_is_bid_on_before_the_machine_is_known(state: AgentState) -> None:
    verdict = consider(order(), state, START)
    assert isinstance(verdict, Refused)
    assert verdict.why is Refusal.NOT_BIDDING


def test_an_engine_that_cannot_attach_gpus_serves_orders_without_them() -> None:
    state = replace(STATE, runtime=BLIND)
    refused = consider(order(), state, START)
    assert refused == Refused(why=Refusal.GPU_UNKNOWN, required="1 GPUs", available="no CDI")
    assert isinstance(consider(order(of=group(unit(resources(gpus=GpuAsk())))), state, START), Accepted)


def test_meaning_comes_before_capacity_and_capacity_before_price() -> None:
    everything_wrong = replace(
        wants(("tier", "gold"), signed=SignedBy(all_of=("x",))),
        units=(unit(resources(cpu_millis=99_000, gpus=ask(9)), price="0.1"),),
    )
    seen = []
    for requirements in (wants(("tier", "gold")).requirements, everything_wrong.requirements):
        verdict = consider(order(of=replace(everything_wrong, requirements=requirements)), STATE, START)
        assert isinstance(verdict, Refused)
        seen.append(verdict.why)
    assert seen == [Refusal.ATTRIBUTES_NOT_MET, Refusal.AUDITORS_NOT_MET]
    verdict = consider(order(of=replace(everything_wrong, requirements=Requirements())), STATE, START)
    assert isinstance(verdict, Refused)
    assert verdict.why is Refusal.CPU_SHORT


def test_a_bid_is_what_was_placed() -> None:
    verdict = consider(order(), STATE, START)
    assert isinstance(verdict, Accepted)
    assert verdict.bid.id == order().id.lease(PROVIDER)
    assert verdict.placement.gpus == ("GPU-0",)
    assert verdict.bid.rate == rate("10.5")
    (offer,) = verdict.bid.gpus
    assert (offer.model, offer.count, offer.simulated) == ("h100", 1, False)


def test_a_card_without_a_price_is_not_sold() -> None:
    policy = replace(POLICY, price=PriceScale(gpu_hour={"a100": Decimal(1)}))
    verdict = consider(order(), replace(STATE, policy=policy), START)
    assert verdict == Refused(why=Refusal.GPU_UNKNOWN, required="a price for h100", available="none is set")


OLD_RUNC = Unfit(part="runc", found="1.1.5", required="1.2.8 or newer", why="CVE-2024-21626")


def test_an_engine_with_known_holes_is_not_for_strangers() -> None:
    state = replace(STATE, runtime=replace(CAPABLE, unfit=(OLD_RUNC,)))
    assert consider(order(), state, START) == Refused(
        why=Refusal.RUNTIME_UNFIT, required="runc 1.2.8 or newer (CVE-2024-21626)", available="1.1.5"
    )
    allowed = replace(state, runtime=replace(CAPABLE, unfit=(replace(OLD_RUNC, is_allowed=True),)))
    assert isinstance(consider(order(), allowed, START), Accepted)


def test_an_old_toolkit_matters_to_orders_with_gpus_alone() -> None:
    state = replace(STATE, runtime=replace(CAPABLE, unfit=(replace(OLD_RUNC, only_for_gpus=True),)))
    assert isinstance(consider(order(), state, START), Refused)
    assert isinstance(consider(order(of=group(unit(resources(gpus=GpuAsk())))), state, START), Accepted)
