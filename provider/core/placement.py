"""Which GPUs, how much of the node, which ports: exactly, at bid time.

Owns the question "does it fit, and where". Capacity is held from bid to outcome; what is left of it is
``space``'s, which of several cards ``choosing``'s, or ``affording``'s where the best are too dear.
Deterministic: the same state and order give the same placement. Invariant: no GPU is in two leases, and none
that is not healthy is placed at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from provider.core import disk_space
from provider.core.affording import Wish, affordable
from provider.core.cards import fits
from provider.core.choosing import Demand, cheapest, choose, numbers
from provider.core.needs import Need, need
from provider.core.numa import nearby
from provider.core.policy import Policy
from provider.core.space import Free, free, shortage
from provider.core.state import AgentState
from provider.core.topology import Topology, bond
from provider.domain.gpu import Gpu, GpuHealth
from provider.domain.market import GroupSpec, Placement, Refusal, Refused, UnitPlacement
from provider.domain.moment import Instant
from provider.domain.node import Node
from provider.domain.resources import ResourceUnit

Chosen = Mapping[tuple[int, int], tuple[int, ...]]
"""The cards of each replica, by resource unit and number."""
Choice = tuple[Chosen, int, str]
"""That, out of which cards, and why not the best; empty where they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """A place that has all of it, and why these cards and no others, one line."""

    placement: Placement
    node: Node
    gpus: tuple[Gpu, ...]
    """All of its cards, by index."""
    why: str


def place(state: AgentState, group: GroupSpec) -> Placement | Refused:
    """The best place on the first node on which all of ``group`` fits, or the first node's reason."""
    refused = None
    for pick in picks(state, group):
        if isinstance(pick, Pick):
            return pick.placement
        refused = refused or pick
    assert refused is not None, "there is a reason where there is no place"
    return refused


def picks(state: AgentState, group: GroupSpec, at: Instant | None = None) -> Iterator[Pick | Refused]:
    """Node after node the best place there, then others for whom that is too dear, or why there is none.

    Others are the cheapest by the list; then, with ``at``, what the order pays for if there is anything.
    """
    needed = need(group)
    if state.policy.ingress is not None:
        needed = replace(needed, ports=needed.ports - needed.http_ports)
    by_disk = disk_space.by_disk(needed.storage, state.runtime)
    for node in state.nodes:
        left = free(state, node)
        short = shortage(left, needed, by_disk)
        if short is not None:
            yield short
            continue
        is_found = False
        for choice in _choices(left, group, state.policy, node, at):
            is_found = True
            yield _pick(state, node, needed, left, choice)
        if not is_found:
            yield _why_no_gpu(left, group)
    if not state.nodes:
        yield Refused(why=Refusal.CPU_SHORT, required="a node", available="none")


def _choices(
    left: Free, group: GroupSpec, policy: Policy, node: Node, at: Instant | None
) -> Iterator[Choice]:
    """The best cards of those that nobody holds and those that are cheaper, then of those in one bid too, and
    so on."""
    cards, demands = left.topology, _demands(left.topology, group)
    for pool in left.pools:
        best = choose(cards, demands, pool)
        if best is None:
            continue
        yield best, pool, ""
        if len(cards.ranks) > 1:
            thrifty = cheapest(demands, sorted(numbers(pool), key=cards.worth.__getitem__))
            worth = sum(cards.worth[card] for those in best.values() for card in those)
            if worth > sum(cards.worth[card] for card in numbers(thrifty)):
                yield _chosen(cards, demands, thrifty), pool, ", the cheapest by the list"
        if at is None or policy.floor is None:
            continue
        wish = Wish(group=group, node=node, at=at)
        paid = affordable(wish, policy, cards, demands, pool)
        if paid is not None:
            yield _chosen(cards, demands, paid), pool, ", of those that the order pays for"


def _chosen(cards: Topology, demands: Sequence[Demand], those: int) -> Chosen:
    chosen = choose(cards, demands, those)
    assert chosen is not None, "they were found to serve everybody"
    return chosen


