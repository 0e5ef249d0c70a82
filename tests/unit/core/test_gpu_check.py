"""The check after a lease: a card is sold again once somebody looked and found it clean."""

from __future__ import annotations

from dataclasses import replace

from provider.core.effects import StopWorkload
from provider.domain.gpu import GpuHealth
from provider.domain.gpu_health import GpuSignal
from provider.domain.moment import MINUTE, SECOND
from provider.domain.resources import MIB
from tests.agents import (
    Agent,
    gpu,
    lease_of,
    node,
    nodes_read,
    settle,
)
from tests.cards import CAREFUL, Card, run, running

S = GpuSignal


# --- the check after a lease


def closed() -> Card:
    card = running()
    card.look(memory_used_bytes=20_000 * MIB, strangers=())
    card.agent.ends()
    settle(card.agent, StopWorkload)
    assert card.agent.state.leases == {}
    return card


def test_a_card_is_not_sold_before_somebody_looked() -> None:
    card = closed()
    card.agent.opens(2)
    assert card.agent.state.bids == {}
    card.look(memory_used_bytes=0)
    assert card.agent.state.bids == {}, "that reading is as old as the lease's end"
    card.agent.passes(SECOND)
    card.look(memory_used_bytes=0)
    assert lease_of(2) in card.agent.state.bids
    assert card.signals == set()


def test_a_card_whose_memory_comes_back_late_is_sold_late() -> None:
    card = closed()
    card.looks_for(50 * SECOND, memory_used_bytes=20_000 * MIB)
    assert card.signals == {S.AWAITING_CHECK}
    card.agent.passes(SECOND)
    card.look(memory_used_bytes=400 * MIB)
    assert card.signals == set()


def test_a_card_that_is_not_clean_within_its_minute_is_degraded_until_it_is() -> None:
    card = closed()
    card.looks_for(70 * SECOND, memory_used_bytes=20_000 * MIB)
    assert card.signals == {S.AWAITING_CHECK, S.NOT_CLEAN}
    card.looks_for(4 * MINUTE, memory_used_bytes=0)
    assert card.signals == {S.NOT_CLEAN}
    card.looks_for(MINUTE + 5 * SECOND, memory_used_bytes=0)
    assert card.now() is GpuHealth.HEALTHY


def test_memory_that_fills_up_while_nobody_has_the_card_is_somebodys() -> None:
    card = Card()
    card.look(memory_used_bytes=0)
    card.looks_for(MINUTE + 5 * SECOND, memory_used_bytes=501 * MIB)
    assert card.signals == {S.NOT_CLEAN}


def test_a_process_that_stayed_keeps_a_card_off_sale() -> None:
    card = closed()
    card.looks_for(5 * MINUTE, strangers=("process 42 (python)",), memory_used_bytes=0)
    assert {S.AWAITING_CHECK, S.NOT_CLEAN} <= card.signals
    assert "process 42 (python)" in (card.agent.state.nodes[0].gpus[0].problem or "")


def test_what_cannot_be_told_does_not_block() -> None:
    card = closed()
    card.agent.passes(SECOND)
    card.look(strangers=None)
    assert card.now() is GpuHealth.HEALTHY


def test_blindness_does_not_pass_a_check() -> None:
    card = closed()
    card.looks_for(5 * MINUTE, is_told=False)
    assert S.AWAITING_CHECK in card.signals


def test_the_check_survives_a_restart() -> None:
    card = closed()
    card.watch = type(card.watch)()
    card.agent.take(nodes_read(node(gpu(0))))
    card.agent.opens(2)
    assert card.agent.state.bids == {}


def test_simulated_cards_are_on_sale_at_once() -> None:
    agent = Agent(policy=CAREFUL)
    cards = node(replace(gpu(0), simulated=True))
    agent.take(nodes_read(replace(cards, inventory=replace(cards.inventory, simulated=True))))
    run(agent)
    agent.ends()
    agent.opens(2)
    settle(agent, StopWorkload)
    assert lease_of(2) in agent.state.bids
    assert agent.state.gpu_records == {}
