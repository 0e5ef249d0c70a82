"""Under the policy that there was every decision is the recorded one; under another, what is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, settings

from provider.core.comparing import account, totals
from provider.core.effects import PlaceBid, StartWorkload, StopWorkload
from provider.core.events import OrderClosed
from provider.core.ledger import Decided, Fate, Record, Seen, Turned
from provider.core.policy import Policy, PriceStrategy
from provider.core.replay import Replay
from provider.domain.gpu import GpuHealth
from provider.domain.market import GroupSpec, Refusal
from provider.domain.money import Denom
from provider.domain.resources import GpuAlternative
from tests.agents import (
    POLICY,
    Agent,
    ask,
    gpu,
    group,
    node,
    nodes_read,
    order,
    rate,
    resources,
    run_for,
    settle,
    unit,
)
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
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def test_bids_from_before_the_first_record_that_counts_end_together_as_they_did() -> None:
    machine = ReplayMachine()
    machine.begin(cards=0)
    for number in (3, 1, 2):
        machine.an_order_opens(number=number, of=group(unit()))
    machine.the_machine_changes(cards=[GpuHealth.HEALTHY] * 2)  # two are bid on, the third waits
    machine.the_core_is_woken_when_it_asked_to_be()
    machine.teardown()


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
    agent.opens(1, group(unit(price="0.1")))
    agent.opens(2, group(unit(resources(gpus=ask(1, GpuAlternative(vendor="nvidia", model="a100"))))))
    agent.take(nodes_read(node(gpu(0))))  # the first is too cheap now; of the second nothing is new
    before = list(agent.records)
    agent.passes(1)
    agent.take(nodes_read(node(gpu(0, "a100"))))
    later = agent.records[len(before) :]
    assert [each.order.id.dseq for each in later if isinstance(each, Decided)] == [1, 2]
    assert decisions(replayed(later, before=before)) == decisions(later)


@pytest.mark.parametrize(
    ("price", "fate"),
    [(6000, Fate.LOST), (4000, Fate.WON), (4700, Fate.WON), (4800, Fate.LOST), (9000, Fate.LOST)],
)
def test_where_the_market_tells_what_won_a_cheaper_bid_would_have(price: int, fate: Fate) -> None:
    agent = Agent(gpu(0))
    agent.opens(1)
    settle(agent, PlaceBid)
    closed(agent, 1, won_at="8.5")  # 5100 an hour: a card at 4800, and 300 for half a core
    (lost,) = [record for record in agent.records if isinstance(record, Turned) and record.fate is Fate.LOST]
    assert lost.detail == "another won at 8.5uact/block"
    made = replayed(agent.records, dearer(price))
    assert fates(made) == {1: fate}
    assert account(made).earned == {}, "nobody knows for how long"


def test_what_the_market_tells_says_of_orders_that_were_refused_too() -> None:
    agent = Agent(gpu(0), policy=dearer(600_000))
    agent.opens(1)
    closed(agent, 1, won_at="8.5")
    assert fates(replayed(agent.records, dearer(4000))) == {1: Fate.WON}
    assert fates(replayed(agent.records, dearer(9000))) == {1: Fate.LOST}


def closed(agent: Agent, number: int, won_at: str) -> None:
    agent.version += 1
    agent.take(OrderClosed(order=order(number).id, version=agent.version, won_at=rate(won_at)))


def test_under_the_strategy_that_learns_every_decision_is_the_recorded_one_too() -> None:
    policy = replace(POLICY, strategy=PriceStrategy.MARKET)
    agent = Agent(gpu(0), policy=policy)
    agent.starts_again()
    agent.take(nodes_read(node(gpu(0))))
    for number in range(1, 30):
        agent.opens(number)
        settle(agent, PlaceBid)
        closed(agent, number, won_at="9.5" if number % 3 else "12")
    assert len({each.decision.rate for each in agent.records if isinstance(each, Decided)}) > 1, "it learns"
    assert decisions(replayed(agent.records, policy)) == decisions(agent.records)
