"""YAML nodes read by the shapes of ``model``: every field typed, every fault noted with its place.

Owns structure: unknown and doubled keys, missing fields, wrong types, merge keys, nulls, in the way of
Akash's Go decoder. Does not own rules between fields (``check``). Invariant: reading goes on after a
fault, and what could not be read is absent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from provider.sdl.model import Field, Listing, Names, Scalar, Section, Shape
from provider.sdl.problems import MOST_PROBLEMS, Problem, Severity, quote, suggest
from provider.sdl.scalars import Complaint
from provider.sdl.source import PLAIN_TAG, place_of

Step = str | int
NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_SCALAR_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null"))
_TREE_TAGS = frozenset({"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})
_MERGE = "<<"
_KINDS = {ScalarNode: "one value", SequenceNode: "a list", MappingNode: "a mapping"}


@dataclass(slots=True)
class Findings:
    """The problems of one file, as they are found."""

    is_lenient: bool
    needs_port: bool = True
    """Whether one port must be global, as Akash wants it."""
    idle: frozenset[tuple[Step, ...]] = frozenset()
    """Ways to services, profiles and placements that no deployment uses: Akash reads them, and no more."""
    problems: list[Problem] = field(default_factory=list)
    has_errors: bool = False
    counts: Counter[Severity] = field(default_factory=Counter)
    seen: set[tuple[int, int, str]] = field(default_factory=set)
    """A service at two placements breaks its rules once."""

    def is_full(self, severity: Severity) -> bool:
        """Enough of these are kept; warnings never push out an error."""
        return self.counts[severity] >= MOST_PROBLEMS

    def add(self, at: Place, complaint: Complaint, *, is_private: bool = False) -> None:
        """An error, or in a lenient reading a warning where Akash lets it pass."""
        severity = Severity.WARNING if complaint.is_soft and self.is_lenient else Severity.ERROR
        self._keep(at, complaint, severity, is_private=is_private)

    def rule(self, at: Place, complaint: Complaint, *, is_private: bool = False) -> None:
        """A broken rule: one that Akash does not look at where the thing is idle."""
        if at.path[:2] in self.idle or at.path[:3] in self.idle:
            complaint = replace(complaint, is_soft=True)
        self.add(at, complaint, is_private=is_private)

    def warn(self, at: Place, what: str, hint: str = "", *, is_private: bool = False) -> None:
        """Something that is legal and still not what was meant."""
        self._keep(at, Complaint(what=what, hint=hint), Severity.WARNING, is_private=is_private)

    def _keep(self, at: Place, complaint: Complaint, severity: Severity, *, is_private: bool) -> None:
        self.has_errors = self.has_errors or severity is Severity.ERROR
        line, column = place_of(at.node)
        if self.is_full(severity) or (line, column, complaint.what) in self.seen:
            return
        self.counts[severity] += 1
        self.seen.add((line, column, complaint.what))
        problem = Problem(
            line=line,
            column=column,
            path=path_text(at.path),
            what=complaint.what,
            allowed=complaint.allowed,
            hint=complaint.hint,
            severity=severity,
            is_private=is_private,
        )
        self.problems.append(problem)


@dataclass(frozen=True, slots=True)
class Place:
    """A node and the way to it."""

    node: Node
    path: tuple[Step, ...]


def path_text(path: tuple[Step, ...]) -> str:
    """``services.web.expose[0].port``; names that are not plain words are quoted in brackets."""
    parts = ""
    for step in path:
        if isinstance(step, int):
            parts += f"[{step}]"
        elif step.replace("-", "").replace("_", "").isalnum() and len(step) <= 64:
            parts += f".{step}" if parts else step
        else:
            parts += f"[{quote(step)}]"
    return parts


@dataclass(slots=True)
class Block:
    """One mapping that was read. Getters give None (or nothing) where a field is absent or was faulty."""

    at: Place
    values: dict[str, Any] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    """Of the values, by field; of list entries by ``(field, index)`` through ``place``."""

    def __contains__(self, name: str) -> bool:
        """Whether the field was written, whatever became of it."""
        return name in self.places

    def place(self, name: str, index: int | None = None) -> Place:
        """Of a field, or of an entry of its list; of the block itself where it is absent."""
        at = self.places.get(name)
        if at is None:
            return Place(self.at.node, (*self.at.path, name))
        if index is None or not isinstance(at.node, SequenceNode):
            return at
        return Place(at.node.value[index], (*at.path, index))

    def text(self, name: str) -> str | None:
        value = self.values.get(name)
        assert value is None or isinstance(value, str)
        return value

    def number(self, name: str) -> int | None:
        value = self.values.get(name)
        assert value is None or isinstance(value, int)
        return value

    def texts(self, name: str) -> tuple[str, ...] | None:
        """None where the list is absent or null, as against an empty one."""
        value = self.values.get(name)
        return None if value is None else tuple(each for _, each in value)

    def indexed(self, name: str) -> list[tuple[int, Any]]:
        """The entries of a list with their positions in the file; faulty and null ones are left out."""
        return self.values.get(name) or []

    def block(self, name: str) -> Block | None:
        value = self.values.get(name)
        assert value is None or isinstance(value, Block)
        return value

    def blocks(self, name: str) -> list[Block]:
        return [each for _, each in self.values.get(name) or []]

    def named(self, name: str) -> dict[str, Any]:
        """The values of a mapping with free names; empty where absent."""
        return self.values.get(name) or {}


def key_place(at: Place, *names: str) -> Place:
    """Of the last of the keys ``names``, one in the other's mapping; of ``at`` where a merge brought it."""
    node, key = at.node, at.node
    for name in names:
        pairs = node.value if isinstance(node, MappingNode) else ()
        found = next(
            (pair for pair in pairs if isinstance(pair[0], ScalarNode) and pair[0].value == name), None
        )
        if found is None:
            return Place(at.node, (*at.path, *names))
        key, node = found
    return Place(key, (*at.path, *names))


