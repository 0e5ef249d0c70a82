"""Near CPUs and memory: for whom, how much of them, and never so that something does not fit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provider.core import launching
from provider.core.bid_policy import BidPolicy, NumaPinning, Overcommit
from provider.core.holdings import UNHELD
from provider.core.policy import Policy
from provider.core.state import holdings
from provider.domain.market import GroupSpec
from provider.domain.node import HostCapacity, Node, NumaNode
from provider.domain.resources import GIB, GpuAlternative, GpuAsk
from tests import boxes
from tests.agents import NODE, POLICY, Agent, ask, group, lease_of, nodes_read, resources, unit

TWO_SOCKETS = HostCapacity(
    cpu_millis=16_000,
    memory_bytes=64 * GIB,
    storage_bytes=512 * GIB,
    boot_id="boot",
    numa=(
        NumaNode(number=0, cpus="0-3,8-11", cpu_count=8, memory_bytes=4 * GIB),
        NumaNode(number=1, cpus="4-7,12-15", cpu_count=8, memory_bytes=4 * GIB),
    ),
)
ANY = GpuAlternative(vendor="nvidia")


def agent(numa: NumaPinning = NumaPinning.CPUS, capacity: HostCapacity = TWO_SOCKETS) -> Agent:
    made = Agent(policy=under(numa))
    made.take(nodes_read(Node(name=NODE, capacity=capacity, inventory=boxes.four_4090())))
    return made


def under(numa: NumaPinning, overcommit: Overcommit | None = None) -> Policy:
    return replace(POLICY, bids=BidPolicy(numa=numa, overcommit=overcommit or Overcommit()))


def cards(units: int, *, cpu_millis: int = 500) -> GroupSpec:
    return group(unit(resources(gpus=ask(units, ANY), cpu_millis=cpu_millis)))


def placed(of: Agent, number: int) -> tuple[int | None, str, str]:
    placement = of.state.bids[lease_of(number)].placement
    return placement.numa_node, placement.cpus, placement.memory_nodes


def test_cards_of_one_socket_come_with_its_cpus() -> None:
    here = agent()
    here.opens(1, cards(2))
    here.opens(2, cards(2))
    assert placed(here, 1) == (0, "0-3,8-11", "")
    assert placed(here, 2) == (1, "4-7,12-15", "")


def test_cards_of_both_sockets_and_no_cards_are_held_to_nothing() -> None:
    here = agent()
    here.opens(1, cards(4))
    here.opens(2, group(unit(resources(gpus=GpuAsk()))))
    assert placed(here, 1) == placed(here, 2) == (None, "", "")


@pytest.mark.parametrize(
    ("numa", "capacity"),
    [
        (NumaPinning.OFF, TWO_SOCKETS),
        (NumaPinning.CPUS, replace(TWO_SOCKETS, numa=())),
        (NumaPinning.CPUS, replace(TWO_SOCKETS, numa=TWO_SOCKETS.numa[:1])),
    ],
)
def test_where_there_is_one_side_or_nobody_wants_it_nothing_is_held(
    numa: NumaPinning, capacity: HostCapacity
) -> None:
    here = agent(numa, capacity)
    here.opens(1, cards(1))
    assert placed(here, 1) == (None, "", "")


def test_a_socket_whose_cpus_are_promised_is_not_promised_again_and_the_order_still_fits() -> None:
    here = agent()
    here.opens(1, cards(1, cpu_millis=5_000))
    here.opens(2, cards(1, cpu_millis=5_000))
    assert placed(here, 1)[0] == 0
    assert here.state.bids[lease_of(2)].placement.gpus == ("GPU-1",), "the other card of the broken set"
    assert placed(here, 2) == (None, "", ""), "8 cores, of which 5 are held"
    held = holdings(here.state).get(NODE, UNHELD).bids
    assert held.numa_cpu_millis == {0: 5_000}
    here.closes(1)
    here.closes(2)
    assert holdings(here.state) == {}


def test_strict_is_memory_too_and_leases_that_are_held_to_no_node_may_be_anywhere() -> None:
    here = agent(NumaPinning.STRICT)
    here.opens(1, cards(2))
    assert placed(here, 1) == (0, "0-3,8-11", "0")
    for number in (2, 3, 4):
        here.opens(number, group(unit(resources(gpus=GpuAsk()))))
    here.opens(5, cards(2))
    assert placed(here, 5) == (1, "4-7,12-15", "1"), "3 of 4 GiB may be in use there"
    here.closes(5)
    here.opens(6, group(unit(resources(gpus=GpuAsk()))))
    here.opens(7, cards(2))
    assert placed(here, 7) == (None, "", ""), "4 of 4 may be"


def test_what_a_lease_is_held_to_is_what_it_is_launched_with() -> None:
    here = agent(NumaPinning.STRICT)
    here.run(1, cards(2))
    launch = launching.launch(here.lease(1), here.state.policy)
    assert (launch.cpus, launch.memory_nodes) == ("0-3,8-11", "0")
