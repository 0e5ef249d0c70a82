"""What bids and leases hold: kept as they come and go, always the sum, nothing once all are gone."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from provider.core import holdings as held_things
from provider.core.events import DrainSet
from provider.core.holdings import NOTHING, UNHELD
from provider.core.room import Room
from provider.core.state import holdings, sum_of_holdings
from provider.domain.market import Refusal
from provider.domain.resources import GIB, GpuAlternative, GpuAsk
from provider.sim.store import MemoryStore
from tests.agents import (
    NODE,
    POLICY,
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
    sick,
    unit,
)

PAIR = group(unit(resources(gpus=ask(2)), count=2))


def held_of(agent: Agent) -> held_things.NodeHoldings:
    return holdings(agent.state).get(NODE, UNHELD)


def test_a_bid_holds_what_its_order_takes_and_a_lease_takes_it_over() -> None:
    agent = Agent(*healthy(0, 1, 2, 3))
    agent.opens(1, PAIR)
    bid = held_of(agent).bids
    assert (bid.cpu_millis, bid.memory_bytes, bid.storage) == (1_000, 2 * GIB, {"": 2 * GIB})
    assert bid.gpus == {f"GPU-{number}": 1 for number in range(4)}
    assert (bid.ports, bid.count) == (1 << 31000, 1)
    agent.awards(1)
    assert held_of(agent).bids == NOTHING
    assert held_of(agent).leases == bid


@pytest.mark.parametrize("lose", ["closes", "rejected", "expires", "drained", "sick", "ends"])
def test_every_losing_path_gives_all_of_it_back_at_once(lose: str) -> None:
    agent = Agent(*healthy(0))
    agent.opens(1)
    assert held_of(agent).bids.count == 1
    match lose:
        case "closes":
            agent.closes(1)
        case "rejected":
            agent.fails(agent.wanted[-1], final=True)
        case "expires":
            agent.later(POLICY.bid_lifetime)
        case "drained":
            agent.take(DrainSet(is_draining=True))
        case "sick":
            agent.take(nodes_read(node(sick(0))))
        case _:
            agent.ends(1)
    assert holdings(agent.state) == {}


def test_what_is_loaded_is_summed_up_before_the_first_step() -> None:
    agent, store = Agent(*healthy(0, 1)), MemoryStore(POLICY)
    agent.run(1)
    step = agent.opens(2)
    store.commit([replace(step, touched=None)])
    loaded, _ = store.load()
    assert loaded.holdings is None
    assert holdings(loaded) == holdings(agent.state) == sum_of_holdings(agent.state)


def test_what_nobody_holds_cannot_be_given_back() -> None:
    agent = Agent(*healthy(0))
    agent.opens(1)
    amount = held_things.held(group(), agent.state.bids[lease_of(1)].placement)
    with pytest.raises(AssertionError):
        held_things.without_bid({}, NODE, amount)
    with pytest.raises(AssertionError, match="a port is held once"):
        held_things.plus(amount, amount)


def test_an_order_that_what_was_given_back_is_too_little_for_is_not_looked_at_again() -> None:
    agent = Agent(*healthy(0, 1))
    agent.opens(1)
    agent.opens(2)
    for number in range(3, 20):
        agent.opens(number, group(unit(resources(gpus=ask(2)))))
    agent.opens(20, group(unit(resources(gpus=GpuAsk()), price="0.01")))
    reasons = [waiting.refused.why for waiting in agent.state.orders.values()]
    assert reasons == [Refusal.GPU_BUSY] * 17 + [Refusal.PRICE_TOO_LOW]

    def could_fit() -> list[int]:
        room = Room.of(agent.state)
        return [key.dseq for key, waiting in agent.state.orders.items() if room.may_have(waiting)]

    agent.closes(1)
    assert could_fit() == [], "one card is free, and each of them wants two"
    agent.closes(2)
    assert lease_of(3) in agent.state.bids, "the first gets both"
    assert could_fit() == [], "and for the others there is nothing left again"
    assert order(4).id in agent.state.orders


def test_what_is_held_can_be_shown() -> None:
    """A port is a bit of a number that is too long for Python to write out."""
    agent = Agent(*healthy(0))
    agent.opens(1)
    assert "GPU-0" in repr(agent.state)


def test_the_cheaper_card_that_is_given_back_is_worth_another_look() -> None:
    dear_and_cheap = {"h100": Decimal(60_000), "l40s": Decimal(600)}
    policy = replace(POLICY, price=replace(POLICY.price, gpu_hour=dear_and_cheap))
    agent = Agent(gpu(0), gpu(1, "l40s"), policy=policy)
    anything = group(unit(resources(gpus=ask(1, GpuAlternative(vendor="nvidia"))), price=10))
    agent.opens(1, anything)
    agent.opens(2, anything)
    assert agent.state.bids[lease_of(1)].placement.gpus == ("GPU-1",)
    assert agent.state.orders[order(2).id].refused.why is Refusal.PRICE_TOO_LOW
    agent.closes(1)
    assert agent.state.bids[lease_of(2)].placement.gpus == ("GPU-1",)
