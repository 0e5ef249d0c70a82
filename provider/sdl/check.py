"""Rules between parts of a document: references, mounts, leased IPs, totals of a group.

Owns what needs more than one section. The rules are Akash's (``go/sdl/v2.go``, ``v2_1.go``,
``groupBuilder_v2*.go``, ``go/manifest/v2beta3``, ``go/node/deployment/v1beta4``). Invariant: a document
without errors can be built (``build``) without another check.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from provider.sdl import limits, model
from provider.sdl.blocks import Block, Findings, Place, Step, key_place
from provider.sdl.check_profiles import check_compute, check_placement, is_persistent, volume_name
from provider.sdl.check_services import check_service
from provider.sdl.problems import listed, quote, suggest
from provider.sdl.scalars import Complaint

_ENDPOINT_NAME = re.compile(model.ENDPOINT_NAME)
_VERSION = re.compile(model.VERSION, re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One entry of ``deployment``: a service at a placement, with what it refers to where that exists."""

    service_name: str
    placement_name: str
    entry: Block
    service: Block | None
    compute: Block | None
    placement: Block | None

    @property
    def count(self) -> int:
        return self.entry.number("count") or 0

    @property
    def resources(self) -> Block | None:
        return self.compute.block("resources") if self.compute is not None else None


@dataclass(slots=True)
class Sections:
    """The parts of a document by name, and its uses in Akash's order: service, then placement."""

    document: Block
    services: dict[str, Block]
    computes: dict[str, Block]
    placements: dict[str, Block]
    endpoints: dict[str, Block]
    uses: list[Use]
    is_merging: bool
    """Version 2.1: services of one profile share a resource unit."""


def idle_ways(root_names: dict[str, set[str]], used: dict[str, set[str]]) -> frozenset[tuple[Step, ...]]:
    """Ways to the services, compute profiles and placements that are defined and not used."""
    tops: dict[str, tuple[Step, ...]] = {
        "services": ("services",),
        "compute": ("profiles", "compute"),
        "placement": ("profiles", "placement"),
    }
    return frozenset((*top, name) for kind, top in tops.items() for name in root_names[kind] - used[kind])


def version_of(document: Block) -> str | None:
    """``2.0`` or ``2.1``, from every spelling that Akash takes; None for any other version."""
    match = _VERSION.fullmatch(document.text("version") or "")
    if match is None:
        return None
    minor, patch = match.groups()
    if minor in (None, "0"):
        return "2.0" if not int(patch or 0) else None
    return "2.1"


def sections_of(document: Block) -> Sections:
    """The parts of ``document``; whatever is absent or faulty is empty."""
    profiles = document.block("profiles")
    sections = Sections(
        document=document,
        services=document.named("services"),
        computes=profiles.named("compute") if profiles is not None else {},
        placements=profiles.named("placement") if profiles is not None else {},
        endpoints=document.named("endpoints"),
        uses=[],
        is_merging=version_of(document) == "2.1",
    )
    for service_name, entries in sorted(document.named("deployment").items()):
        for placement_name, entry in sorted(entries.items()):
            use = Use(
                service_name=service_name,
                placement_name=placement_name,
                entry=entry,
                service=sections.services.get(service_name),
                compute=sections.computes.get(entry.text("profile") or ""),
                placement=sections.placements.get(placement_name),
            )
            sections.uses.append(use)
    return sections


def check(sections: Sections, findings: Findings) -> None:
    """Every rule of the language, beyond structure."""
    _check_version(sections.document, findings)
    for name, service in sections.services.items():
        check_service(name, service, findings)
        _check_mentions(service, sections, findings)
    for compute in sections.computes.values():
        check_compute(compute, findings)
    for placement in sections.placements.values():
        check_placement(placement, findings)
    if "include" in sections.document:
        findings.warn(sections.document.place("include"), "include is ignored, as Akash does")
    if "deployment" in sections.document.values and not sections.uses:
        complaint = Complaint(what="nothing is deployed", allowed="a service at a placement")
        findings.add(sections.document.place("deployment"), complaint)
    if len(sections.uses) > limits.USES:
        what, allowed = f"{len(sections.uses)} services at placements", f"at most {limits.USES}"
        findings.add(sections.document.place("deployment"), Complaint(what=what, allowed=allowed))
        return
    for use in sections.uses:
        _check_references(use, sections, findings)
        _check_mounts(use, findings, is_merging=sections.is_merging)
    _check_endpoints(sections, findings)
    _check_hosts(sections, findings)
    _check_groups(sections, findings)