def is_null(node: Node) -> bool:
    """Nothing was written, or a null."""
    return isinstance(node, ScalarNode) and node.tag == PLAIN_TAG and not node.style and node.value in NULLS


def read_section(section: Section, at: Place, findings: Findings) -> Block:
    """``at.node`` by ``section``; anything but a mapping (or nothing) is a fault."""
    block = Block(at)
    for key, name, node in _entries(at, findings, is_strict=section.is_strict):
        known = section.by_name.get(name)
        if known is None:
            _unknown_key(section, Place(key, (*at.path, name)), name, findings)
            continue
        place = Place(node, (*at.path, name))
        block.places[name] = place
        value = _read(known.shape, place, findings)
        if value is not None:
            block.values[name] = value
    for each in section.fields:
        if each.is_required and (each.name not in block.places or is_null(block.places[each.name].node)):
            _missing(each, block, findings)
    return block


def _missing(each: Field, block: Block, findings: Findings) -> None:
    what = f'"{each.name}" is missing'
    findings.rule(Place(block.at.node, (*block.at.path, each.name)), Complaint(what=what, hint=each.about))


def _unknown_key(section: Section, at: Place, name: str, findings: Findings) -> None:
    known = [each.name for each in section.fields]
    soft = not section.is_strict
    severity = Severity.WARNING if soft and findings.is_lenient else Severity.ERROR
    # a guess costs more than all the rest, and nobody would see it
    hint = "" if findings.is_full(severity) else dict(section.strays).get(name) or suggest(name, known)
    if soft and findings.is_lenient:
        hint = f"ignored, as Akash does; {hint}" if hint else "ignored, as Akash does"
    what = f"unknown key {quote(name)}"
    findings.add(at, Complaint(what=what, allowed=", ".join(known), hint=hint, is_soft=soft))


def _read(shape: Shape, at: Place, findings: Findings) -> Any:
    """The value, or None for null and for what could not be read."""
    node = at.node
    if type(shape) is Scalar:
        return _read_scalar(shape, at, findings)
    if is_null(node):
        return None
    if not _tag_fits(node, _TREE_TAGS):
        return _wrong_tag(at, findings)
    if type(shape) is Section:
        return read_section(shape, at, findings) if _is_a(MappingNode, at, findings) else None
    if type(shape) is Names:
        return _read_names(shape, at, findings) if _is_a(MappingNode, at, findings) else None
    assert type(shape) is Listing
    if shape.is_or_one and isinstance(node, MappingNode):
        return [(0, _read(shape.item, at, findings))]
    if not _is_a(SequenceNode, at, findings):
        return None
    return _read_list(shape, at, findings)


def _read_list(shape: Listing, at: Place, findings: Findings) -> list[tuple[int, Any]]:
    entries = []
    for index, node in enumerate(at.node.value):
        place = Place(node, (*at.path, index))
        if is_null(node) and type(shape.item) is Section:
            findings.warn(place, "an empty entry is left out")
            continue
        value = _read(shape.item, place, findings)
        if value is not None:
            entries.append((index, value))
        elif is_null(node):
            findings.warn(place, "an empty entry is left out", 'write "" for an empty text')
    return entries


def _read_names(shape: Names, at: Place, findings: Findings) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for _, name, node in _entries(at, findings, is_strict=False):
        place = Place(node, (*at.path, name))
        if is_null(node):
            values[name] = _nothing(shape, place, findings)
            continue
        value = _read(shape.value, place, findings)
        if value is not None:
            values[name] = value
    return values


