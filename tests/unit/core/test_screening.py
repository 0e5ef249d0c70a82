"""A dry run says what the order would get, and leaves no trace."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from provider.core.admission import Accepted
from provider.core.agent import transition
from provider.core.events import DrainSet, OrderOpened
from provider.core.screening import for_strangers, order_of, screen
from provider.core.step import OrderConsidered
from provider.domain.gpu import GpuHealth
from provider.domain.ids import MarketId, Owner
from provider.domain.market import GroupSpec, Refusal, Refused
from provider.domain.resources import GpuAlternative
from tests.agents import Agent, ask, gpu, group, order, resources, sole, unit

MODELS = ("h100", "a100")
KINDS = tuple(GpuAlternative(vendor="nvidia", model=model) for model in MODELS)


@st.composite
def groups(draw: st.DrawFn) -> GroupSpec:
    units = [
        unit(
            resources(
                number,
                gpus=ask(draw(st.integers(1, 3)), draw(st.sampled_from(KINDS))),
                cpu_millis=draw(st.sampled_from([500, 6000])),
            ),
            count=draw(st.integers(1, 2)),
            price=draw(st.sampled_from([1, 100])),
        )
        for number in range(1, draw(st.integers(1, 2)) + 1)
    ]
    return group(*units)


@st.composite
def agents(draw: st.DrawFn) -> Agent:
    """With cards of two kinds, some sick, some orders behind it; draining, or not read yet, too."""
    health = st.sampled_from([GpuHealth.HEALTHY, GpuHealth.HEALTHY, GpuHealth.UNHEALTHY])
    cards = [
        gpu(number, draw(st.sampled_from(MODELS)), health=draw(health))
        for number in range(draw(st.integers(0, 6)))
    ]
    agent = Agent(*cards)
    for number in range(1, draw(st.integers(0, 4)) + 1):
        agent.opens(number, draw(groups()))
        if order(number).id.lease(agent.state.policy.provider) in agent.state.bids and draw(st.booleans()):
            agent.awards(number)
    if draw(st.integers(0, 9)) == 0:
        agent.take(DrainSet(is_draining=True))
    return agent


@given(agents(), groups())
def test_what_is_screened_is_what_an_order_gets(agent: Agent, wanted: GroupSpec) -> None:
    before = agent.state
    told = screen(order_of(Owner("alice"), wanted), before, agent.at)
    assert agent.state is before
    new = replace(order(99), group=wanted)
    step = transition(before, OrderOpened(order=new, version=agent.version + 1), agent.at)
    real = sole(step.notes, OrderConsidered).decision.verdict
    if isinstance(told, Accepted):
        assert isinstance(real, Accepted)
        bid = new.id.lease(before.policy.provider)
        assert replace(told, bid=replace(told.bid, id=bid)) == real
        assert bid in step.state.bids
        assert bid not in before.bids
    else:
        assert told == real


def test_an_order_of_a_hundred_dry_runs_is_still_bid_on() -> None:
    agent = Agent(gpu(0))
    for _ in range(100):
        assert isinstance(screen(order_of(Owner("bob"), group()), agent.state, agent.at), Accepted)
    assert agent.kinds(agent.opens()) == ["PlaceBid"]


def test_strangers_are_not_told_how_weak_the_engine_is() -> None:
    unfit = Refused(why=Refusal.RUNTIME_UNFIT, required="runc 1.2.8", available="1.1.12")
    assert for_strangers(unfit) == Refused(why=Refusal.RUNTIME_UNFIT)
    busy = Refused(why=Refusal.GPU_BUSY, required="1 of h100", available="0 free")
    assert for_strangers(busy) == busy


def test_the_order_that_stands_for_theirs_is_of_nobody_else() -> None:
    agent = Agent(gpu(0))
    told = screen(order_of(Owner("carol"), group()), agent.state, agent.at)
    assert isinstance(told, Accepted)
    assert told.bid.id.owner == "carol"
    elsewhere = order_of(Owner("carol"), group(), MarketId("west"))
    assert elsewhere.id.owner == "carol@west"
