"""Resources from JSON, as manifests and groups both have them.

Owns the way back from ``manifest_json.resources_tree``. Invariant: what is read writes the same JSON.
"""

from __future__ import annotations

import re

from provider.domain.resources import (
    Attribute,
    Endpoint,
    EndpointKind,
    GpuAlternative,
    GpuAsk,
    Resources,
    Volume,
)
from provider.sdl import limits
from provider.sdl.json_fields import Json
from provider.sdl.limits import Bound

_GPU_KEY = re.compile(r"vendor/([^/]+)/model/(.+?)(?:/ram/([^/]+))?(?:/interface/([^/]+))?", re.ASCII)


def load_resources(json: Json) -> Resources:
    """One replica's resources, within the market's bounds; ``JsonInvalid`` otherwise."""
    tree = json.fields(("id", "cpu", "memory", "storage", "gpu", "endpoints"))
    cpu = tree["cpu"].fields(("units",), ("attributes",))
    memory = tree["memory"].fields(("size",))
    gpu = tree["gpu"].fields(("units",), ("attributes",))
    storage = tree["storage"].items(_load_volume)
    if not storage or len({each.name for each in storage}) < len(storage):
        raise tree["storage"].fault("no volume, or two of one name")
    return Resources(
        id=tree["id"].number(least=1),
        cpu_millis=_load_amount(cpu["units"], limits.CPU),
        memory_bytes=_load_amount(memory["size"], limits.MEMORY),
        gpu=GpuAsk(
            units=_load_amount(gpu["units"], limits.GPU),
            alternatives=gpu["attributes"].items(_load_alternative) if "attributes" in gpu else (),
        ),
        storage=storage,
        endpoints=tree["endpoints"].items(_load_endpoint),
        cpu_attributes=cpu["attributes"].items(load_attribute) if "attributes" in cpu else (),
    )


def load_attribute(json: Json) -> Attribute:
    tree = json.fields(("key", "value"))
    return Attribute(key=tree["key"].filled(), value=tree["value"].text())


def _load_amount(json: Json, bound: Bound) -> int:
    amount = json.fields(("val",))["val"].amount()
    if not bound.least <= amount <= bound.most:
        raise json.fault(f"outside of {bound.text}")
    return amount


def _load_volume(json: Json) -> Volume:
    tree = json.fields(("name", "size"), ("attributes",))
    return Volume(
        name=tree["name"].filled(),
        size_bytes=_load_amount(tree["size"], limits.STORAGE),
        attributes=tree["attributes"].items(load_attribute) if "attributes" in tree else (),
    )


def _load_alternative(json: Json) -> GpuAlternative:
    attribute = load_attribute(json)
    match = _GPU_KEY.fullmatch(attribute.key)
    if match is None or attribute.value != "true":
        raise json.fault("not a kind of GPU")
    vendor, model, ram, interface = match.groups()
    return GpuAlternative(vendor=vendor, model=None if model == "*" else model, ram=ram, interface=interface)


def _load_endpoint(json: Json) -> Endpoint:
    tree = json.fields(("sequence_number",), ("kind",))
    kind = tree["kind"].number(least=1, most=2) if "kind" in tree else 0
    return Endpoint(kind=EndpointKind(kind), sequence_number=tree["sequence_number"].number())
