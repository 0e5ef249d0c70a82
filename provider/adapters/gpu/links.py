"""How every two whole cards of the host reach each other: by NVLink, through switches, or over PCIe.

Owns the rule which way counts; the words are ``GpuLinkKind``'s. Runs in the worker only. Where the driver
tells nothing of a pair there is none in the list.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING

import pynvml

from provider.adapters.gpu.calls import Caller, CallFailed, LibraryGone
from provider.adapters.gpu.nvml import sysfs_bus_id
from provider.adapters.gpu.policy import Treatment, treatment

if TYPE_CHECKING:
    from provider.adapters.gpu.reader import Unit

Link = tuple[str, str, str, int | None]
"""First and second UUID, sorted; kind; how many NVLinks."""

_TO_A_GPU, _TO_A_SWITCH = 0, 2
"""``nvmlIntNvLinkDeviceType_t``."""
_BY_LEVEL = {
    0: "pcie_switch",  # two on one board, behind its own switch
    10: "pcie_switch",
    20: "pcie_switches",
    30: "host_bridge",
    40: "numa_node",
    50: "system",
}
"""``nvmlGpuTopologyLevel_t``."""
_STATE = "nvmlDeviceGetNvLinkState"


@dataclass(slots=True)
class _Ends:
    """Where a card's NVLinks that are up lead."""

    switches: int = 0
    cards: Counter[str] = field(default_factory=Counter)
    """By bus id."""


def read_links(call: Caller, cards: Sequence[Unit]) -> list[Link]:
    """Of every pair that can be told."""
    ends = {card.uuid: _ends(call, card) for card in cards}
    links: list[Link] = []
    for first, second in combinations(sorted(cards, key=lambda card: card.uuid), 2):
        here, there = ends[first.uuid], ends[second.uuid]
        direct = here.cards[second.bus_id or "?"]
        if direct:
            links.append((first.uuid, second.uuid, "nvlink", direct))
        elif here.switches and there.switches:
            links.append((first.uuid, second.uuid, "nvswitch", min(here.switches, there.switches)))
        else:
            kind = _over_pcie(call, first, second)
            if kind is not None:
                links.append((first.uuid, second.uuid, kind, None))
    return links


def _ends(call: Caller, card: Unit) -> _Ends:
    ends = _Ends()
    if f"{_STATE}(end)" in card.silent:
        return ends
    for number in range(pynvml.NVML_NVLINK_MAX_LINKS):
        try:
            _note(call, card, number, ends)
        except LibraryGone:
            raise
        except CallFailed as failure:
            if number == 0 and treatment(failure.code) is Treatment.ABSENT:
                card.silent.add(f"{_STATE}(end)")
            break  # the first that does not exist ends the count
    return ends


def _note(call: Caller, card: Unit, number: int, ends: _Ends) -> None:
    handle, where = card.handle, (card.index, card.uuid)
    if not call(_STATE, lambda: pynvml.nvmlDeviceGetNvLinkState(handle, number), *where):
        return
    remote = call(
        "nvmlDeviceGetNvLinkRemoteDeviceType",
        lambda: pynvml.nvmlDeviceGetNvLinkRemoteDeviceType(handle, number),
        *where,
    )
    if remote == _TO_A_SWITCH:
        ends.switches += 1
    elif remote == _TO_A_GPU:
        bus_id = call(
            "nvmlDeviceGetNvLinkRemotePciInfo_v2",
            lambda: sysfs_bus_id(pynvml.nvmlDeviceGetNvLinkRemotePciInfo(handle, number)),
            *where,
        )
        ends.cards[bus_id] += 1


def _over_pcie(call: Caller, first: Unit, second: Unit) -> str | None:
    try:
        level = call(
            "nvmlDeviceGetTopologyCommonAncestor",
            lambda: pynvml.nvmlDeviceGetTopologyCommonAncestor(first.handle, second.handle),
            first.index,
            first.uuid,
        )
    except LibraryGone:
        raise
    except CallFailed:
        return None
    return _BY_LEVEL.get(level)