def _demands(cards: Topology, group: GroupSpec) -> list[Demand]:
    made = []
    for unit in group.units:
        ask = unit.resources.gpu
        those = cards.fitting(ask) if ask.units else 0
        for replica in range(unit.count):
            made.append(Demand(resources_id=unit.resources.id, replica=replica, units=ask.units, cards=those))
    return made


def _pick(state: AgentState, node: Node, needed: Need, left: Free, choice: Choice) -> Pick:
    (chosen, pool, cheaper), cards = choice, left.topology.cards
    placement = Placement(
        node=node.name,
        replicas=tuple(
            UnitPlacement(
                resources_id=resources_id, replica=replica, gpus=tuple(cards[card].uuid for card in those)
            )
            for (resources_id, replica), those in sorted(chosen.items())
        ),
        host_ports=_lowest(left.open_ports, state.policy.port_range[0], needed.ports),
        simulated_gpus=node.inventory.simulated,
    )
    taken = sorted(card for those in chosen.values() for card in those)
    gpus = tuple(cards[card] for card in taken)
    placement = nearby(state, node, needed, gpus, placement) if gpus else placement
    why = _why(left.topology, chosen, pool, placement) + cheaper
    return Pick(placement=placement, node=node, gpus=gpus, why=why)


def _lowest(bits: int, first: int, count: int) -> tuple[int, ...]:
    """The ``count`` lowest ports of ``bits``, of which bit 0 is ``first``."""
    ports = []
    for _ in range(count):
        lowest = bits & -bits
        ports.append(first + lowest.bit_length() - 1)
        bits ^= lowest
    return tuple(ports)


def _why(cards: Topology, chosen: Chosen, pool: int, placement: Placement) -> str:
    """``2 of 8 free cards, joined by nvlink x4, no set of near cards is broken``."""
    taken = 0
    narrowest: int | None = None
    for those in chosen.values():
        for card in those:
            taken |= 1 << card
        for one, other in combinations(those, 2):
            width = cards.widths[one][other]
            narrowest = width if narrowest is None else min(narrowest, width)
    if not taken:
        return ""
    said = f"{taken.bit_count()} of {pool.bit_count()} free cards"
    if narrowest is not None:
        said += f", joined by {bond(narrowest)}"
    if cards.islands:
        split = (pool & island for island in cards.islands if taken & island and pool & island & ~taken)
        broken = max((cut.bit_count() for cut in split), default=0)
        said += f", out of a set of {broken} near ones" if broken > 1 else ", no set of near ones is broken"
    if placement.numa_node is not None:
        said += f", with the CPUs of NUMA node {placement.numa_node}"
    return said


def _why_no_gpu(left: Free, group: GroupSpec) -> Refused:
    """The first unit that cannot be served, by itself or beside those before it."""
    cards = left.topology
    pool = left.biddable
    waiting = sorted(
        (unit for unit in group.units if unit.resources.gpu.units),
        key=lambda unit: ((cards.fitting(unit.resources.gpu) & pool).bit_count(), unit.resources.id),
    )
    served: list[Demand] = []
    for unit in waiting:
        alone = replace(group, units=(unit,))
        served += _demands(cards, alone)
        if choose(cards, served, pool) is None:
            return _short_of(cards, pool, unit)
    raise AssertionError("somebody cannot be served")


def _short_of(cards: Topology, pool: int, unit: ResourceUnit) -> Refused:
    ask = unit.resources.gpu
    required = f"{ask.units * unit.count} of {' or '.join(each.key() for each in ask.alternatives)}"
    of_kind = [gpu for gpu in cards.cards if fits(gpu, ask)]
    well = [gpu for gpu in of_kind if gpu.health is GpuHealth.HEALTHY]
    if len(of_kind) < ask.units:
        return Refused(why=Refusal.GPU_UNKNOWN, required=required, available=_kinds(cards.cards))
    if len(well) < ask.units:
        return Refused(why=Refusal.GPU_UNHEALTHY, required=required, available=f"{len(well)} healthy")
    unheld = (cards.fitting(ask) & pool).bit_count()
    return Refused(why=Refusal.GPU_BUSY, required=required, available=f"{unheld} free")


def _kinds(gpus: Sequence[Gpu]) -> str:
    return ", ".join(sorted({gpu.model for gpu in gpus})) or "no GPU"
