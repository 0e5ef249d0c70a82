"""Rules within profiles: amounts, volumes, GPUs, prices, attributes.

Owns what can be said of a profile without looking at services. The rules are Akash's
(``go/sdl/{storage,gpu,cpu,coin}.go``, ``go/node/deployment/v1beta4/resourceunit.go``).
"""

from __future__ import annotations

import re
from decimal import Decimal

from provider.domain.money import Denom
from provider.sdl import limits
from provider.sdl.blocks import Block, Findings, Place
from provider.sdl.limits import Bound
from provider.sdl.problems import quote, suggest
from provider.sdl.scalars import Complaint

ATTRIBUTE_KEY = re.compile(r"[a-zA-Z][\w/.\-]{1,126}[\w*]?", re.ASCII)
_TRUE = frozenset({"true", "on", "yes"})
_FALSE = frozenset({"false", "off", "no"})
DEFAULT_VOLUME = "default"


def check_compute(compute: Block, findings: Findings) -> None:
    """Every rule that concerns one compute profile alone."""
    resources = compute.block("resources")
    if resources is None:
        return
    cpu, memory, gpu = resources.block("cpu"), resources.block("memory"), resources.block("gpu")
    if cpu is not None:
        _bounded(cpu.place("units"), cpu.number("units"), limits.CPU, findings)
    if memory is not None:
        _bounded(memory.place("size"), memory.number("size"), limits.MEMORY, findings)
    if gpu is not None:
        _check_gpu(gpu, findings)
    volumes = resources.blocks("storage")
    if "storage" in resources and not volumes:
        complaint = Complaint(what="no storage", allowed="one volume at least, as size: 1Gi")
        findings.rule(resources.place("storage"), complaint)
    _check_volumes(resources, volumes, findings)


def _bounded(at: Place, value: int | None, bound: Bound, findings: Findings) -> None:
    if value is not None and not bound.least <= value <= bound.most:
        what = "too little" if value < bound.least else "too much"
        findings.rule(at, Complaint(what=what, allowed=bound.text))


def volume_name(resources: Block, volume: Block) -> str:
    """A volume's name: a single one that is not in a list is always ``default``, as in Akash."""
    is_single = volume.at.node is resources.place("storage").node
    return DEFAULT_VOLUME if is_single else volume.text("name") or DEFAULT_VOLUME


def _check_volumes(resources: Block, volumes: list[Block], findings: Findings) -> None:
    names: set[str] = set()
    if len(volumes) > limits.VOLUMES:
        complaint = Complaint(what=f"{len(volumes)} volumes", allowed=f"at most {limits.VOLUMES}")
        findings.add(resources.place("storage"), complaint)
        return
    for volume in volumes:
        name = volume_name(resources, volume)
        if volume.text("name") not in (None, "", name):
            what = f"the name is ignored: a volume that is not in a list is called {DEFAULT_VOLUME}"
            findings.warn(volume.place("name"), what, 'begin the entry with "-"')
        if name in names:
            complaint = Complaint(what=f"two volumes are called {quote(name)}", allowed="a name each")
            findings.add(volume.place("name"), complaint)
        names.add(name)
        _bounded(volume.place("size"), volume.number("size"), limits.STORAGE, findings)
        attributes = volume.block("attributes")
        if attributes is not None:
            _check_storage_attributes(attributes, findings)


def _check_storage_attributes(attributes: Block, findings: Findings) -> None:
    """Akash compares the texts as written, so ``no`` is not quite ``false``."""
    for name in ("persistent", "class"):
        if name in attributes and attributes.text(name) in (None, ""):
            _storage_fault(attributes.place(name), f'"{name}" is empty', "a value", findings)
    persistent = attributes.text("persistent")
    storage_class = attributes.text("class")
    if persistent and persistent not in _TRUE | _FALSE:
        hint = f'as "{persistent.lower()}"' if persistent.lower() in _TRUE | _FALSE else ""
        complaint = Complaint(what=f"{quote(persistent)} is not a flag", allowed="true or false", hint=hint)
        findings.add(attributes.place("persistent"), complaint)
        return
    if storage_class == "ram" and persistent not in (None, "false"):
        what = "storage of class ram cannot be persistent"
        _storage_fault(attributes.place("persistent"), what, "persistent: false", findings)
    elif storage_class and storage_class != "ram" and persistent in (None, *_FALSE):
        soft = persistent in ("off", "no")
        what = f"the class {storage_class} is for persistent storage"
        complaint = Complaint(what=what, allowed='"persistent: true" beside it, or no class', is_soft=soft)
        findings.add(attributes.place("class"), complaint)


