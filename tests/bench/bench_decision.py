"""One decision alone: ``core.agent.transition`` of an order that opens, no I/O, over a state that grows.

Baselines are the budget (100 microseconds on 8 GPUs with 100 leases live), and the same decision where next
to nothing is in the state: a decision must not cost more because much is going on, or because much has been.
One row has decisions as they follow each other, each in the state that the last one left: nothing of it can
be remembered whole.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from dataclasses import replace

from provider.core.agent import transition
from provider.core.events import LeaseAwarded, OrderClosed, OrderOpened
from provider.core.policy import Policy
from provider.core.state import AgentState
from provider.domain.ids import NodeName, OrderId
from provider.domain.market import Award, Order
from provider.domain.node import HostCapacity
from provider.domain.resources import GIB, GpuAsk
from tests.agents import (
    HASH,
    POLICY,
    PROVIDER,
    START,
    gpu,
    group,
    node,
    nodes_read,
    order,
    resources,
    unit,
)

ROUNDS = 2_000
CARDS = 8
ROOMY = HostCapacity(cpu_millis=10_000_000, memory_bytes=10_000 * GIB, storage_bytes=10**15, boot_id="bench")
WIDE: Policy = replace(POLICY, port_range=(20_000, 29_999))
PLAIN = group(unit(resources(gpus=GpuAsk())))
DEAR = group(unit(resources(), price="0.1"))
"""Below every price: refused by the last rule there is."""


def rows() -> list[dict[str, object]]:
    few, hundred, thousand = (_median_us(_with_leases(count)) for count in (1, 100, 1_000))
    following = _median_following_us(_with_leases(100))
    young, old = _median_us(_with_orders_seen(10)), _median_us(_with_orders_seen(100_000))
    refused = _median_us(_with_orders_seen(5_000), dear=True)
    return [
        _row("decision: p50 on 8 GPUs, 100 leases live (baseline: budget)", hundred, 100.0, 1.0),
        _row(
            "decision: p50 of bids that follow each other, 100 leases (baseline: budget)",
            following,
            100.0,
            1.0,
        ),
        _row("decision: p50 with 1,000 leases live (baseline: 1 lease)", thousand, few, 1.5),
        _row("decision: p50 after 100,000 orders (baseline: 10 orders)", old, young, 1.5),
        _row("decision: p50 of a refusal, 1,000 refused before (baseline: budget)", refused, 100.0, 1.0),
    ]


def _row(name: str, ours: float, baseline: float, target: float) -> dict[str, object]:
    return {
        "name": name,
        "ours": round(ours, 1),
        "baseline": round(baseline, 1),
        "unit": "us",
        "ratio": round(ours / baseline, 2),
        "target": target,
    }


def _median_us(state: AgentState, *, dear: bool = False) -> float:
    """Of ``ROUNDS`` decisions on orders for one GPU, each in the same ``state``."""
    took = []
    for number in range(1, ROUNDS + 1):
        event = OrderOpened(order=_order(10_000_000 + number, dear=dear), version=10**9)
        began = time.perf_counter_ns()
        step = transition(state, event, START)
        took.append(time.perf_counter_ns() - began)
        assert bool(step.effects) is not dear, "the order is bid on, unless it is too cheap"
    return statistics.median(took) / 1000


def _median_following_us(state: AgentState) -> float:
    """Of ``ROUNDS`` bids on orders for one GPU, of which half of the cards have one open at a time."""
    took: list[int] = []
    bids: deque[OrderId] = deque()
    for number in range(1, ROUNDS + 1):
        event = OrderOpened(order=_order(10_000_000 + number), version=10**9 + 2 * number)
        began = time.perf_counter_ns()
        step = transition(state, event, START)
        took.append(time.perf_counter_ns() - began)
        assert step.effects, "the order is bid on"
        state = step.state
        bids.append(event.order.id)
        if len(bids) == CARDS // 2:
            lost = OrderClosed(order=bids.popleft(), version=10**9 + 2 * number + 1)
            state = transition(state, lost, START).state
    return statistics.median(took) / 1000


def _order(number: int, *, dear: bool = False) -> Order:
    return order(number, DEAR if dear else group())


def empty() -> AgentState:
    cards = (gpu(number) for number in range(CARDS))
    machine = nodes_read(node(*cards, name=NodeName("bench"), capacity=ROOMY))
    return transition(AgentState(policy=WIDE), machine, START).state


def _with_leases(count: int) -> AgentState:
    state = empty()
    for number in range(1, count + 1):
        wanted = order(number, PLAIN)
        state = transition(state, OrderOpened(order=wanted, version=2 * number), START).state
        lease = wanted.id.lease(PROVIDER)
        award = Award(id=lease, rate=state.bids[lease].bid.rate, manifest_hash=HASH, confirm_by=START)
        state = transition(state, LeaseAwarded(award=award, version=2 * number + 1), START).state
    assert len(state.leases) == count
    return state


def _with_orders_seen(count: int) -> AgentState:
    """Half of them were refused and never closed, half lost to somebody else."""
    state = empty()
    for number in range(1, count + 1):
        wanted = _order(number, dear=number % 2 == 0)
        state = transition(state, OrderOpened(order=wanted, version=2 * number), START).state
        if number % 2:
            state = transition(state, OrderClosed(order=wanted.id, version=2 * number + 1), START).state
    return state