def _check_version(document: Block, findings: Findings) -> None:
    if document.text("version") is not None and version_of(document) is None:
        what = f"version {quote(document.text('version') or '')} is not supported"
        findings.add(document.place("version"), Complaint(what=what, allowed='"2.0", "2.1"'))


def _check_mentions(service: Block, sections: Sections, findings: Findings) -> None:
    """Names of other services that nothing resolves: legal, and surely not meant."""
    mentions = [to for expose in service.blocks("expose") for to in expose.blocks("to")]
    for block in (*mentions, *service.blocks("dependencies")):
        name = block.text("service")
        if name and name not in sections.services:
            hint = suggest(name, sections.services)
            findings.warn(block.place("service"), f"there is no service {quote(name)}", hint)


def _check_references(use: Use, sections: Sections, findings: Findings) -> None:
    entry = use.entry
    deployment = sections.document.place("deployment")
    if use.service is None:
        allowed = listed(sections.services)
        hint = suggest(use.service_name, sections.services)
        what = f"no service profile named {quote(use.service_name)}"
        at = key_place(deployment, use.service_name)
        findings.add(at, Complaint(what=what, allowed=allowed, hint=hint))
    if use.placement is None:
        allowed, hint = listed(sections.placements), suggest(use.placement_name, sections.placements)
        what = f"no placement profile named {quote(use.placement_name)}"
        at = key_place(deployment, use.service_name, use.placement_name)
        findings.add(at, Complaint(what=what, allowed=allowed, hint=hint))
    profile = entry.text("profile")
    if profile is not None and use.compute is None:
        allowed, hint = listed(sections.computes), suggest(profile, sections.computes)
        what = f"no compute profile named {quote(profile)}"
        findings.add(entry.place("profile"), Complaint(what=what, allowed=allowed, hint=hint))
    elif profile is not None and use.placement is not None and profile not in use.placement.named("pricing"):
        prices = use.placement.named("pricing")
        what = f"no pricing for profile {quote(profile)} at {quote(use.placement_name)}"
        complaint = Complaint(what=what, allowed=listed(prices), hint=suggest(profile, prices))
        findings.add(use.placement.place("pricing"), complaint)
    _check_count(use, findings)


def _check_count(use: Use, findings: Findings) -> None:
    if "count" in use.entry and use.entry.number("count") is None:
        return
    if "count" not in use.entry:
        complaint = Complaint(what='"count" is missing', allowed=limits.COUNT.text, is_soft=True)
        findings.add(use.entry.place("count"), complaint)
    elif not limits.COUNT.least <= use.count <= limits.COUNT.most:
        complaint = Complaint(what=f"{use.count} replicas", allowed=limits.COUNT.text, is_soft=True)
        findings.add(use.entry.place("count"), complaint)


def _check_mounts(use: Use, findings: Findings, *, is_merging: bool) -> None:
    if use.resources is None or use.service is None:
        return
    if len(use.resources.blocks("storage")) > limits.VOLUMES:
        return
    volumes = {volume_name(use.resources, each): each for each in use.resources.blocks("storage")}
    params = use.service.block("params")
    mounts = params.named("storage") if params is not None else {}
    if params is not None and len(mounts) > limits.VOLUMES:
        complaint = Complaint(what=f"{len(mounts)} mounts", allowed=f"at most {limits.VOLUMES}")
        findings.add(params.place("storage"), complaint)
        return
    seen: dict[str, str] = {}
    for name, mount in mounts.items():
        if name not in volumes:
            what = f"the compute profile has no volume {quote(name)}"
            complaint = Complaint(what=what, allowed=listed(volumes), hint=suggest(name, volumes))
            findings.add(mount.at, complaint)
        _check_mount(name, mount, seen, findings)
        volume = volumes.get(name)
        if is_merging and volume is not None and mount.values.get("readOnly") and _is_ram(volume):
            complaint = Complaint(what="storage of class ram cannot be read only", allowed="readOnly: false")
            findings.add(mount.place("readOnly"), complaint)
    for name, volume in volumes.items():
        if is_persistent(volume) and name not in mounts:
            what = f"persistent volume {quote(name)} is not mounted"
            hint = f"services.{use.service_name}.params.storage.{name}.mount is where it would appear"
            # Akash 2.0 asks for one mount of the service, whichever; 2.1 asks for none
            if mounts:
                findings.warn(volume.at, what, hint)
            else:
                findings.add(volume.at, Complaint(what=what, hint=hint, is_soft=is_merging))


