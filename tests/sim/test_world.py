"""Simulated worlds from many seeds, each with its weather and disasters (``provider.sim.world``)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from provider.sim.checkers import Broken
from provider.sim.faults import Fault
from provider.sim.world import MARKETS, Size, World, again

SEEDS = range(1, 51)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_promise_is_kept(seed: int) -> None:
    World(seed).run()


def test_the_worlds_are_worth_looking_at() -> None:
    """All disasters come, leases are many, and they end for many reasons."""
    faults: Counter[Fault] = Counter()
    reasons: Counter[str] = Counter()
    sold_in: Counter[str] = Counter()
    leases = 0
    for seed in range(51, 66):
        world = World(seed)
        outcome = world.run()
        leases += outcome.leases
        faults.update(disaster.fault for disaster in outcome.disasters)
        for market in world.markets:
            reasons.update(row.reason or "" for row in market.book.leases.values())
            sold_in[market.id] += len(market.book.leases)
    assert set(faults) == set(Fault)
    assert leases > 40
    assert len(reasons) >= 5, reasons
    assert min(sold_in[market] for market in MARKETS) > 10, sold_in


def test_a_crowd_in_two_markets_is_sold_nothing_twice_and_leaves_nothing_reserved() -> None:
    """Many orders for a few GPUs: most wait in vain, and whatever is free goes to one of them. For thousands:
    ``python -m provider.sim --seed 99 --markets 2 --agents 2 --tenants 2000``."""
    world = World(99, Size(markets=2, agents=2, tenants=240))
    outcome = world.run()
    assert [len(market.book.orders) for market in world.markets] == [120, 120]
    assert min(len(market.book.leases) for market in world.markets) > 30
    struck = {disaster.fault for disaster in outcome.disasters}
    assert Fault.LINK_IS_CUT in struck
    assert struck & {Fault.AGENT_CRASHES, Fault.HOST_REBOOTS}


def test_the_same_seed_gives_the_same_trace_and_another_another() -> None:
    assert World(7).run().trace == World(7).run().trace
    assert World(7).run().trace != World(8).run().trace


def test_the_trace_is_the_same_in_another_process() -> None:
    """Nothing depends on how Python hashes text today."""
    command = [sys.executable, "-m", "provider.sim", "--seed", "3", "--runs", "1"]
    said = [
        subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": salt}, check=True, capture_output=True)
        for salt in ("1", "2")
    ]
    assert said[0].stdout == said[1].stdout
    assert b"every promise was kept" in said[0].stdout


def test_a_broken_promise_says_how_to_see_it_again() -> None:
    world = World(4)

    def nobody(_before: object, _after: object) -> None:
        raise Broken("a promise for this test")

    world.markets[0].watch = nobody
    with pytest.raises(Broken) as broken:
        world.run()
    assert broken.value.__notes__ == [again(4)]
    assert again(4) == "see it again with: make sim SEED=4 RUNS=1"
