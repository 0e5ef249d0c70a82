"""Whether an order of several services is bid on, against every way there is to give its replicas cards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from provider.core import quoting
from provider.core.admission import Accepted, decide
from provider.core.choosing import numbers
from provider.core.space import free
from provider.core.state import AgentState
from provider.domain.gpu import GpuInventory
from provider.domain.ids import NodeName
from provider.domain.market import GroupSpec, Refusal, Refused
from provider.domain.node import HostCapacity, Node
from provider.domain.resources import GIB, GpuAlternative, GpuAsk
from tests import boxes
from tests.agents import CAPABLE, POLICY, START, group, order, resources, unit

MODELS = ("h100", "a100", "rtx4090", "l40s")
ROOM = HostCapacity(cpu_millis=64_000, memory_bytes=512 * GIB, storage_bytes=4096 * GIB, boot_id="boot")
ANY = (GpuAlternative(vendor="nvidia"),)


@st.composite
def hosts(draw: st.DrawFn) -> AgentState:
    """Two to five cards of any models, at prices in any order."""
    models = draw(st.lists(st.sampled_from(MODELS), min_size=2, max_size=5))
    cards = tuple(boxes.card(number, model) for number, model in enumerate(models))
    hourly = {model: Decimal(draw(st.integers(1, 9)) * 1_000) for model in MODELS}
    node = Node(name=NodeName("mixed"), capacity=ROOM, inventory=GpuInventory(gpus=cards))
    policy = replace(POLICY, price=replace(POLICY.price, gpu_hour=hourly))
    return AgentState(policy=policy, nodes=(node,), runtime=CAPABLE)


@st.composite
def groups(draw: st.DrawFn) -> GroupSpec:
    """One to three services of one or two replicas, each of up to two cards of what it can use."""
    units = []
    for number in range(1, draw(st.sampled_from((1, 1, 2, 3))) + 1):
        models = draw(st.sets(st.sampled_from(MODELS), max_size=3))
        kinds = tuple(GpuAlternative(vendor="nvidia", model=model) for model in sorted(models)) or ANY
        count = draw(st.sampled_from((0, 1, 2, 2)))
        asked = GpuAsk(units=count, alternatives=kinds if count else ())
        price = draw(st.integers(3, 24))
        units.append(
            unit(resources(number, gpus=asked, cpu_millis=100), count=draw(st.integers(1, 2)), price=price)
        )
    return group(*units)


def every_way(demands: Sequence[tuple[int, int]], left: int) -> Iterator[int]:
    """All sets of cards that serve everybody; ``demands`` are numbers of cards, each out of a set."""
    if not demands:
        yield 0
        return
    (units, cards), *rest = demands
    for those in combinations(numbers(cards & left), units):
        taken = sum(1 << card for card in those)
        yield from (taken | others for others in every_way(rest, left & ~taken))


@settings(max_examples=250, deadline=None)
@given(hosts(), groups())
def test_an_order_is_bid_on_if_there_is_any_way_to_serve_it_at_its_price(
    state: AgentState, of: GroupSpec
) -> None:
    (node,) = state.nodes
    left = free(state, node)
    demands = [
        (each.resources.gpu.units, left.topology.fitting(each.resources.gpu))
        for each in of.units
        for _ in range(each.count)
        if each.resources.gpu.units
    ]
    ways = set(every_way(demands, left.biddable))
    sold = [tuple(node.gpus[card] for card in numbers(way)) for way in ways]
    sales = [quoting.Sale(group=of, gpus=gpus, node=node, at=START) for gpus in sold]
    pays = any(not isinstance(quoting.quote(sale, state.policy), Refused) for sale in sales)
    verdict = decide(order(1, of), state, START).verdict
    assert isinstance(verdict, Accepted) is pays
    if isinstance(verdict, Refused):
        assert (verdict.why is Refusal.PRICE_TOO_LOW) is bool(ways), "where it fits, it is for the price"
