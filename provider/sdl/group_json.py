"""Groups as Akash's JSON: what is ordered, without images and secrets.

Owns writing; reading one back is ``manifest_load``'s sibling ``group_load``. Field names and order are
those of ``go/node/deployment/v1beta4/groupspec.pb.go``.
"""

from __future__ import annotations

from typing import Any

from provider.domain.market import GroupSpec
from provider.domain.money import RATE_DIGITS
from provider.domain.resources import ResourceUnit
from provider.sdl.canonical import go_json
from provider.sdl.manifest_json import attributes_tree, resources_tree


def group_specs_json(groups: tuple[GroupSpec, ...]) -> bytes:
    """A list of group specs, compact; prices have 18 digits after the point."""
    return go_json([group_tree(group) for group in groups])


def group_spec_json(group: GroupSpec) -> bytes:
    """One group spec: what ``group_from_json`` reads."""
    return go_json(group_tree(group))


def group_tree(group: GroupSpec) -> dict[str, Any]:
    signed_by, attributes = group.requirements.signed_by, group.requirements.attributes
    return {
        "name": group.name,
        "requirements": {
            "signed_by": {
                "all_of": None if signed_by.all_of is None else list(signed_by.all_of),
                "any_of": None if signed_by.any_of is None else list(signed_by.any_of),
            },
            "attributes": attributes_tree(attributes) or None,
        },
        "resources": [_unit_tree(unit) for unit in group.units],
    }


def _unit_tree(unit: ResourceUnit) -> dict[str, Any]:
    return {
        "resource": resources_tree(unit.resources),
        "count": unit.count,
        "price": {"denom": str(unit.price.denom), "amount": f"{unit.price.amount:.{RATE_DIGITS}f}"},
    }
