"""How the cards of a host hang together: which pairs are wide, and which sets are worth keeping whole.

Worked out once an inventory, because a decision has no time for it. Cards are numbered by their place in the
inventory, and a set of them is an integer with a bit for each. Invariant: a function of inventory and prices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from provider.core.cards import fits
from provider.core.gpu_keys import look_up
from provider.core.remembered import by_identity
from provider.domain.gpu import Gpu, GpuHealth, GpuInventory, GpuLink, GpuLinkKind
from provider.domain.ids import GpuUuid
from provider.domain.resources import GpuAsk

_WIDTHS: Mapping[GpuLinkKind, int] = {
    GpuLinkKind.SYSTEM: 0,
    GpuLinkKind.NUMA_NODE: 1,
    GpuLinkKind.HOST_BRIDGE: 2,
    GpuLinkKind.PCIE_SWITCHES: 3,
    GpuLinkKind.PCIE_SWITCH: 4,
    GpuLinkKind.NVLINK: 5,
    GpuLinkKind.NVSWITCH: 100,
}
"""The order of bonds. An NVLink is as wide as it has lanes, on top of that."""
ONE_CARD = 200
"""Instances of one card."""
KEPT_MOST = 16
"""Inventories whose topology is remembered: one a node, and those of a moment ago."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """Of one inventory."""

    cards: tuple[Gpu, ...]
    numbers: Mapping[GpuUuid, int]
    sound: int
    """Cards that may be sold at all, once nobody holds them."""
    kinds: tuple[tuple[Gpu, int], ...]
    """Of cards that no ask can tell apart the first, and all of them."""
    widths: tuple[tuple[int, ...], ...]
    """Between every two cards, the greater the better."""
    islands: tuple[int, ...]
    """Sets of cards that are nearer to each other than to the rest, at every level of nearness."""
    worth: tuple[int, ...]
    """Of each card its rank: what costs more, then what has more memory, is worth more."""
    ranks: tuple[int, ...]
    """The cards of each rank, the cheapest first."""

    def fitting(self, ask: GpuAsk) -> int:
        """The cards that ``ask`` could be served with, whoever holds them."""
        found = 0
        for first, those in self.kinds:
            if fits(first, ask):
                found |= those
        return found


@by_identity(most=KEPT_MOST)
def topology(inventory: GpuInventory, gpu_hour: Mapping[str, Decimal]) -> Topology:
    """That of ``inventory``, where cards cost ``gpu_hour`` by model, ``*`` for all others."""
    cards = inventory.gpus
    widths, worth = _widths(cards, inventory.links), _worth(cards, gpu_hour)
    return Topology(
        cards=cards,
        numbers={gpu.uuid: number for number, gpu in enumerate(cards)},
        sound=_bits(number for number, gpu in enumerate(cards) if _is_sound(gpu, cards)),
        kinds=tuple(_kinds(cards)),
        widths=widths,
        islands=tuple(_islands(widths)),
        worth=worth,
        ranks=tuple(_bits(n for n, rank in enumerate(worth) if rank == each) for each in sorted(set(worth))),
    )


def _bits(numbers: Iterator[int]) -> int:
    bits = 0
    for number in numbers:
        bits |= 1 << number
    return bits


def _is_sound(gpu: Gpu, cards: Sequence[Gpu]) -> bool:
    """An instance of a card that has failed, or cannot be seen, is no better than the card."""
    if gpu.mig is None:
        return gpu.health is GpuHealth.HEALTHY and not gpu.is_mig_on
    parent = next((each for each in cards if each.uuid == _whole(gpu)), None)
    is_parent_well = parent is None or parent.health in (GpuHealth.HEALTHY, GpuHealth.DEGRADED)
    return gpu.health is GpuHealth.HEALTHY and is_parent_well


def _kinds(cards: Sequence[Gpu]) -> Iterator[tuple[Gpu, int]]:
    kinds: dict[object, tuple[Gpu, int]] = {}
    for number, gpu in enumerate(cards):
        key = gpu.model, gpu.memory_bytes, gpu.interface, gpu.mig is None, gpu.is_mig_on
        first, those = kinds.get(key, (gpu, 0))
        kinds[key] = first, those | 1 << number
    yield from kinds.values()


def _worth(cards: Sequence[Gpu], gpu_hour: Mapping[str, Decimal]) -> tuple[int, ...]:
    """A card without a price is worth most: it is taken last, and nobody may pay for it."""
    prices = [look_up(gpu_hour, gpu) for gpu in cards]
    keys = [
        (False, price.value * price.share.numerator / price.share.denominator, gpu.memory_bytes or 0)
        if price is not None
        else (True, Decimal(0), gpu.memory_bytes or 0)
        for gpu, price in zip(cards, prices, strict=True)
    ]
    ranks = {key: rank for rank, key in enumerate(sorted(set(keys)))}
    return tuple(ranks[key] for key in keys)


def _widths(cards: Sequence[Gpu], links: Sequence[GpuLink]) -> tuple[tuple[int, ...], ...]:
    between = {frozenset((link.first, link.second)): _width(link) for link in links}

    def width(one: Gpu, other: Gpu) -> int:
        host_one, host_other = _whole(one), _whole(other)
        if host_one == host_other:
            return ONE_CARD
        known = between.get(frozenset((host_one, host_other)))
        if known is not None:
            return known
        is_near = one.numa_node is not None and one.numa_node == other.numa_node
        return _WIDTHS[GpuLinkKind.NUMA_NODE if is_near else GpuLinkKind.SYSTEM]

    return tuple(tuple(width(one, other) for other in cards) for one in cards)


def _whole(gpu: Gpu) -> GpuUuid:
    return gpu.uuid if gpu.mig is None else gpu.mig.parent


def _width(link: GpuLink) -> int:
    return _WIDTHS[link.kind] + (link.lanes or 0 if link.kind is GpuLinkKind.NVLINK else 0)


def bond(width: int) -> str:
    """For people: what a pair of that width is joined by."""
    if width >= ONE_CARD:
        return "one card"
    kind = max((kind for kind in _WIDTHS if _WIDTHS[kind] <= width), key=_WIDTHS.__getitem__)
    lanes = width - _WIDTHS[kind]
    return f"{kind} x{lanes}" if lanes else kind.value


def _islands(widths: Sequence[Sequence[int]]) -> Iterator[int]:
    """Connected sets at every width but the least, without the set of all and without doubles."""
    count = len(widths)
    levels = {widths[one][other] for one in range(count) for other in range(one)}
    seen = {(1 << count) - 1}
    for level in sorted(levels, reverse=True):
        left = set(range(count))
        while left:
            reached, edge = 0, [min(left)]
            while edge:
                card = edge.pop()
                if card in left:
                    left.remove(card)
                    reached |= 1 << card
                    edge += [other for other in left if widths[card][other] >= level]
            if reached.bit_count() > 1 and reached not in seen:
                seen.add(reached)
                yield reached
