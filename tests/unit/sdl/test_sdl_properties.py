"""Whatever the input: the documented exception or a manifest, quickly; and the same manifest each time."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from provider import sdl
from provider.sdl.model import Listing, Names, Scalar, Shape
from provider.sdl.model_profiles import DOCUMENT
from tests.bench.bench_sdl import services_file
from tests.sdl_texts import BASE

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(
        ["512Mi", "0.5", "500m", "web", "here", "small", "/x", "uact", "true", "80", "nvidia", "ip"]
    ),
)


def trees(shape: Shape) -> st.SearchStrategy[Any]:
    """YAML that has the language's names in the right places, and anything for values."""
    if isinstance(shape, Scalar):
        return ODD
    if isinstance(shape, Listing):
        return st.one_of(st.lists(trees(shape.item), max_size=3), ODD)
    if isinstance(shape, Names):
        names = st.sampled_from(["web", "here", "small", "default", "x y", ""])
        return st.one_of(st.dictionaries(names, trees(shape.value), max_size=2), ODD)
    fields = {each.name: trees(each.shape) for each in shape.fields}
    return st.one_of(st.fixed_dictionaries({}, optional=fields), ODD)


def read_or_refuse(data: str | bytes, *, lenient: bool) -> sdl.Parsed | None:
    try:
        return sdl.read(data, lenient=lenient)
    except sdl.SdlInvalid as invalid:
        _is_readable(invalid)
        return None


def _is_readable(invalid: sdl.SdlInvalid) -> None:
    assert any(each.severity is sdl.Severity.ERROR for each in invalid.problems)
    assert all(each.line >= 1 and each.column >= 1 for each in invalid.problems)
    assert sdl.show(invalid, "x").count("\n") < 3 * len(invalid.problems)


@settings(max_examples=150)
@given(tree=trees(DOCUMENT), lenient=st.booleans())
def test_any_tree(tree: Any, lenient: bool) -> None:
    read_or_refuse(yaml.safe_dump(tree, allow_unicode=True), lenient=lenient)


@given(data=st.binary(max_size=300), lenient=st.booleans())
def test_any_bytes(data: bytes, lenient: bool) -> None:
    read_or_refuse(data, lenient=lenient)


@settings(max_examples=300)
@given(at=st.integers(0, len(BASE)), cut=st.integers(0, 12), put=st.text(max_size=6), lenient=st.booleans())
def test_any_edit(at: int, cut: int, put: str, lenient: bool) -> None:
    """A small slip anywhere in a file that was right; where it still is, everything fits together."""
    parsed = read_or_refuse(BASE[:at] + put + BASE[at + cut :], lenient=lenient)
    if parsed is not None and not lenient:
        as_json = sdl.manifest_json(parsed.manifest)
        assert sdl.manifest_from_json(as_json) == parsed.manifest
        assert sdl.hash_of_json(as_json) == sdl.manifest_hash(parsed.manifest)
        assert sdl.group_specs_from_json(sdl.group_specs_json(parsed.groups)) == parsed.groups
        assert sdl.cross_check(parsed.manifest, parsed.groups) == ()


@given(at=st.integers(0, len(BASE)), cut=st.integers(1, 12))
def test_lenient_takes_whatever_strict_takes(at: int, cut: int) -> None:
    text = BASE[:at] + BASE[at + cut :]
    strict = read_or_refuse(text, lenient=False)
    if strict is not None:
        loose = sdl.read(text, lenient=True)
        assert (loose.manifest, loose.groups) == (strict.manifest, strict.groups)


def _many(count: int) -> dict[str, str]:
    """Texts whose length grows with ``count``, each of a kind that something could be quadratic in."""
    one = services_file(1)
    names = range(count)
    return {
        "services": services_file(count // 20),
        "list": "a: [" + "x, " * count + "]",
        "keys": "".join(f"k{n}: 1\n" for n in names),
        "scalar": "a: " + "x" * 20 * count,
        "question-marks": "? " * 60 + "a\n" * count,
        "anchors": "&a a: *a\n" * count,
        "comments": BASE + "#\n" * count,
        "broken-services": "services: {" + ",".join(f"a{n}: {{x: 1}}" for n in names) + "}",
        "doubled-keys": "a: 1\n" * count,
        "empty-entries": one.replace("[A=0]", "[" + "~," * count + "]"),
        "volumes": one.replace(
            "{size: 1Gi}\n  p", "[" + "".join(f"{{name: v{n}}}," for n in names) + "]\n  p"
        ),
        "exposes": one.replace("expose:\n", "expose:\n" + "      - port: 1\n" * count),
        "targets": one.replace("- global: true\n", "- global: true\n" + "          - service: x\n" * count),
        "host-names": one.replace("- port: 1000\n", f"- port: 1000\n        accept: [{'a.io, ' * count}]\n"),
        "marks": one.replace("[A=0]", "['A=" + "${" * count + "']"),
    }


@pytest.mark.parametrize("kind", _many(1))
def test_cost_grows_with_length_and_no_faster(kind: str) -> None:
    """Ten times the text takes about ten times as many steps; a quadratic part would take a hundred."""
    assert _steps(_many(1_000)[kind]) < 12 * _steps(_many(100)[kind])


@pytest.mark.parametrize("lenient", [False, True])
def test_a_small_file_never_becomes_a_huge_manifest(lenient: bool) -> None:
    """One long text, used at many placements: counted before it is multiplied."""
    places = "".join(f"    q{n}: {{pricing: {{c: {{denom: uact, amount: 1}}}}}}\n" for n in range(900))
    uses = "".join(f"    q{n}: {{profile: c, count: 1}}\n" for n in range(900))
    text = (
        services_file(1)
        .replace("  placement:\n", f"  placement:\n{places}")
        .replace("  s0:\n    p0:\n", f"  s0:\n{uses}    p0:\n")
        .replace("[A=0]", f"[A={'x' * 100_000}]")
    )
    with pytest.raises(sdl.SdlInvalid) as caught:
        sdl.read(text, lenient=lenient)
    assert any(word in str(caught.value) for word in ("bytes or more", "placements are used"))


def test_more_than_any_market_takes() -> None:
    one = services_file(1)
    volumes = one.replace(
        "{size: 1Gi}\n  p", "[" + "".join(f"{{name: v{n}, size: 1Gi}}," for n in range(65)) + "]\n  p"
    )
    for text, what in ((volumes, "65 volumes"), (services_file(1001), "1001 services at placements")):
        with pytest.raises(sdl.SdlInvalid) as caught:
            sdl.read(text, lenient=True)
        assert what in [each.what for each in caught.value.problems]


def _steps(text: str) -> int:
    """Lines that the reader executes: the same on every machine, however busy."""
    steps = 0

    def count(_frame: FrameType, event: str, _argument: object) -> object:
        nonlocal steps
        steps += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)  # type: ignore[arg-type]  # typeshed wants the exact protocol
    try:
        read_or_refuse(text, lenient=False)
    finally:
        sys.settrace(before)
    return steps
