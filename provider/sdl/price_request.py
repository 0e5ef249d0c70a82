"""What Akash's price scripts read on standard input, byte for byte.

Owns the shape: ``dataForScript`` of akash-network/provider's ``bidengine/pricing.go`` as ``shellscript.go``
fills it in and Go's encoder writes it, a line. The resources are those that are given, not those asked for:
of several alternatives the card's own, with memory and interface where the alternative that it matches
names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from provider.domain.market import GroupSpec
from provider.domain.money import RATE_DIGITS, Rate
from provider.domain.resources import EndpointKind, GpuAlternative, GpuAsk, ResourceUnit, Volume
from provider.sdl.canonical import go_json

PRICE_PRECISION = 6
"""Digits after the point that Akash asks scripts for (``DefaultPricePrecision``)."""
EPHEMERAL = "ephemeral"


def price_request(group: GroupSpec, given: Mapping[int, GpuAlternative]) -> bytes:
    """One line of JSON. ``given`` is for each unit with GPUs, by its number, the kind of card that it
    gets."""
    document = {
        "resources": resource_trees(group, given),
        "price": _price(group.max_rate),
        "price_precision": PRICE_PRECISION,
    }
    return go_json(document) + b"\n"


def resource_trees(group: GroupSpec, given: Mapping[int, GpuAlternative]) -> list[dict[str, Any]]:
    """The units, in the group's order."""
    return [_unit(unit, given.get(unit.resources.id)) for unit in group.units]


def _unit(unit: ResourceUnit, card: GpuAlternative | None) -> dict[str, Any]:
    resources = unit.resources
    addresses = {each.sequence_number for each in resources.endpoints if each.kind is EndpointKind.LEASED_IP}
    return {
        "memory": resources.memory_bytes,
        "cpu": resources.cpu_millis,
        "gpu": {"units": resources.gpu.units, "attributes": _card(resources.gpu, card)},
        "storage": [_volume(volume) for volume in resources.storage],
        "count": unit.count,
        "endpoint_quantity": len(resources.endpoints),
        "ip_lease_quantity": len(addresses),
    }


def _card(ask: GpuAsk, card: GpuAlternative | None) -> dict[str, Any]:
    """One vendor, one model: Akash keeps the last alternative where it has not chosen yet."""
    shown = card or (ask.alternatives[-1] if ask.units and ask.alternatives else None)
    if shown is None:
        return {}
    told: dict[str, str] = {"model": shown.model or "*"}
    if shown.ram is not None:
        told["ram"] = shown.ram
    if shown.interface is not None:
        told["interface"] = shown.interface
    return {"vendor": {shown.vendor: told}}


def _volume(volume: Volume) -> dict[str, Any]:
    return {"class": volume.storage_class or EPHEMERAL, "size": volume.size_bytes}


def _price(highest: Rate) -> dict[str, str]:
    """A ``DecCoin``, of the whole group."""
    return {"denom": str(highest.denom), "amount": f"{highest.amount:.{RATE_DIGITS}f}"}
