"""Reading a manifest file: text in, values or problems out.

Owns the order of the steps: bounds and YAML (``source``), structure (``blocks``), secrets
(``substitute``), rules (``check``), derivation (``build``). Invariant: pure, and the only way out other
than a ``Parsed`` is ``SdlInvalid``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from yaml.nodes import MappingNode, Node, ScalarNode

from provider.domain.manifest import Manifest
from provider.domain.market import GroupSpec
from provider.domain.moment import Span
from provider.domain.workload import Dependency
from provider.sdl import source
from provider.sdl.blocks import Block, Findings, Place, is_null, read_section
from provider.sdl.build import build
from provider.sdl.canonical import MOST_JSON_BYTES
from provider.sdl.check import Sections, check, idle_ways, sections_of, version_of
from provider.sdl.dependencies import check_dependencies, dependencies_of
from provider.sdl.manifest_json import manifest_json
from provider.sdl.model_profiles import DOCUMENT
from provider.sdl.problems import Problem, SdlInvalid, Severity, with_excerpts
from provider.sdl.scalars import Complaint
from provider.sdl.substitute import NOTHING, Substitution, substitute

BYTES_OF_ENTRY = 3
"""Of an entry of a list of texts: its quotes and a comma."""
BYTES_OF_EXPOSE = 200
"""Of an expose in the manifest's JSON, which names all of its fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What one SDL file means."""

    version: str
    """``2.0`` or ``2.1``."""
    manifest: Manifest
    groups: tuple[GroupSpec, ...]
    """One a placement, sorted by name: the n-th becomes the group with ``gseq`` n, counted from 1."""
    dependencies: tuple[Dependency, ...] = ()
    """Who waits for whom at the start, of all groups; no part of the manifest, nor of its hash."""
    reclamation_window: Span | None = None
    """The shortest notice that the tenant accepts; None where the file does not ask for any."""
    warnings: tuple[Problem, ...] = ()


def read(
    data: str | bytes,
    *,
    lenient: bool = False,
    substitution: Substitution = NOTHING,
    needs_port: bool = True,
) -> Parsed:
    """The meaning of an SDL file; ``SdlInvalid`` with all its problems if it has none.

    ``lenient`` gives Akash's own verdict: what Akash ignores or lets pass (unknown keys first of all)
    becomes a warning. ``substitution`` fills in ``${NAME}`` in ``env`` and ``credentials``; without it
    such text stays as it is, as in Akash. Without ``needs_port`` nobody need be able to reach it.
    """
    text = source.decode(data) if isinstance(data, bytes) else data.removeprefix("\ufeff")
    try:
        return _read(text, Findings(is_lenient=lenient, needs_port=needs_port), substitution)
    except SdlInvalid as invalid:
        raise SdlInvalid(with_excerpts(invalid.problems, text)) from invalid


def _read(text: str, findings: Findings, substitution: Substitution) -> Parsed:
    parsed = source.parse(text)
    sections = _sections(parsed, findings)
    if sections is not None:
        substitute(sections.services, substitution, findings)
        check(sections, findings)
        check_dependencies(sections, findings)
    problems = tuple(sorted(findings.problems, key=lambda each: (each.line, each.column)))
    if findings.has_errors or sections is None:
        raise SdlInvalid(problems)
    assert all(each.severity is Severity.WARNING for each in problems), "errors were raised"
    problems = with_excerpts(problems, text) if problems else ()
    bulk = _bulk(sections)
    if bulk > MOST_JSON_BYTES:
        raise _too_large(bulk)
    manifest, groups = build(sections)
    if (parsed.is_large or bulk > source.LARGE) and (size := len(manifest_json(manifest))) > MOST_JSON_BYTES:
        raise _too_large(size)
    reclamation = sections.document.block("reclamation")
    window_ms = reclamation.number("min_window") if reclamation is not None else None
    window = None if window_ms is None else Span(window_ms)
    return Parsed(
        version=version_of(sections.document) or "",
        manifest=manifest,
        groups=tuple(_told_ahead(group, window) for group in groups),
        dependencies=dependencies_of(sections),
        reclamation_window=window,
        warnings=problems,
    )


def _told_ahead(group: GroupSpec, window: Span | None) -> GroupSpec:
    return (
        group if window is None else replace(group, requirements=replace(group.requirements, notice=window))
    )


def _bulk(sections: Sections) -> int:
    """Bytes that the manifest has at least: what makes it long is counted before it is made."""
    of_service = {name: _bulk_of(service) for name, service in sections.services.items()}
    return sum(of_service.get(use.service_name, 0) for use in sections.uses)


def _bulk_of(service: Block) -> int:
    texts = sum(
        len(text) + BYTES_OF_ENTRY for name in ("command", "args", "env") for _, text in service.indexed(name)
    )
    exposes = sum(max(1, len(expose.blocks("to"))) for expose in service.blocks("expose"))
    hosts = sum(
        (len(host) + BYTES_OF_ENTRY) * max(1, len(expose.blocks("to")))
        for expose in service.blocks("expose")
        for _, host in expose.indexed("accept")
    )
    return texts + exposes * BYTES_OF_EXPOSE + hosts


def _too_large(size: int) -> SdlInvalid:
    """No provider would take it."""
    what, allowed = f"the manifest has {size:,} bytes or more", f"at most {MOST_JSON_BYTES:,}"
    return SdlInvalid([Problem(line=1, column=1, what=what, allowed=allowed)])


def _sections(parsed: source.Source, findings: Findings) -> Sections | None:
    root = Place(parsed.root, ())
    if parsed.extra is not None:
        line, column = parsed.extra
        _second_document(line, column, findings)
    if not isinstance(parsed.root, MappingNode):
        found = "nothing" if is_null(parsed.root) else "no mapping"
        findings.add(root, Complaint(what=f"there is {found} in the file", allowed="an SDL document"))
        return None
    findings.idle = _idle(parsed.root)
    return sections_of(read_section(DOCUMENT, root, findings))


def _second_document(line: int, column: int, findings: Findings) -> None:
    problem = Problem(
        line=line,
        column=column,
        what="a second document begins here",
        allowed="one document a file",
        hint="Akash reads the first and ignores the rest",
        severity=Severity.WARNING if findings.is_lenient else Severity.ERROR,
    )
    findings.problems.append(problem)
    findings.has_errors = findings.has_errors or not findings.is_lenient


def _idle(root: MappingNode) -> frozenset[tuple[str | int, ...]]:
    """A first look at names alone, so that rules know from the start what is in use."""
    profiles = _child(root, "profiles")
    deployment = _child(root, "deployment")
    names = {
        "services": _keys(_child(root, "services")),
        "compute": _keys(_child(profiles, "compute")),
        "placement": _keys(_child(profiles, "placement")),
    }
    used: dict[str, set[str]] = {"services": set(), "compute": set(), "placement": set()}
    for service, placements in _items(deployment):
        for placement, entry in _items(placements):
            profile = _child(entry, "profile")
            used["services"].add(service)
            used["placement"].add(placement)
            used["compute"].add(str(profile.value) if isinstance(profile, ScalarNode) else "")
    return idle_ways(names, used)


def _items(node: Node | None) -> list[tuple[str, Node]]:
    pairs = node.value if isinstance(node, MappingNode) else []
    return [(str(key.value), value) for key, value in pairs if isinstance(key, ScalarNode)]


def _keys(node: Node | None) -> set[str]:
    return {name for name, _ in _items(node)}


def _child(node: Node | None, name: str) -> Node | None:
    return next((value for key, value in _items(node) if key == name), None)
