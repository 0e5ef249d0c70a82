"""What every Ledger promises: one suite, run against memory and SQLite."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from provider.adapters.ledger import LedgerSettings, SqliteLedger
from provider.core.effects import PlaceBid, StartWorkload, StopWorkload
from provider.core.ledger import Fate, LedgerQuery, began
from provider.domain.ids import LeaseId, OrderId
from provider.domain.market import Refusal
from provider.domain.moment import Instant
from provider.ports import Ledger
from provider.sim.ledger import MemoryLedger
from tests.agents import Agent, healthy, order, settle

Scenario = Callable[[Ledger], Awaitable[None]]


@pytest.fixture(params=["memory", "sqlite"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    if request.param == "memory":
        yield MemoryLedger()
        return
    made = SqliteLedger(LedgerSettings(path=tmp_path / "ledger.db", linger_s=0))
    yield made
    made.close()


def run(scenario: Awaitable[None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scenario

    asyncio.run(bounded())


def feed(ledger: Ledger, agent: Agent) -> None:
    for record in agent.records:
        ledger.keep(record)
    agent.records.clear()


def busy() -> Agent:
    """One card: the first order is won and over, the second lost, the third open, the fourth refused."""
    agent = Agent(*healthy(0))
    agent.opens(1)
    settle(agent, PlaceBid)
    agent.awards(1)
    agent.sends(1)
    agent.done(agent.last(StartWorkload))
    agent.ends(1)
    agent.done(agent.last(StopWorkload))
    agent.opens(2)
    settle(agent, PlaceBid)
    agent.closes(2)
    agent.opens(3)
    settle(agent, PlaceBid)
    agent.opens(4)
    return agent


def numbers(stories: tuple[object, ...]) -> list[int]:
    return [story.decided.order.id.dseq for story in stories]  # type: ignore[attr-defined]


def test_decisions_are_told_open_ones_first_with_what_came_of_them(ledger: Ledger) -> None:
    async def scenario() -> None:
        feed(ledger, busy())
        told = await ledger.stories(LedgerQuery())
        assert numbers(told) == [3, 4, 2, 1]
        fates = [story.fate for story in told]
        assert fates == [Fate.SUBMITTED, Fate.REFUSED, Fate.LOST, Fate.ENDED]
        assert told[1].decided.why is Refusal.GPU_BUSY
        assert [turn.fate for turn in told[3].turns] == [Fate.SUBMITTED, Fate.WON, Fate.ENDED]
        assert told[3].turns[-1].earned is not None

    run(scenario())


def test_decisions_are_found_by_outcome_reason_time_and_number(ledger: Ledger) -> None:
    async def scenario() -> None:
        agent = busy()
        feed(ledger, agent)
        agent.passes(60_000)
        agent.opens(5)
        feed(ledger, agent)
        assert numbers(await ledger.stories(LedgerQuery(fates=frozenset({Fate.LOST, Fate.ENDED})))) == [2, 1]
        assert numbers(await ledger.stories(LedgerQuery(reasons=frozenset({Refusal.GPU_BUSY})))) == [5, 4]
        assert numbers(await ledger.stories(LedgerQuery(since=agent.at))) == [5]
        assert numbers(await ledger.stories(LedgerQuery(limit=2))) == [3, 5]
        assert await ledger.stories(LedgerQuery(since=Instant(agent.at + 1))) == ()

    run(scenario())


def test_an_order_that_was_considered_again_has_both_decisions(ledger: Ledger) -> None:
    async def scenario() -> None:
        agent = busy()
        agent.closes(3)
        feed(ledger, agent)
        first, second = await ledger.of_order(order(4).id)
        assert (first.fate, first.decided.is_again, first.turns) == (Fate.REFUSED, False, ())
        assert (second.fate, second.decided.is_again) == (Fate.DECIDED, True)
        assert second.decided.decision.rate is not None
        assert second.decided.order == order(4)
        assert await ledger.of_order(OrderId.parse("nobody/1/1/1")) == ()

    run(scenario())


def test_what_the_store_holds_at_a_start_is_open_and_the_rest_has_an_unknown_end(
    ledger: Ledger,
) -> None:
    async def scenario() -> None:
        agent = busy()
        feed(ledger, agent)
        agent.closes(3)  # by which the fourth gets its card; the daemon is killed, and none of it was written
        assert [bid.dseq for bid in agent.state.bids] == [4]
        ledger.keep(began(agent.state, agent.at))
        fates = {(s.decided.order.id.dseq, s.fate) for s in await ledger.stories(LedgerQuery())}
        assert fates >= {(3, Fate.UNKNOWN), (4, Fate.REFUSED), (4, Fate.DECIDED)}
        agent.records.clear()
        agent.awards(4)
        feed(ledger, agent)
        assert [story.fate for story in await ledger.of_order(order(4).id)] == [Fate.REFUSED, Fate.WON]
        ledger.keep(began(agent.state, agent.at))
        assert [story.fate for story in await ledger.of_order(order(4).id)] == [Fate.REFUSED, Fate.WON]

    run(scenario())


def test_a_late_word_of_the_market_does_not_undo_the_end_of_a_bid(ledger: Ledger) -> None:
    async def scenario() -> None:
        agent = Agent(*healthy(0))
        agent.opens(1)
        placed = agent.last(PlaceBid)
        agent.closes(1)
        agent.done(placed)
        feed(ledger, agent)
        (story,) = await ledger.of_order(order(1).id)
        assert story.fate is Fate.LOST
        assert isinstance(placed.bid.id, LeaseId)

    run(scenario())