def _storage_fault(at: Place, what: str, allowed: str, findings: Findings) -> None:
    findings.add(at, Complaint(what=what, allowed=allowed))


def is_persistent(volume: Block) -> bool:
    attributes = volume.block("attributes")
    return attributes is not None and attributes.text("persistent") in _TRUE


def unified_flag(text: str) -> str:
    """``true`` or ``false`` for any word that YAML 1.1 has for it."""
    return "true" if text in _TRUE else "false"


def _check_gpu(gpu: Block, findings: Findings) -> None:
    units = gpu.number("units")
    attributes = gpu.block("attributes")
    if "units" in gpu and units is None:
        return
    if (units and "attributes" not in gpu) or (units and attributes is None):
        hint = "attributes: {vendor: {nvidia: }} takes any NVIDIA GPU"
        complaint = Complaint(what="no attributes", allowed="a vendor for every GPU", hint=hint)
        findings.add(gpu.place("attributes"), complaint)
    if not units and attributes is not None:
        complaint = Complaint(what="attributes of no GPU", allowed='"units" above 0, or no attributes')
        findings.rule(gpu.place("attributes"), complaint)
    _bounded(gpu.place("units"), units, limits.GPU, findings)
    vendor = attributes.block("vendor") if attributes is not None else None
    if vendor is None:
        return
    if not vendor.at.node.value:
        findings.add(vendor.at, Complaint(what="no vendor", allowed="nvidia", is_soft=True))
    _check_models(vendor, findings)


def gpu_key(entry: Block) -> str:
    """Akash's attribute key of one alternative, without the value.

    Akash has ``model//ram/24Gi`` for memory without a model, which no provider can match; here it is any
    model with that memory.
    """
    ram, interface = entry.text("ram"), entry.text("interface")
    model = entry.text("model") or "*"
    tail = (f"/ram/{ram}" if ram else "") + (f"/interface/{interface}" if interface else "")
    return f"vendor/nvidia/model/{model}{tail}"


def _check_models(vendor: Block, findings: Findings) -> None:
    seen: set[str] = set()
    if len(vendor.blocks("nvidia")) > limits.ALTERNATIVES:
        complaint = Complaint(what="too many alternatives", allowed=f"at most {limits.ALTERNATIVES}")
        findings.add(vendor.place("nvidia"), complaint)
        return
    for entry in vendor.blocks("nvidia"):
        key = gpu_key(entry)
        if key in seen:
            findings.add(entry.at, Complaint(what="the same GPU again", allowed="every alternative once"))
        elif not ATTRIBUTE_KEY.fullmatch(key.replace("/model/*", "/model/any")):
            written = entry.text("model") or ""
            allowed = "letters, digits, - _ . and /, as rtx4090"
            findings.add(
                entry.place("model"), Complaint(what=f"{quote(written)} is not a model", allowed=allowed)
            )
        elif "/" in (entry.text("model") or ""):
            complaint = Complaint(
                what='a model with "/"', allowed="ram and interface beside it", is_soft=True
            )
            findings.add(entry.place("model"), complaint)
        elif (model := entry.text("model")) and model != model.lower():
            findings.warn(
                entry.place("model"), "providers write models in lower case", f'as "{model.lower()}"'
            )
        seen.add(key)


def check_placement(placement: Block, findings: Findings) -> None:
    """Every rule that concerns one placement alone."""
    attributes = placement.places.get("attributes")
    for key in placement.named("attributes"):
        if attributes is not None and not ATTRIBUTE_KEY.fullmatch(key):
            at = Place(attributes.node, (*attributes.path, key))
            allowed = "2 to 128 letters, digits, _ . - and /, beginning with a letter"
            what = f"{quote(key)} cannot name an attribute"
            findings.add(at, Complaint(what=what, allowed=allowed, is_soft=True))
    for price in placement.named("pricing").values():
        _check_price(price, findings)


def _check_price(price: Block, findings: Findings) -> None:
    denom = price.text("denom")
    known = [str(each) for each in Denom]
    if denom is not None and denom not in known:
        hint = (
            "prices are in micro-units"
            if denom.upper() in ("AKT", "ACT", "USD", "USDC")
            else suggest(denom, known)
        )
        allowed = "uact, uakt, uusdc, or the ibc/ name of USDC on Akash"
        what = f"{quote(denom)} is not a currency"
        findings.add(price.place("denom"), Complaint(what=what, allowed=allowed, hint=hint))
    amount = price.values.get("amount")
    if isinstance(amount, Decimal) and amount > limits.PRICE_MOST:
        complaint = Complaint(what="the price is too high", allowed=f"at most {limits.PRICE_MOST} a block")
        findings.rule(price.place("amount"), complaint)
