"""Each rule that an operator sets: what it lets pass, what it refuses, with which facts, for how long."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from provider.core.admission import RULE_NAMES, consider, decide
from provider.core.bid_policy import Audited, BidPolicy
from provider.core.maintenance import Window, window
from provider.core.order_filter import condition
from provider.core.state import AgentState
from provider.domain.ids import OrderId, Owner
from provider.domain.market import GroupSpec, Order, Refusal, Refused, Requirements, SignedBy
from provider.domain.moment import HOUR, MINUTE, SECOND, Instant, Span
from provider.domain.money import Denom
from provider.domain.node import Node
from provider.domain.resources import GIB, Attribute, GpuAlternative, GpuAsk, Volume
from tests import boxes
from tests.agents import (
    CAPABLE,
    NODE,
    POLICY,
    ROOMY,
    START,
    Agent,
    ask,
    group,
    healthy,
    lease_of,
    node,
    order,
    rate,
    resources,
    unit,
)

STATE = AgentState(policy=POLICY, nodes=(node(boxes.card(0, "h100")),), runtime=CAPABLE)


def under(**bids: object) -> AgentState:
    return replace(STATE, policy=replace(POLICY, bids=BidPolicy(**bids)))  # type: ignore[arg-type]


def verdict(of: GroupSpec | Order, state: AgentState = STATE) -> Refused | None:
    found = consider(of if isinstance(of, Order) else order(of=of), state, START)
    return found if isinstance(found, Refused) else None


def why(of: GroupSpec | Order, state: AgentState = STATE) -> Refusal | None:
    refused = verdict(of, state)
    return refused.why if refused else None


def owned_by(owner: str) -> Order:
    return replace(order(), id=OrderId(owner=Owner(owner), dseq=1, gseq=1, oseq=1))


def wants(key: str, value: str, signed: SignedBy | None = None) -> GroupSpec:
    attributes = (Attribute(key=key, value=value),)
    return group(requirements=Requirements(attributes=attributes, signed_by=signed or SignedBy()))


# --- what cannot mean anything


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (group(unit(count=0)), "0 replicas"),
        (group(unit(count=51)), "51 replicas"),
        (group(unit(), unit()), "two resource units of one number"),
        (group(unit(resources(cpu_millis=0))), "no CPU"),
        (group(unit(resources(gpus=GpuAsk(units=1)))), "1 GPUs of 0 kinds"),
        (group(unit(resources(gpus=ask(25)))), "25 GPUs"),
        (group(unit(), unit(resources(2), price=1)), None),
        (
            group(unit(), replace(unit(resources(2)), price=replace(rate(), denom=Denom.UAKT))),
            "several currencies",
        ),
        (
            group(unit(replace(resources(), storage=(Volume(name="default", size_bytes=0),)))),
            "a volume without a size",
        ),
        (GroupSpec(name="none", units=()), "0 resource units"),
    ],
)
def test_an_order_without_sense(of: GroupSpec, said: str | None) -> None:
    refused = verdict(of)
    if said is None:
        assert refused is None or refused.why is not Refusal.ORDER_INVALID
    else:
        assert refused is not None
        assert refused.why is Refusal.ORDER_INVALID
        assert said in refused.available


# --- for whom


@pytest.mark.parametrize(
    ("allow", "deny", "owner", "refused"),
    [
        ((), (), "alice", False),
        (("team-*",), (), "team-a", False),
        (("team-*",), (), "alice", True),
        ((), ("al*",), "alice", True),
        (("*",), ("alice",), "alice", True),
        (("*",), ("alice",), "alicia", False),
    ],
)
def test_owners(allow: tuple[str, ...], deny: tuple[str, ...], owner: str, refused: bool) -> None:
    found = why(owned_by(owner), under(owners_allow=allow, owners_deny=deny))
    assert found is (Refusal.OWNER_NOT_SERVED if refused else None)


# --- conditions


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("gpus >= 1", None),
        ("gpus > 1", "1"),
        ("gpus_per_replica == 1", None),
        ("cpu_cores <= 0.25", "0.5"),
        ("memory_gib < 1", "1"),
        ("storage_gib != 1", "1"),
        ("replicas == 1", None),
        ("endpoints == 0", "1"),
        ("price_hour >= 0.06", None),
        ("price_hour >= 0.0601", "0.06"),
        ("price_per_gpu_hour < 0.06", "0.06"),
        ("gpu_model == h100", None),
        ("gpu_model != h*", "h100"),
        ("gpu_model == 'a100'", "h100"),
        ("owner == ali*", None),
        ("attribute region == eu-*", "none"),
        ("attribute region != us", None),
    ],
)
def test_conditions(text: str, instead: str | None) -> None:
    refused = verdict(group(), under(conditions=(condition("gpus >= 0"), condition(text))))
    if instead is None:
        assert refused is None
    else:
        assert refused is not None
        assert (refused.why, refused.available) == (Refusal.ORDER_FILTERED, instead)
        assert refused.required == str(condition(text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gpus", "is not a condition"),
        ("gpus >= many", "'many' is not a number"),
        ("gpu >= 1", "nothing is called 'gpu'; there are gpus,"),
        ("owner < bob", "is text"),
        ("__import__('os') == 1", "nothing is called"),
    ],
)
def test_what_is_no_condition_says_so(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as raised:
        condition(text)
    assert said in str(raised.value)


# --- what auditors signed

SIGNED = {
    "a": Audited(attributes=(Attribute(key="region", value="eu"), Attribute(key="tier", value="gold"))),
    "b": Audited(attributes=(Attribute(key="region", value="eu"),), expires_at=Instant(START + 1)),
    "old": Audited(attributes=(Attribute(key="region", value="eu"),), expires_at=START),
}


@pytest.mark.parametrize(
    ("key", "all_of", "any_of", "problem"),
    [
        ("region", ("a",), (), None),
        ("region", ("a", "b"), (), None),
        ("reg*", ("b",), ("a", "nobody"), None),
        ("region", ("a", "nobody"), (), "nobody has signed nothing of this provider"),
        ("region", (), ("nobody", "b"), None),
        ("region", (), ("nobody",), "nobody has signed nothing of this provider"),
        ("region", ("old",), (), "what old signed expired at 2023-11-14T22:13:20.000Z"),
        ("tier", ("a", "b"), (), "b has not signed tier=eu"),
    ],
)
def test_auditors(key: str, all_of: tuple[str, ...], any_of: tuple[str, ...], problem: str | None) -> None:
    refused = verdict(wants(key, "eu", SignedBy(all_of=all_of, any_of=any_of)), under(audited=SIGNED))
    if problem is None:
        assert refused is None
    else:
        assert refused is not None
        assert refused.why is Refusal.AUDITORS_NOT_MET
        assert problem.replace("b has not", "") in refused.available or "a has not" in refused.available


def test_what_a_provider_says_of_itself_is_not_enough_where_auditors_are_named() -> None:
    claims = replace(STATE.policy, attributes=(Attribute(key="region", value="eu"),))
    state = replace(STATE, policy=claims)
    assert why(wants("region", "eu"), state) is None
    assert why(wants("region", "eu", SignedBy(any_of=("a",))), state) is Refusal.AUDITORS_NOT_MET


# --- volumes


def test_more_volumes_than_a_replica_may_have() -> None:
    def with_volumes(count: int) -> GroupSpec:
        volumes = tuple(Volume(name=f"v{number}", size_bytes=GIB) for number in range(count))
        return group(unit(replace(resources(), storage=volumes)))

    assert why(with_volumes(4)) is None
    assert verdict(with_volumes(5)) == Refused(
        why=Refusal.VOLUMES_TOO_MANY, required="5 volumes a replica", available="4"
    )
    assert why(with_volumes(5), under(volumes_most=5)) is None


# --- maintenance

DAY = Span(24 * HOUR)
WEEK = Span(7 * DAY)


@pytest.mark.parametrize(
    ("text", "begins", "lasts", "weekly"),
    [
        ("2023-11-14T23:00Z 2h", 1_700_002_800_000, 2 * HOUR, False),
        ("tue 23:00 1.5h", None, 90 * MINUTE, True),
    ],
)
def test_windows(text: str, begins: int | None, lasts: int, weekly: bool) -> None:
    found = window(text)
    assert (found.lasts, found.is_weekly) == (lasts, weekly)
    if begins is not None:
        assert found.begins == begins
    coming = found.next_from(START)
    assert coming == (1_700_002_800_000, 1_700_002_800_000 + lasts), "START is a Tuesday, 22:13:20"


@pytest.mark.parametrize(
    "text", ["sun 2:00 4h", "son 02:00 4h", "sun 24:00 4h", "sun 02:00 0h", "sun 02:00 200h", ""]
)
def test_what_is_no_window_says_so(text: str) -> None:
    with pytest.raises(ValueError, match="window"):
        window(text)


@pytest.mark.parametrize(
    "after", [0, 1, HOUR, 90 * MINUTE - 1, 90 * MINUTE, 3 * DAY, WEEK - 1, WEEK, 51 * WEEK + 5]
)
def test_a_weekly_window_goes_on_or_comes_next(after: int) -> None:
    weekly = Window(begins=START, lasts=Span(90 * MINUTE), is_weekly=True)
    at = Instant(START + after)
    found = weekly.next_from(at)
    assert found is not None
    begins, ends = found
    assert (begins - START) % WEEK == 0
    assert ends == begins + 90 * MINUTE
    assert ends > at >= ends - WEEK


def test_no_bid_that_could_reach_into_a_window_and_a_bid_once_it_is_over() -> None:
    soon = Window(begins=Instant(START + 2 * HOUR), lasts=Span(HOUR))
    policy = replace(POLICY, bids=BidPolicy(maintenance=(soon,), maintenance_ahead=HOUR))
    agent = Agent(*healthy(0, 1, 2), policy=policy)
    agent.opens(1)
    assert lease_of(1) in agent.state.bids, "it is two hours off"
    agent.passes(HOUR - POLICY.bid_lifetime)
    agent.opens(2)
    refused = agent.state.orders[order(2).id].refused
    assert refused.why is Refusal.MAINTENANCE_NEAR
    assert refused.available == "maintenance from 2023-11-15T00:13:20.000Z to 2023-11-15T01:13:20.000Z"
    agent.at = Instant(START + 3 * HOUR - 1)
    agent.later(0)
    assert lease_of(2) not in agent.state.bids
    agent.later(1)
    assert lease_of(2) in agent.state.bids, "it is over"


def test_a_longer_notice_keeps_leases_further_off() -> None:
    soon = Window(begins=Instant(START + 5 * HOUR), lasts=HOUR)
    assert why(group(), under(maintenance=(soon,))) is None
    assert why(group(), under(maintenance=(soon,), notice=Span(5 * HOUR))) is Refusal.MAINTENANCE_NEAR


# --- how often


def test_so_many_bids_a_minute_and_the_next_when_the_first_is_a_minute_old() -> None:
    agent = Agent(*healthy(*range(6)), policy=replace(POLICY, bids=BidPolicy(bids_per_minute=2)))
    agent.opens(1)
    agent.passes(20 * SECOND)
    agent.opens(2)
    agent.opens(3)
    agent.opens(4)
    assert agent.state.orders[order(3).id].refused == Refused(
        why=Refusal.BID_BUDGET_SPENT, required="one bid more", available="2 bids a minute"
    )
    agent.later(40 * SECOND)
    assert lease_of(3) in agent.state.bids
    assert lease_of(4) not in agent.state.bids, "the second is not a minute old"
    agent.later(20 * SECOND)
    assert lease_of(4) in agent.state.bids
    assert agent.state.look_again_at is None


def test_so_many_open_bids_and_the_next_when_one_has_an_outcome() -> None:
    agent = Agent(*healthy(*range(6)), policy=replace(POLICY, bids=BidPolicy(open_bids_most=2)))
    for number in range(1, 5):
        agent.opens(number)
    waiting = agent.state.orders[order(3).id]
    assert waiting.refused.why is Refusal.OPEN_BIDS_SPENT
    agent.closes(1)
    assert sorted(bid.dseq for bid in agent.state.bids) == [2, 3]
    agent.awards(2)
    assert sorted(bid.dseq for bid in agent.state.bids) == [3, 4]


# --- in which order


def test_reasons_come_in_the_order_of_the_rules() -> None:
    soon = Window(begins=START, lasts=HOUR)
    state = under(
        owners_deny=("alice",), conditions=(condition("gpus == 0"),), volumes_most=1, maintenance=(soon,)
    )
    many = replace(resources(), storage=(Volume(name="a", size_bytes=1), Volume(name="b", size_bytes=1)))
    wrong = replace(wants("tier", "gold"), units=(unit(many, price="0.01"),))
    assert why(wrong, state) is Refusal.OWNER_NOT_SERVED
    state = replace(state, policy=replace(state.policy, bids=replace(state.policy.bids, owners_deny=())))
    assert why(wrong, state) is Refusal.ORDER_FILTERED
    state = replace(state, policy=replace(state.policy, bids=replace(state.policy.bids, conditions=())))
    assert why(wrong, state) is Refusal.ATTRIBUTES_NOT_MET
    wrong = replace(wrong, requirements=Requirements())
    assert why(wrong, state) is Refusal.VOLUMES_TOO_MANY
    state = replace(state, policy=replace(state.policy, bids=replace(state.policy.bids, volumes_most=4)))
    assert why(wrong, state) is Refusal.MAINTENANCE_NEAR
    state = replace(state, policy=replace(state.policy, bids=BidPolicy()))
    assert why(wrong, state) is Refusal.PRICE_TOO_LOW
    assert decide(order(of=group()), state, START).passed[: len(RULE_NAMES)] == RULE_NAMES
    assert len(set(RULE_NAMES)) == len(RULE_NAMES)


def test_where_the_best_cards_are_too_dear_the_cheapest_are_offered() -> None:
    prices = replace(POLICY.price, gpu_hour={"h100": Decimal(60_000), "*": Decimal(600)})
    state = replace(
        STATE,
        policy=replace(POLICY, price=prices),
        nodes=(Node(name=NODE, capacity=ROOMY, inventory=boxes.mixed()),),
    )
    anything = GpuAlternative(vendor="nvidia")
    two = group(
        unit(resources(gpus=ask(2, GpuAlternative(vendor="nvidia", model="h100"), anything)), price=10)
    )
    found = consider(order(of=two), state, START)
    assert not isinstance(found, Refused)
    assert {offer.model for offer in found.bid.gpus} <= {"rtx4090", "l40s"}


def test_an_order_that_wants_to_be_told_ahead_wants_a_promise() -> None:
    wants = replace(group(), requirements=Requirements(notice=Span(24 * HOUR)))
    assert verdict(wants) == Refused(why=Refusal.NOTICE_TOO_SHORT, required="24h", available="0s")
    assert verdict(wants, under(notice=Span(90 * MINUTE))) == Refused(
        why=Refusal.NOTICE_TOO_SHORT, required="24h", available="90m"
    )
    assert verdict(wants, under(notice=Span(24 * HOUR))) is None
    assert verdict(group(), under(notice=Span(0))) is None
