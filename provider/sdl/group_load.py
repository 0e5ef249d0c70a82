"""A group spec from JSON, as an order carries it.

Owns the way back from ``group_json``. Invariant: what is accepted writes the same JSON again.
"""

from __future__ import annotations

import re
from decimal import Decimal

from provider.domain.market import GroupSpec, Requirements, SignedBy
from provider.domain.money import RATE_DIGITS, Denom, Rate
from provider.domain.resources import ResourceUnit
from provider.sdl import limits
from provider.sdl.canonical import JsonInvalid, parse_json
from provider.sdl.group_json import group_tree
from provider.sdl.json_fields import Json
from provider.sdl.resources_load import load_attribute, load_resources

_AMOUNT = re.compile(rf"(?:0|[1-9]\d{{0,7}})\.\d{{{RATE_DIGITS}}}", re.ASCII)


def group_from_json(data: bytes) -> GroupSpec:
    """One group spec; ``JsonInvalid`` for anything else, at most 1 MiB and 32 levels deep."""
    tree = parse_json(data)
    group = _load_group(Json(tree))
    if group_tree(group) != tree:
        raise JsonInvalid("the group is not in the form in which it is ordered")
    return group


def group_specs_from_json(data: bytes) -> tuple[GroupSpec, ...]:
    """All groups of a deployment: the way back from ``group_specs_json``."""
    tree = parse_json(data)
    groups = Json(tree).items(_load_group)
    if [group_tree(group) for group in groups] != tree:
        raise JsonInvalid("a group is not in the form in which it is ordered")
    if not groups or len({group.name for group in groups}) < len(groups):
        raise JsonInvalid("there is no group, or there are two of one name")
    return groups


def _load_group(json: Json) -> GroupSpec:
    tree = json.fields(("name", "requirements", "resources"))
    units = tree["resources"].items(_load_unit)
    if not units or len({unit.resources.id for unit in units}) < len(units):
        raise tree["resources"].fault("no resources, or two of one id")
    if len({unit.price.denom for unit in units}) > 1:
        raise tree["resources"].fault("prices in two currencies")
    return GroupSpec(
        name=tree["name"].filled(), units=units, requirements=_load_requirements(tree["requirements"])
    )


def _load_requirements(json: Json) -> Requirements:
    tree = json.fields(("signed_by", "attributes"))
    signed_by = tree["signed_by"].fields(("all_of", "any_of"))
    attributes = tree["attributes"].or_null(lambda each: each.items(load_attribute)) or ()
    return Requirements(
        signed_by=SignedBy(
            all_of=signed_by["all_of"].or_null(Json.texts), any_of=signed_by["any_of"].or_null(Json.texts)
        ),
        attributes=attributes,
    )


def _load_unit(json: Json) -> ResourceUnit:
    tree = json.fields(("resource", "count", "price"))
    return ResourceUnit(
        resources=load_resources(tree["resource"]),
        count=tree["count"].number(most=limits.UNITS_IN_GROUP * limits.COUNT.most),
        price=_load_price(tree["price"]),
    )


def _load_price(json: Json) -> Rate:
    tree = json.fields(("denom", "amount"))
    denom, amount = tree["denom"].text(), tree["amount"].text()
    if denom not in tuple(Denom):
        raise tree["denom"].fault("an unknown currency")
    if not _AMOUNT.fullmatch(amount) or not 0 < Decimal(amount) <= limits.PRICE_MOST:
        raise tree["amount"].fault("not a price")
    return Rate(amount=Decimal(amount), denom=Denom(denom))
