"""Under the policy that there was every decision is the recorded one; under another, what is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, settings

from provider.core.comparing import account, totals
from provider.core.effects import PlaceBid, StartWorkload, StopWorkload
from provider.core.ledger import Decided, Fate, Record, Seen
from provider.core.policy import Policy
from provider.core.replay import Replay
from provider.domain.market import GroupSpec, Refusal
from provider.domain.money import Denom
from tests.agents import POLICY, Agent, gpu, group, node, nodes_read, run_for, settle, unit
from tests.unit.core.test_agent_random import AgentMachine


def replayed(
    records: Iterable[Record], policy: Policy = POLICY, before: Sequence[Record] = ()
) -> list[Record]:
    replay = Replay(policy)
    replay.begin(before)
    for record in records:
        replay.take(record)
    return replay.made


def decisions(records: Iterable[Record]) -> list[object]:
    """What was decided, without what a replay cannot have: the time it took, the market's counter."""
    return [replace(each, took_us=0, version=0) for each in records if isinstance(each, Decided)]


class ReplayMachine(AgentMachine):
    """Whatever happens to the agent, its records say enough."""

    def it_crashes(self) -> None:
        super().it_crashes()
        self.agent.starts_again()

    def teardown(self) -> None:
        super().teardown()
        records = self.agent.records
        assert decisions(replayed(records)) == decisions(records)
        cut = records[len(records) // 2].at
        before = [record for record in records if record.at <= cut]
        later = [record for record in records if record.at > cut]
        assert decisions(replayed(later, before=before)) == decisions(later)


TestReplay = ReplayMachine.TestCase
TestReplay.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


# --- another policy


def dearer(gpu_hour: int) -> Policy:
    return replace(POLICY, price=replace(POLICY.price, gpu_hour={"*": Decimal(gpu_hour)}))


def ended(agent: Agent, number: int, of: GroupSpec | None = None) -> None:
    """A lease of ten minutes, from its order to the last container's removal."""
    agent.opens(number, of)
    settle(agent, PlaceBid)
    agent.awards(number)
    agent.sends(number)
    agent.done(agent.last(StartWorkload))
    run_for(agent, agent.launch(), 600_000)
    agent.ends(number)
    agent.done(agent.last(StopWorkload))


def fates(records: Iterable[Record]) -> dict[int, Fate]:
    return {order.dseq: outcome.fate for order, outcome in account(records).outcomes.items()}


def test_what_won_wins_cheaper_too_and_earns_less() -> None:
    agent = Agent(gpu(0))
    ended(agent, 1)
    really = account(agent.records)
    cheaper = account(replayed(agent.records, dearer(3000)))
    assert fates(agent.records) == fates(replayed(agent.records, dearer(3000))) == {1: Fate.ENDED}
    # half a core at 600 and a card at 6000, or 3000, an hour: ten minutes
    assert (really.earned[Denom.UACT], cheaper.earned[Denom.UACT]) == (1050, 550)


def test_whether_what_won_would_win_dearer_nobody_knows() -> None:
    agent = Agent(gpu(0))
    ended(agent, 1)
    made = replayed(agent.records, dearer(9000))
    assert fates(made) == {1: Fate.UNKNOWN}
    told = totals(account(made))
    assert (told.won, told.lost, told.unknown, dict(told.earned)) == (0, 0, 1, {})
    assert told.unknown_hour == {Denom.UACT: Decimal(9300)}


@pytest.mark.parametrize(("price", "fate"), [(6000, Fate.LOST), (9000, Fate.LOST), (3000, Fate.UNKNOWN)])
def test_what_was_lost_is_lost_dearer_too_and_not_known_cheaper(price: int, fate: Fate) -> None:
    agent = Agent(gpu(0))
    agent.opens(1)
    settle(agent, PlaceBid)
    agent.closes(1)
    assert fates(replayed(agent.records, dearer(price))) == {1: fate}


def test_a_bid_that_the_market_did_not_take_is_not_taken_dearer_either() -> None:
    agent = Agent(gpu(0))
    agent.opens(1)
    agent.fails(agent.last(PlaceBid), final=True)
    assert fates(agent.records) == {1: Fate.REJECTED}
    assert fates(replayed(agent.records, dearer(9000))) == {1: Fate.REJECTED}
    assert fates(replayed(agent.records, dearer(3000))) == {1: Fate.UNKNOWN}


def test_what_was_refused_and_would_be_bid_on_holds_its_card_until_the_order_is_gone() -> None:
    agent = Agent(gpu(0), policy=dearer(600_000))
    agent.opens(1)
    agent.opens(2)
    agent.closes(1)
    agent.closes(2)
    made = replayed(agent.records, dearer(6000))
    assert fates(agent.records) == {1: Fate.REFUSED, 2: Fate.REFUSED}
    assert fates(made) == {1: Fate.UNKNOWN, 2: Fate.UNKNOWN}
    reasons = [each.why for each in made if isinstance(each, Decided)]
    assert reasons == [None, Refusal.GPU_BUSY, None], "the second gets the card when the first is gone"


def test_a_bid_that_was_never_made_expires() -> None:
    agent = Agent(gpu(0), policy=dearer(600_000))
    agent.opens(1)
    agent.passes(POLICY.bid_lifetime + 1)
    agent.opens(2)
    made = replayed(agent.records, dearer(6000))
    assert fates(made) == {1: Fate.EXPIRED, 2: Fate.DECIDED}


def test_with_the_inventory_of_now_more_is_bid_on() -> None:
    agent = Agent(gpu(0))
    agent.opens(1)
    agent.opens(2)
    agent.take(nodes_read(node(gpu(0), gpu(1))))
    now = next(record for record in reversed(agent.records) if isinstance(record, Seen))
    replay = Replay(POLICY, inventory=now)
    for record in agent.records:
        replay.take(record)
    assert [each.why for each in replay.made if isinstance(each, Decided)] == [None, None]
    really = [each.why for each in agent.records if isinstance(each, Decided)]
    assert really == [None, Refusal.GPU_BUSY, None]


def test_what_was_lost_with_a_killed_daemon_has_an_unknown_end_on_both_sides() -> None:
    agent = Agent(gpu(0), gpu(1))
    agent.opens(1)
    agent.opens(2)
    agent.awards(2)
    kept = list(agent.records)
    agent.closes(1)
    agent.records.clear()
    agent.starts_again()
    agent.take(nodes_read(node(gpu(0), gpu(1))))
    agent.opens(3)
    records = kept + agent.records
    assert fates(records) == {1: Fate.UNKNOWN, 2: Fate.WON, 3: Fate.DECIDED}
    assert fates(replayed(records)) == fates(records)


def test_what_began_while_nothing_was_written_is_taken_up_from_the_start() -> None:
    agent = Agent(gpu(0))
    agent.opens(1)
    agent.awards(1)
    seen = [record for record in agent.records if isinstance(record, Seen)]
    agent.records.clear()
    agent.starts_again()
    agent.take(nodes_read(node(gpu(0))))
    agent.opens(2)
    made = replayed(seen + agent.records)
    assert [each.why for each in made if isinstance(each, Decided)] == [None, Refusal.GPU_BUSY]


def test_what_waits_keeps_its_place_when_it_is_looked_at_again() -> None:
    agent = Agent()
    agent.take(nodes_read(node()))
    agent.opens(1)
    agent.opens(3, group(unit(price="0.1")))
    agent.opens(2, group(unit(count=2)))
    agent.take(nodes_read(node(gpu(0))))
    before = list(agent.records)
    agent.passes(1)
    agent.take(nodes_read(node()))
    later = agent.records[len(before) :]
    assert [each.order.id.dseq for each in later if isinstance(each, Decided)] == [3, 2]
    assert decisions(replayed(later, before=before)) == decisions(later)
