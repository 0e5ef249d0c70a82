"""What prices win: bounded, the same for the same state, and better than a fixed price in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from itertools import islice
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.core.effects import PlaceBid
from provider.core.events import OrderClosed
from provider.core.floor import WEEK_HOURS
from provider.core.learning import STEPS, Lesson, WinCurve, chances, choose, learned, step_of
from provider.core.policy import PriceFloor, PriceStrategy
from provider.core.step import Step
from provider.domain.money import Rate
from provider.sim.store import MemoryStore
from tests.agents import POLICY, Agent, gpu, group, lease_of, order, rate, unit

LIST = Decimal(1_000_000)
FLOOR, MOST = Decimal(100_000), Decimal(10_000_000)
SELLING = replace(POLICY, strategy=PriceStrategy.MARKET)

Rivals = Iterator[Decimal]


def always(share: str) -> Rivals:
    while True:
        yield LIST * Decimal(share)


def between(low: int, high: int) -> Rivals:
    """Percent of the list, evenly."""
    random = Random(5)  # noqa: S311 -- a market, and the same in every run
    while True:
        yield LIST * Decimal(random.randint(low, high)) / 100


def earned(rivals: Rivals, orders: int, *, is_published: bool, skip: int = 0) -> Decimal:
    """An order what the learner gets, once it has seen ``skip`` of them."""
    curve, total = WinCurve(), Decimal(0)
    for number, rival in enumerate(islice(rivals, orders)):
        price = choose(curve, LIST, FLOOR, MOST).hour
        is_won = price < rival
        if number >= skip:
            total += price * is_won
        lesson = Lesson(kind="h100", listed_hour=LIST, asked_hour=price)
        told = rival if is_published and not is_won else None
        curve = learned(curve, lesson, is_won=is_won, rival_hour=told)
    return total / (orders - skip)


def fixed(rivals: Rivals, orders: int, price: Decimal) -> Decimal:
    return sum((price for rival in islice(rivals, orders) if price < rival), Decimal(0)) / orders


MARKETS: dict[str, Callable[[], Rivals]] = {
    "rivals ask more": lambda: always("1.4"),
    "rivals ask far more": lambda: always("2.2"),
    "rivals ask less": lambda: always("0.75"),
    "rivals ask far less": lambda: always("0.45"),
    "dear and mixed": lambda: between(110, 220),
    "cheap and mixed": lambda: between(50, 90),
    "around the list": lambda: between(70, 150),
}


@pytest.mark.parametrize("is_published", [True, False], ids=["published", "untold"])
@pytest.mark.parametrize("market", MARKETS)
def test_it_earns_most_of_what_the_best_fixed_price_would_have(market: str, is_published: bool) -> None:
    rivals, orders = MARKETS[market], 400
    learner = earned(rivals(), orders, is_published=is_published, skip=100)
    best = max(fixed(rivals(), orders, LIST * percent / 100) for percent in map(Decimal, STEPS))
    assert learner >= best * Decimal("0.8")
    if market != "around the list":
        assert learner > fixed(rivals(), orders, LIST), "better than not looking"


def test_it_finds_its_way_back_when_the_market_turns() -> None:
    def turns() -> Rivals:
        yield from islice(always("0.6"), 300)
        yield from always("1.5")

    late = earned(turns(), 900, is_published=False, skip=700)
    assert late > LIST * Decimal("1.1")


outcomes = st.lists(
    st.tuples(st.integers(0, 3 * 10**6), st.booleans(), st.none() | st.integers(1, 3 * 10**6)), max_size=40
)


def taught(history: list[tuple[int, bool, int | None]]) -> WinCurve:
    curve = WinCurve()
    for asked, is_won, rival in history:
        lesson = Lesson(kind="h100", listed_hour=LIST, asked_hour=Decimal(asked))
        told = None if rival is None or is_won else Decimal(rival)
        curve = learned(curve, lesson, is_won=is_won, rival_hour=told)
    return curve


@given(history=outcomes, lowest=st.integers(0, 5 * 10**6), room=st.integers(0, 5 * 10**6))
def test_whatever_was_seen_a_price_is_within_its_bounds_and_the_same_twice(
    history: list[tuple[int, bool, int | None]], lowest: int, room: int
) -> None:
    curve = taught(history)
    assert all(0 <= chance <= 1 for chance in chances(curve))
    assert all(0 <= won <= tried for won, tried in zip(curve.won, curve.tried, strict=True))
    chosen = choose(curve, LIST, Decimal(lowest), Decimal(lowest + room))
    assert lowest <= chosen.hour <= lowest + room
    assert chosen == choose(taught(history), LIST, Decimal(lowest), Decimal(lowest + room))


def test_nothing_known_is_the_list_price_and_a_win_asks_a_step_more() -> None:
    curve = WinCurve()
    first = choose(curve, LIST, FLOOR, MOST)
    assert first.hour == LIST
    lesson = Lesson(kind="h100", listed_hour=LIST, asked_hour=first.hour)
    assert choose(learned(curve, lesson, is_won=True), LIST, FLOOR, MOST).hour == LIST * Decimal("1.08")
    assert choose(learned(curve, lesson, is_won=False), LIST, FLOOR, MOST).hour < LIST


def test_an_order_that_went_to_nobody_says_nothing_where_the_market_tells_who_won() -> None:
    lesson = Lesson(kind="h100", listed_hour=LIST, asked_hour=LIST)
    told = learned(WinCurve(), lesson, is_won=False, rival_hour=LIST * Decimal("0.9"))
    assert learned(told, lesson, is_won=False) == told
    assert told.won[step_of(LIST * Decimal("0.8"), LIST)] == 1
    assert told.won[step_of(LIST, LIST)] == 0


def last_rate(agent: Agent) -> Rate:
    return agent.last(PlaceBid).bid.rate


def test_an_agent_learns_from_what_it_wins_and_loses_and_remembers_it() -> None:
    agent = Agent(gpu(0), policy=SELLING)
    agent.opens()
    assert last_rate(agent) == rate("10.5"), "the list's"
    lost = OrderClosed(order=order().id, version=agent._next(), won_at=rate("7"))
    agent.take(lost)
    agent.opens(2)
    assert last_rate(agent).amount < 7
    store = MemoryStore(SELLING)
    store.commit([Step(state=agent.state)])
    assert store.load()[0].curves == agent.state.curves
    agent.awards(2)
    assert agent.state.curves["h100"].won[-1] == 0
    assert sum(agent.state.curves["h100"].won) > sum(store.load()[0].curves["h100"].won)


def test_a_bid_that_nobody_decided_on_teaches_nothing() -> None:
    agent = Agent(gpu(0), policy=SELLING)
    agent.opens()
    agent.later(POLICY.bid_lifetime)
    assert agent.state.curves == {}


@given(most=st.integers(1, 100), kwh=st.integers(0, 60_000))
def test_a_bid_by_the_market_is_between_cost_and_the_orders_most(most: int, kwh: int) -> None:
    floor = PriceFloor(kwh_dearest=(Decimal(kwh),) * WEEK_HOURS)
    agent = Agent(replace(gpu(0), power_limit_watts=1000.0), policy=replace(SELLING, floor=floor))
    agent.opens(of=group(unit(price=most)))
    if lease_of() in agent.state.bids:
        assert Decimal(kwh) / 600 <= last_rate(agent).amount <= most
    else:
        assert kwh > most * 600
