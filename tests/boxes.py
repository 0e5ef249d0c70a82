"""Servers as one meets them: their cards and how these hang together."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

from provider.core.gpu_models import gpu_kind
from provider.domain.gpu import Gpu, GpuInventory, GpuLink, GpuLinkKind, MigSlice
from provider.domain.ids import GpuUuid
from provider.domain.resources import MIB

MEMORY = {"h100": 81559, "a100": 81920, "rtx4090": 24564, "l40s": 46068}


def card(number: int, model: str, *, numa: int | None = None) -> Gpu:
    name = {"h100": "NVIDIA H100 80GB HBM3", "a100": "NVIDIA A100-SXM4-80GB"}.get(model, f"NVIDIA {model}")
    return Gpu(
        uuid=GpuUuid(f"GPU-{number}"),
        index=number,
        name=name,
        model=model,
        memory_bytes=MEMORY[model] * MIB,
        interface=gpu_kind(name).interface,
        numa_node=numa,
    )


def link(one: int, other: int, kind: GpuLinkKind, lanes: int | None = None) -> GpuLink:
    first, second = sorted((GpuUuid(f"GPU-{one}"), GpuUuid(f"GPU-{other}")))
    return GpuLink(first=first, second=second, kind=kind, lanes=lanes)


def inventory(cards: tuple[Gpu, ...], links: tuple[GpuLink, ...] = ()) -> GpuInventory:
    return GpuInventory(gpus=cards, links=tuple(sorted(links)))


def hgx_h100() -> GpuInventory:
    """Eight H100 on NVSwitches, four at each socket."""
    cards = tuple(card(number, "h100", numa=number // 4) for number in range(8))
    every = combinations(range(8), 2)
    return inventory(cards, tuple(link(*pair, GpuLinkKind.NVSWITCH) for pair in every))


def four_4090() -> GpuInventory:
    """Two at each socket, no NVLink."""
    cards = tuple(card(number, "rtx4090", numa=number // 2) for number in range(4))
    links = tuple(
        link(one, other, GpuLinkKind.NUMA_NODE if one // 2 == other // 2 else GpuLinkKind.SYSTEM)
        for one, other in combinations(range(4), 2)
    )
    return inventory(cards, links)


def bridged_a100() -> GpuInventory:
    """Four pairs, each joined by an NVLink bridge, two pairs at each socket."""
    cards = tuple(card(number, "a100", numa=number // 4) for number in range(8))

    def kind(one: int, other: int) -> GpuLink:
        if one // 2 == other // 2:
            return link(one, other, GpuLinkKind.NVLINK, 12)
        return link(one, other, GpuLinkKind.HOST_BRIDGE if one // 4 == other // 4 else GpuLinkKind.SYSTEM)

    return inventory(cards, tuple(kind(*pair) for pair in combinations(range(8), 2)))


def dgx_a100_with_mig() -> GpuInventory:
    """Four A100 on NVSwitches, the last two cut: one into two halves, one into a half and three slices."""
    cards = tuple(card(number, "a100", numa=number // 2) for number in range(4))
    links = tuple(link(*pair, GpuLinkKind.NVSWITCH) for pair in combinations(range(4), 2))
    made = [*cards[:2], *(replace(each, is_mig_on=True) for each in cards[2:])]
    cut = ((2, "3g.40gb", 40192), (2, "3g.40gb", 40192), (3, "3g.40gb", 40192), *[(3, "1g.10gb", 9856)] * 3)
    for number, (parent, profile, memory) in enumerate(cut):
        made.append(
            replace(
                cards[parent],
                uuid=GpuUuid(f"MIG-{number}"),
                index=4 + number,
                name=f"NVIDIA A100-SXM4-80GB MIG {profile}",
                memory_bytes=memory * MIB,
                mig=MigSlice(
                    parent=cards[parent].uuid, profile=profile, gpu_instance=number, compute_instance=0
                ),
            )
        )
    return inventory(tuple(made), links)


def mixed() -> GpuInventory:
    """Two of each of three models, in a server that grew."""
    models = ("rtx4090", "h100", "l40s", "h100", "rtx4090", "l40s")
    return inventory(tuple(card(number, model) for number, model in enumerate(models)))