def _is_ram(volume: Block) -> bool:
    attributes = volume.block("attributes")
    return attributes is not None and attributes.text("class") == "ram"


def _check_mount(name: str, mount: Block, seen: dict[str, str], findings: Findings) -> None:
    path = mount.text("mount") or ""
    if "mount" in mount and mount.text("mount") is None and not mount.values:
        return
    if not path.startswith("/"):
        what = f"{quote(path)} is not an absolute path" if path else '"mount" is missing'
        findings.add(mount.place("mount"), Complaint(what=what, allowed="a path that begins with /"))
    elif path in seen:
        what = f"{quote(path)} is already in use by volume {quote(seen[path])}"
        findings.add(mount.place("mount"), Complaint(what=what, allowed="a mount point each"))
    seen.setdefault(path, name)


def _check_endpoints(sections: Sections, findings: Findings) -> None:
    used: set[str] = set()
    ports: dict[tuple[str, int, str], str] = {}
    for use, expose, to in _exposures(sections):
        ip = to.text("ip")
        if not ip:
            continue
        used.add(ip)
        if not to.values.get("global"):
            complaint = Complaint(what="a leased IP is for the world", allowed='"global: true" beside it')
            findings.add(to.place("ip"), complaint)
        if ip not in sections.endpoints:
            what, hint = f"no endpoint named {quote(ip)}", suggest(ip, sections.endpoints)
            allowed = listed(sections.endpoints) or "a name under endpoints"
            findings.add(to.place("ip"), Complaint(what=what, allowed=allowed, hint=hint))
        key = (ip, expose.number("as") or 0, expose.text("proto") or "")
        if key in ports:
            what = f"port {key[1] or expose.number('port')} of {quote(ip)} is already in use by "
            complaint = Complaint(what=what + quote(ports[key]), allowed="every port of an IP once")
            findings.add(expose.at, complaint)
        ports.setdefault(key, use.service_name)
    declared = sections.document.places.get("endpoints")
    for name, endpoint in sections.endpoints.items():
        assert declared is not None
        at = key_place(declared, name)
        _check_endpoint(name, endpoint, at, findings)
        if name not in used:
            complaint = Complaint(
                what=f"endpoint {quote(name)} is declared and never used", allowed="a use, or none"
            )
            findings.add(at, complaint)


def _check_endpoint(name: str, endpoint: Block, at: Place, findings: Findings) -> None:
    if not _ENDPOINT_NAME.fullmatch(name):
        allowed = "2 or more of a-z, 0-9, - and _, beginning with a letter"
        findings.add(at, Complaint(what=f"{quote(name)} cannot name an endpoint", allowed=allowed))
    kind = endpoint.text("kind")
    if kind is not None and kind != "ip":
        findings.add(endpoint.place("kind"), Complaint(what=f"unknown kind {quote(kind)}", allowed="ip"))


def _exposures(sections: Sections) -> Iterator[tuple[Use, Block, Block]]:
    for use in sections.uses:
        for expose in use.service.blocks("expose") if use.service is not None else ():
            for to in expose.blocks("to"):
                yield use, expose, to


def _check_hosts(sections: Sections, findings: Findings) -> None:
    """Host names once in the whole manifest, and one global port at least."""
    seen: set[str] = set()
    is_global = any(to.values.get("global") for _, _, to in _exposures(sections))
    is_missed = findings.needs_port and not is_global
    if sections.uses and is_missed and all(use.service is not None for use in sections.uses):
        complaint = Complaint(what="no service is global", allowed='one "to: [{global: true}]" at least')
        findings.add(sections.document.place("services"), complaint)
    for use in sections.uses:
        for expose in use.service.blocks("expose") if use.service is not None else ():
            # a port is listed once for every entry of "to", and its host names with it
            for _ in range(min(2, max(1, len(expose.blocks("to"))))):
                for index, host in expose.indexed("accept"):
                    if host in seen:
                        what = f"host name {quote(host)} is used twice"
                        hint = 'every entry of "to" counts as a use' if len(expose.blocks("to")) > 1 else ""
                        complaint = Complaint(what=what, allowed="every host name once", hint=hint)
                        findings.add(expose.place("accept", index), complaint)
                    seen.add(host)


