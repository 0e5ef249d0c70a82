"""The editors' schema agrees with the parser on every file at hand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from yaml.nodes import MappingNode, Node, ScalarNode

from provider import sdl
from provider.sdl import source
from provider.sdl.blocks import is_null
from provider.sdl.model import Listing, Names, Scalar, Section, Shape
from provider.sdl.model_profiles import DOCUMENT
from provider.sdl.schema import json_schema
from tests.sdl_texts import BASE, CORPUS, changed, with_gpu, with_service, with_storage

STRUCTURE = ("unknown key", " is missing", " stands here", " is text", " is unknown")
"""Words of the faults that a schema can see."""


def validator() -> Any:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft7Validator.check_schema(json_schema())
    return jsonschema.Draft7Validator(json_schema())


def plain(node: Node) -> Any:
    """A node as an editor sees it: YAML 1.2's core schema."""
    if isinstance(node, MappingNode):
        return {key.value: plain(value) for key, value in node.value}
    if not isinstance(node, ScalarNode):
        return [plain(each) for each in node.value]
    if is_null(node):
        return None
    if node.style:
        return node.value
    if re.fullmatch(r"[-+]?[0-9]+", node.value):
        return int(node.value)
    if re.fullmatch(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", node.value):
        return float(node.value)
    return {"true": True, "false": False}.get(node.value.lower(), node.value)


def files() -> list[Path]:
    return sorted(
        [*Path("manifests").glob("*.yaml"), *CORPUS.glob("parity/**/*.yaml"), *CORPUS.glob("awesome/*")]
    )


def test_every_file_that_is_taken_satisfies_the_schema() -> None:
    check, taken = validator(), 0
    for path in files():
        try:
            parsed = sdl.read(path.read_bytes())
        except sdl.SdlInvalid:
            continue
        if any("empty entry" in each.what for each in parsed.warnings):
            continue
        tree = plain(source.parse(path.read_text(encoding="utf-8")).root)
        assert [error.message for error in check.iter_errors(tree)] == [], path
        taken += 1
    assert taken > 5


def test_every_structural_fault_is_seen_by_the_schema() -> None:
    check = validator()
    for path in files():
        try:
            sdl.read(path.read_bytes())
        except sdl.SdlInvalid as invalid:
            errors = [each for each in invalid.problems if each.severity is sdl.Severity.ERROR]
            if any(word in each.what for each in errors for word in STRUCTURE):
                tree = plain(source.parse(path.read_text(encoding="utf-8")).root)
                assert list(check.iter_errors(tree)), path


@pytest.mark.parametrize(
    "text",
    [
        changed(("image: nginx:1", "imgae: nginx:1")),
        changed(("port: 80", "port: 0")),
        changed(("port: 80", "port: '80'")),
        changed(("global: true", "global: 1")),
        changed(('"2.0"', '"3.0"')),
        changed(("size: 512Mi", "sise: 512Mi")),
        with_service("env: {A: b}"),
        with_service("params: {tee: sgx}"),
        with_storage("{size: 1Gi, attributes: {class: ssd}}"),
        with_gpu("{units: 1, attributes: {vendor: {amd: }}}"),
        BASE + "x: 1\n",
    ],
)
def test_faults_that_an_editor_underlines(text: str) -> None:
    assert list(validator().iter_errors(plain(source.parse(text).root)))


@pytest.mark.parametrize("text", [BASE, with_service("command:\nenv: [A=1]"), changed(('"2.0"', "2.1"))])
def test_what_an_editor_leaves_alone(text: str) -> None:
    assert not list(validator().iter_errors(plain(source.parse(text).root)))


def fields(shape: Shape) -> Iterator[tuple[str, str]]:
    if isinstance(shape, Section):
        for each in shape.fields:
            yield each.name, each.about
            yield from fields(each.shape)
    elif isinstance(shape, Listing):
        yield from fields(shape.item)
    elif isinstance(shape, Names):
        yield from fields(shape.value)
    else:
        assert isinstance(shape, Scalar)


def test_every_field_is_described_and_documented() -> None:
    page = Path("docs/sdl.md").read_text(encoding="utf-8")
    for name, about in fields(DOCUMENT):
        assert about.endswith("."), name
        assert re.search(rf"`{name}[`:]", page), f"docs/sdl.md does not mention `{name}`"
