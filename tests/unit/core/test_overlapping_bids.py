"""Bids that stand for the same things: as many as the operator lets, one lease, the others gone at once."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provider.core.agent import transition
from provider.core.bid_policy import BidPolicy, Overcommit
from provider.core.effects import WithdrawBid
from provider.core.events import LeaseAwarded, OrderClosed, OrderOpened
from provider.core.needs import need
from provider.core.policy import Policy
from provider.core.state import AgentState, holdings, sum_of_holdings
from provider.core.step import Step
from provider.domain.gpu import GpuHealth
from provider.domain.ids import GpuUuid
from provider.domain.market import Award, GroupSpec, Refusal
from provider.domain.resources import GIB, GpuAsk
from tests.agents import (
    HASH,
    POLICY,
    ROOMY,
    START,
    Agent,
    ask,
    gpu,
    group,
    healthy,
    lease_of,
    node,
    nodes_read,
    order,
    resources,
    unit,
)


def bold(times: int, **more: object) -> Policy:
    return replace(POLICY, bids=BidPolicy(overbid=times, **more))  # type: ignore[arg-type]


class Market:
    """Orders, closes and awards against an agent whose bids may overlap."""

    def __init__(self, *cards: object, times: int, cpu_millis: int = ROOMY.cpu_millis) -> None:
        there = node(*cards, capacity=replace(ROOMY, cpu_millis=cpu_millis))  # type: ignore[arg-type]
        self.state = transition(AgentState(policy=bold(times)), nodes_read(there), START).state
        self.version = 0

    def _next(self) -> int:
        self.version += 1
        return self.version

    def opens(self, number: int, of: GroupSpec | None = None) -> Step:
        return self._take(OrderOpened(order=order(number, of), version=self._next()))

    def closes(self, number: int) -> Step:
        return self._take(OrderClosed(order=order(number).id, version=self._next()))

    def awards(self, number: int) -> Step:
        lease = lease_of(number)
        rate = self.state.bids[lease].bid.rate
        award = Award(id=lease, rate=rate, manifest_hash=HASH, confirm_by=START)
        return self._take(LeaseAwarded(award=award, version=self._next()))

    def _take(self, event: OrderOpened | OrderClosed | LeaseAwarded) -> Step:
        step = transition(self.state, event, START)
        self.state = step.state
        check(step.state)
        return step

    def gpus(self, number: int) -> tuple[GpuUuid, ...]:
        return self.state.bids[lease_of(number)].placement.gpus

    @property
    def open(self) -> list[int]:
        return sorted(bid.dseq for bid in self.state.bids)


def check(state: AgentState) -> None:
    """No card is in two leases, nor in more bids than it may be, nor in a bid beside a lease of it; each bid
    alone could be delivered."""
    assert holdings(state) == sum_of_holdings(state)
    leased = [uuid for lease in state.leases.values() for uuid in lease.placement.gpus]
    assert len(set(leased)) == len(leased)
    in_bids = [uuid for bid in state.bids.values() for uuid in bid.placement.gpus]
    assert set(in_bids).isdisjoint(leased)
    assert all(in_bids.count(uuid) <= state.policy.bids.overbid for uuid in in_bids)
    placements = [bid.placement for bid in state.bids.values()]
    placements += [lease.placement for lease in state.leases.values()]
    ports = [port for placement in placements for port in placement.host_ports]
    assert len(set(ports)) == len(ports)
    (there,) = state.nodes
    used = sum(need(lease.group).cpu_millis for lease in state.leases.values())
    for bid in state.bids.values():
        assert used + need(bid.order.group).cpu_millis <= there.capacity.cpu_millis


def test_cards_that_nobody_holds_come_first_then_those_of_other_bids() -> None:
    market = Market(*healthy(0, 1), times=2)
    for number in (1, 2, 3, 4, 5):
        market.opens(number)
    assert [market.gpus(number) for number in (1, 2, 3, 4)] == [("GPU-0",), ("GPU-1",)] * 2
    assert market.state.orders[order(5).id].refused.why is Refusal.GPU_BUSY


def test_the_one_that_wins_gets_it_and_the_others_are_withdrawn_at_once() -> None:
    market = Market(*healthy(0, 1), times=3)
    pair = group(unit(resources(gpus=ask(2))))
    market.opens(1)
    market.opens(2, pair)
    market.opens(3)
    assert market.gpus(3) == ("GPU-1",)
    step = market.awards(1)
    assert [effect.bid for effect in step.effects if isinstance(effect, WithdrawBid)] == [lease_of(2)]
    assert market.open == [3], "the pair had the card that was won"
    assert lease_of(1) in market.state.leases


def test_an_award_of_what_was_withdrawn_is_refused() -> None:
    agent = Agent(*healthy(0), policy=bold(1))
    agent.state = replace(agent.state, policy=bold(2))
    agent.opens(1)
    rate = agent.state.bids[lease_of(1)].bid.rate
    with pytest.raises(AssertionError, match="held twice"):
        agent.opens(2)  # Agent checks what holds without overlapping
    market = Market(*healthy(0), times=2)
    market.opens(1)
    market.opens(2)
    market.awards(1)
    award = Award(id=lease_of(2), rate=rate, manifest_hash=HASH, confirm_by=START)
    step = transition(market.state, LeaseAwarded(award=award, version=99), START)
    assert [type(effect).__name__ for effect in step.effects] == ["RefuseLease"]
    assert list(step.state.leases) == [lease_of(1)]


def test_cpus_are_promised_as_often_and_never_leased_twice() -> None:
    market = Market(times=2, cpu_millis=3_000)
    big = group(unit(resources(gpus=GpuAsk(), cpu_millis=2_000)))
    for number in (1, 2, 3, 4):
        market.opens(number, big)
    assert market.open == [1, 2, 3], "6 cores of bids for 3 cores"
    market.awards(2)
    assert market.open == []
    market.opens(5, group(unit(resources(gpus=GpuAsk(), cpu_millis=1_000))))
    assert market.open == [5], "what is left beside the lease"


actions = st.lists(
    st.tuples(st.sampled_from(["open", "close", "award"]), st.integers(1, 8), st.integers(0, 3)), max_size=40
)


@settings(max_examples=150)
@given(actions, st.integers(1, 3))
def test_whatever_comes_no_card_is_leased_twice_and_nothing_is_left(
    steps: list[tuple[str, int, int]], times: int
) -> None:
    market = Market(*healthy(0, 1), gpu(2, health=GpuHealth.DEGRADED), times=times, cpu_millis=4_000)
    kinds = (
        group(),
        group(unit(resources(gpus=ask(2)))),
        group(unit(resources(gpus=GpuAsk(), cpu_millis=1_500))),
        group(unit(resources(), count=2)),
    )
    for kind, number, shape in steps:
        lease = lease_of(number)
        if kind == "open" and lease not in market.state.leases:
            market.opens(number, kinds[shape])
        elif kind == "close":
            market.closes(number)
        elif kind == "award" and lease in market.state.bids:
            market.awards(number)
    for number in range(1, 9):
        market.closes(number)
    held = holdings(market.state)
    assert all(each.bids.count == 0 for each in held.values())
    assert sum(each.leases.count for each in held.values()) == len(market.state.leases)


def test_overcommitment_is_of_cpus_memory_and_disks_alone() -> None:
    twice = Overcommit(cpu=Decimal("1.5"), memory=Decimal(2), storage=Decimal(2))
    agent = Agent(policy=replace(POLICY, bids=BidPolicy(overcommit=twice)))
    small = replace(ROOMY, cpu_millis=1_000, memory_bytes=2 * GIB, storage_bytes=2 * GIB)
    agent.take(nodes_read(node(gpu(0), capacity=small)))
    for number in range(1, 5):
        agent.opens(number, group(unit(resources(gpus=GpuAsk()))))
    assert len(agent.state.bids) == 3, "1.5 cores in halves"
    assert agent.state.orders[order(4).id].refused.why is Refusal.CPU_SHORT
    agent.closes(1)
    agent.closes(2)
    agent.opens(5)
    agent.closes(4)
    agent.opens(6)
    assert agent.state.orders[order(6).id].refused.why in (Refusal.CPU_SHORT, Refusal.GPU_BUSY)
