"""Ports that somebody listens on: ours are not for sale twice, others' not at all."""

from __future__ import annotations

from dataclasses import replace

from provider.shell.sources import for_sale
from provider.sim.store import MemoryStore
from tests.agents import POLICY, Agent, healthy


def test_what_our_leases_and_bids_have_is_nobody_elses() -> None:
    agent, store = Agent(*healthy(0, 1)), MemoryStore(POLICY)
    agent.begin(1)
    step = agent.opens(2)
    busy = frozenset({80, 30_999, 31_000, 31_001, 31_002, 31_009, 31_010})
    assert for_sale(busy, agent.state) == {31_002, 31_009}, "31000 is the lease's, 31001 the bid's"
    store.commit([replace(step, touched=None)])
    loaded, _ = store.load()
    assert for_sale(busy, loaded) == {31_002, 31_009}, "right after a start, too"
    agent.closes(2)
    assert for_sale(busy, agent.state) == {31_001, 31_002, 31_009}