def _nothing(shape: Names, at: Place, findings: Findings) -> Any:
    """What a name without a value means: an empty text, an empty mapping, or a section lacking all."""
    if type(shape.value) is Scalar:
        return ""
    if type(shape.value) is Names:
        return {}
    assert type(shape.value) is Section
    block = Block(at)
    for each in shape.value.fields:
        if each.is_required:
            _missing(each, block, findings)
    return block


def _read_scalar(shape: Scalar, at: Place, findings: Findings) -> Any:
    node = at.node
    if not isinstance(node, ScalarNode):
        _is_a(ScalarNode, at, findings)
        return None
    if not _tag_fits(node, _SCALAR_TAGS):
        return _wrong_tag(at, findings)
    if is_null(node):
        return None
    if "\0" in node.value:
        findings.add(at, Complaint(what="a NUL character", allowed="text that a container can be given"))
        return None
    is_quoted = bool(node.style) or node.tag == "tag:yaml.org,2002:str"
    value, complaint = shape.read(node.value, is_quoted)
    if complaint is None and (shape.choices or shape.least is not None or shape.most is not None):
        if (complaint := _bounds(shape, value)) is not None:
            findings.rule(at, complaint)
    elif complaint is not None:
        findings.add(at, complaint, is_private=shape.is_private)
    return value


def _bounds(shape: Scalar, value: Any) -> Complaint | None:
    if shape.choices and value not in shape.choices:
        hint = suggest(value, shape.choices) if isinstance(value, str) else ""
        allowed = ", ".join(shape.choices)
        return Complaint(
            what=f"{quote(str(value))} is unknown", allowed=allowed, hint=hint, is_soft=shape.is_soft
        )
    if shape.most is not None and isinstance(value, int) and value > shape.most:
        return Complaint(what=f"{value} is too much", allowed=f"at most {shape.most}", is_soft=shape.is_soft)
    if shape.least is not None and isinstance(value, int) and value < shape.least:
        return Complaint(
            what=f"{value} is too little", allowed=f"at least {shape.least}", is_soft=shape.is_soft
        )
    return None


def _entries(at: Place, findings: Findings, *, is_strict: bool) -> Iterator[tuple[Node, str, Node]]:
    """Keys, names and values of a mapping in order, merge keys (``<<``) last; doubled keys are faults."""
    seen: dict[str, Node] = {}
    merged: list[Node] = []
    for key, value in at.node.value:
        name = _key_name(key, at, findings)
        if name is None:
            continue
        if name == _MERGE and not key.style and not is_strict:
            merged.extend(_merge_sources(Place(value, (*at.path, name)), findings))
            continue
        if name in seen:
            what = f"{quote(name)} is written twice; first in line {place_of(seen[name])[0]}"
            findings.add(Place(key, (*at.path, name)), Complaint(what=what))
            continue
        seen[name] = key
        yield key, name, value
    for source in merged:
        for key, name, value in _entries(Place(source, at.path), findings, is_strict=is_strict):
            if name not in seen:
                seen[name] = key
                yield key, name, value


def _merge_sources(at: Place, findings: Findings) -> list[Node]:
    parts = at.node.value if isinstance(at.node, SequenceNode) else [at.node]
    if all(isinstance(part, MappingNode) for part in parts):
        return list(parts)
    findings.add(
        at, Complaint(what="a merge needs mappings", allowed="an alias of a mapping, or a list of them")
    )
    return []


def _key_name(key: Node, at: Place, findings: Findings) -> str | None:
    if isinstance(key, ScalarNode) and _tag_fits(key, _SCALAR_TAGS):
        assert isinstance(key.value, str)
        return key.value
    findings.add(Place(key, at.path), Complaint(what="a key that is not a plain name", allowed="a name"))
    return None


def _is_a(kind: type[Node], at: Place, findings: Findings) -> bool:
    if isinstance(at.node, kind):
        return True
    hint = ""
    if (
        kind is ScalarNode
        and isinstance(at.node, MappingNode)
        and len(at.path)
        and at.path[-2:-1] == ("env",)
    ):
        hint = 'write "- NAME=value", with an equals sign'
    if kind is SequenceNode:
        hint = 'begin every entry with "-"'
    found = _KINDS[type(at.node)]
    findings.add(at, Complaint(what=f"{found} stands here", allowed=_KINDS[kind], hint=hint))
    return False


def _tag_fits(node: Node, tags: frozenset[str]) -> bool:
    return node.tag == PLAIN_TAG or node.tag in tags


def _wrong_tag(at: Place, findings: Findings) -> None:
    findings.add(
        at, Complaint(what=f"the tag {quote(at.node.tag)} is not taken", allowed="values without a tag")
    )