def _check_groups(sections: Sections, findings: Findings) -> None:
    groups: dict[str, list[Use]] = {}
    for use in sections.uses:
        groups.setdefault(use.placement_name, []).append(use)
    deployment = sections.document.place("deployment")
    if len(groups) > limits.GROUPS:
        what = f"{len(groups)} placements are used"
        findings.add(deployment, Complaint(what=what, allowed=f"at most {limits.GROUPS}", is_soft=True))
    first_denom = ""
    for name in sorted(groups):
        if not name:
            at = groups[name][0].entry.at
            findings.add(at, Complaint(what="a placement without a name", allowed="a name"))
        first_denom = _check_denoms(groups[name], first_denom, findings)
        _check_tee(name, groups[name], findings)
        _check_totals(name, groups[name], findings, is_merging=sections.is_merging)


def _check_denoms(uses: list[Use], first: str, findings: Findings) -> str:
    """All prices in one currency, over all groups."""
    for use in uses:
        prices = use.placement.named("pricing") if use.placement is not None else {}
        price = prices.get(use.entry.text("profile") or "")
        denom = price.text("denom") if price is not None else None
        first = first or denom or ""
        if price is not None and denom and denom != first:
            what = f"a price in {denom} beside one in {first}"
            findings.add(price.place("denom"), Complaint(what=what, allowed="one currency in a deployment"))
    return first


def _check_tee(name: str, uses: list[Use], findings: Findings) -> None:
    first = ""
    for use in uses:
        params = use.service.block("params") if use.service is not None else None
        tee = params.text("tee") if params is not None else None
        if params is None or not tee:
            continue
        gpu = use.resources.block("gpu") if use.resources is not None else None
        if tee == "cpu-gpu" and use.resources is not None and not (gpu and gpu.number("units")):
            complaint = Complaint(what='tee "cpu-gpu" without a GPU', allowed='"cpu", or GPUs in the profile')
            findings.add(params.place("tee"), complaint)
        first = first or tee
        if tee != first:
            what = f"group {quote(name)} has {quote(first)} and {quote(tee)}"
            findings.add(params.place("tee"), Complaint(what=what, allowed="one type in a group"))


def _check_totals(name: str, uses: list[Use], findings: Findings, *, is_merging: bool) -> None:
    at = uses[0].entry.at
    units = len({use.entry.text("profile") for use in uses}) if is_merging else len(uses)
    if units > limits.GROUPS:
        what = f"group {quote(name)} has {units} resource units"
        findings.add(at, Complaint(what=what, allowed=f"at most {limits.GROUPS}", is_soft=True))
    if not sum(use.count for use in uses):
        if all(use.entry.number("count") is not None or "count" not in use.entry for use in uses):
            what = f"group {quote(name)} has no replica"
            findings.add(at, Complaint(what=what, allowed=limits.COUNT.text))
        return
    known = [(use.count, use.resources) for use in uses if use.resources is not None]
    for part, value, bound in (
        ("cpu", "units", limits.CPU),
        ("memory", "size", limits.MEMORY),
        ("gpu", "units", limits.GPU),
    ):
        blocks = [(count, resources.block(part)) for count, resources in known]
        total = sum(count * (block.number(value) or 0) for count, block in blocks if block is not None)
        if total > bound.most_in_group:
            allowed = f"{limits.UNITS_IN_GROUP} times {bound.text} at most"
            findings.add(
                at, Complaint(what=f"group {quote(name)} asks for too much {part} in all", allowed=allowed)
            )
    for count, resources in known:
        for volume in resources.blocks("storage"):
            if count * (volume.number("size") or 0) > limits.STORAGE.most_in_group:
                allowed = f"{limits.UNITS_IN_GROUP} times {limits.STORAGE.text} at most"
                findings.add(volume.at, Complaint(what="too much for that many replicas", allowed=allowed))
