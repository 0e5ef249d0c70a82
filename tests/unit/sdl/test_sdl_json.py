"""JSON: Go's bytes on the way out; on the way in nothing but a manifest that can be run."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider import sdl
from provider.sdl.canonical import go_json, sorted_json
from tests.sdl_texts import BASE, changed, with_gpu, with_service

FULL = changed(
    (
        "    image: nginx:1\n",
        "    image: nginx:1\n    params: {storage: {default: {mount: /d}}, permissions: {read: [logs]}}\n",
    ),
    ("port: 80", "port: 80\n        accept: [a.io]\n        http_options: {proxy_buffer_size: 4096}"),
    text=with_gpu("{units: 1, attributes: {vendor: {nvidia: [{model: h100, ram: 80Gi}]}}}"),
)


def test_bytes() -> None:
    """The whole of a small manifest, as Go's encoding/json writes it."""
    assert sdl.manifest_json(sdl.read(BASE).manifest) == (
        b'[{"name":"here","services":[{"name":"web","image":"nginx:1","command":null,"args":null,"env":null,'
        b'"resources":{"id":1,"cpu":{"units":{"val":"500"}},"memory":{"size":{"val":"536870912"}},'
        b'"storage":[{"name":"default","size":{"val":"1073741824"}}],"gpu":{"units":{"val":"0"}},'
        b'"endpoints":[{"sequence_number":0}]},"count":1,"expose":[{"port":80,"externalPort":0,'
        b'"proto":"TCP","service":"","global":true,"hosts":null,"httpOptions":{"maxBodySize":1048576,'
        b'"readTimeout":60000,"sendTimeout":60000,"nextTries":3,"nextTimeout":0,'
        b'"nextCases":["error","timeout"]},"ip":"","endpointSequenceNumber":0}],"credentials":null}]}]'
    )


def test_group_bytes() -> None:
    assert sdl.group_specs_json(sdl.read(BASE).groups) == (
        b'[{"name":"here","requirements":{"signed_by":{"all_of":null,"any_of":null},"attributes":null},'
        b'"resources":[{"resource":{"id":1,"cpu":{"units":{"val":"500"}},"memory":{"size":{"val":"536870912"}},'
        b'"storage":[{"name":"default","size":{"val":"1073741824"}}],"gpu":{"units":{"val":"0"}},'
        b'"endpoints":[{"sequence_number":0}]},"count":1,'
        b'"price":{"denom":"uact","amount":"100.000000000000000000"}}]}]'
    )


def test_go_escapes() -> None:
    assert go_json(['<a href="&">', "\u2028\u2029", "é😀", "\t\n\x01\x7f"]) == (
        b'["\\u003ca href=\\"\\u0026\\"\\u003e","\\u2028\\u2029",' + '"é😀","\\t\\n\\u0001\x7f"]'.encode()
    )


def test_the_hash_is_that_of_the_sorted_json() -> None:
    manifest = sdl.read(with_service("args: ['a && b > c']")).manifest
    as_json = sdl.manifest_json(manifest)
    expected = hashlib.sha256(sorted_json(json.loads(as_json))).hexdigest()
    assert sdl.manifest_hash(manifest) == expected
    assert sdl.hash_of_json(as_json) == expected
    assert sdl.hash_of_json(json.dumps(json.loads(as_json), indent=3).encode()) == expected


@pytest.mark.parametrize("text", [BASE, FULL])
def test_there_and_back(text: str) -> None:
    parsed = sdl.read(text)
    assert sdl.manifest_from_json(sdl.manifest_json(parsed.manifest)) == parsed.manifest
    without_names = replace(parsed.groups[0], hostnames=())  # which Akash's form does not have
    assert sdl.group_from_json(sdl.group_spec_json(parsed.groups[0])) == without_names


Edit = Callable[[Any], object]


def service(tree: Any) -> Any:
    return tree[0]["services"][0]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda t: t.clear(), "no group"),
        (lambda t: t.append(copy.deepcopy(t[0])), "two of one name"),
        (lambda t: t[0].update(extra=1), "a key that does not belong here"),
        (lambda t: t[0].pop("name"), '"name" is missing'),
        (lambda t: t[0].update(services=[]), "no service"),
        (lambda t: t[0]["services"].append(service(t)), "not sorted by name"),
        (lambda t: service(t).update(name="../x"), "cannot name a service"),
        (lambda t: service(t).update(image=""), "an empty text"),
        (lambda t: service(t).update(image=1), "not a text"),
        (lambda t: service(t).update(args=["a\0b"]), "not a text"),
        (lambda t: service(t).update(env=["=x"]), "does not name a variable"),
        (lambda t: service(t).update(count=True), "not a whole number"),
        (lambda t: service(t).update(count=-1), "not between"),
        (lambda t: service(t).update(count=10**9), "not between"),
        (lambda t: service(t)["resources"].update(id=0), "not between"),
        (
            lambda t: service(t)["resources"]["cpu"]["units"].update(val="0500"),
            "not a whole number in a text",
        ),
        (lambda t: service(t)["resources"]["cpu"]["units"].update(val="9"), "outside of 10m"),
        (lambda t: service(t)["resources"]["cpu"].update(attributes=[]), "not in the form"),
        (lambda t: service(t)["resources"]["gpu"]["attributes"][0].update(key="x"), "not a kind of GPU"),
        (lambda t: service(t)["resources"].update(storage=[]), "no volume"),
        (lambda t: service(t)["resources"]["endpoints"][0].update(kind=0), "not between"),
        (lambda t: service(t)["expose"][0].update(port=0), "not between"),
        (lambda t: service(t)["expose"][0].update(proto="tcp"), "neither TCP nor UDP"),
        (lambda t: service(t)["expose"][0].update(hosts=["A"]), "not a host name"),
        (lambda t: service(t)["expose"][0].update(hosts=["a.io", "a.io"]), "stands twice"),
        (lambda t: service(t)["expose"][0]["httpOptions"].update(maxBodySize=10**9), "not between"),
        (lambda t: service(t)["expose"][0].update({"global": False}), "no service of the manifest is global"),
        (lambda t: service(t)["params"]["storage"][0].update(mount="etc"), "not an absolute path"),
        (lambda t: service(t)["params"].update(tee={"type": "cpu", "attestation": False}), "not in the form"),
    ],
)
def test_hostile_manifests(edit: Edit, words: str) -> None:
    tree = json.loads(sdl.manifest_json(sdl.read(FULL).manifest))
    edit(tree)
    with pytest.raises(sdl.JsonInvalid) as caught:
        sdl.manifest_from_json(json.dumps(tree).encode())
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not JSON"),
        (b"{}", "not a list"),
        (b"[" * 100_000, "nested deeper"),
        (b'[{"a":' * 50_000, "nested deeper"),
        (b" " * (1 << 20) + b"[]", "bytes"),
        (b'[{"a":1,"a":2}]', "a key stands twice"),
        (b"[NaN]", "NaN is not a number"),
        (b"[Infinity]", "Infinity is not a number"),
        (b"[" + b"9" * 5000 + b"]", "more than 20 digits"),
        (b"[\xff]", "not UTF-8"),
        (b'["\\ud800"]', "not an object"),
    ],
    ids=lambda value: repr(value)[:16],
)
def test_json_faults(data: bytes, words: str) -> None:
    for read in (sdl.manifest_from_json, sdl.group_specs_from_json):
        with pytest.raises(sdl.JsonInvalid) as caught:
            read(data)
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda t: t["resources"][0]["price"].update(amount="100"), "not a price"),
        (lambda t: t["resources"][0]["price"].update(amount="0.000000000000000000"), "not a price"),
        (lambda t: t["resources"][0]["price"].update(denom="usd"), "an unknown currency"),
        (lambda t: t["resources"].append(copy.deepcopy(t["resources"][0])), "two of one id"),
        (lambda t: t["resources"].clear(), "no resources"),
        (lambda t: t["requirements"].update(attributes=[]), "not in the form"),
    ],
)
def test_hostile_groups(edit: Edit, words: str) -> None:
    tree = json.loads(sdl.group_spec_json(sdl.read(BASE).groups[0]))
    edit(tree)
    with pytest.raises(sdl.JsonInvalid) as caught:
        sdl.group_from_json(json.dumps(tree).encode())
    assert words in str(caught.value)


def test_messages_never_hold_values() -> None:
    tree = json.loads(sdl.manifest_json(sdl.read(BASE).manifest))
    service(tree)["env"] = ["1hush=hush"]
    with pytest.raises(sdl.JsonInvalid) as caught:
        sdl.manifest_from_json(json.dumps(tree).encode())
    assert "hush" not in str(caught.value)


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda each: st.lists(each, max_size=4) | st.dictionaries(st.text(max_size=6), each, max_size=4),
    max_leaves=20,
)


@given(tree=TREES)
def test_any_json_is_taken_or_refused_cleanly(tree: Any) -> None:
    data = json.dumps(tree).encode()
    for read in (sdl.manifest_from_json, sdl.group_from_json, sdl.hash_of_json):
        try:
            read(data)
        except sdl.JsonInvalid:
            continue


@given(
    tree=TREES,
    where=st.sampled_from(sorted(json.loads(sdl.manifest_json(sdl.read(FULL).manifest))[0]["services"][0])),
)
def test_any_value_in_any_field_of_a_service(tree: Any, where: str) -> None:
    """What is accepted has the hash of what came; everything else is refused."""
    whole = json.loads(sdl.manifest_json(sdl.read(FULL).manifest))
    service(whole)[where] = tree
    data = json.dumps(whole).encode()
    try:
        manifest = sdl.manifest_from_json(data)
    except sdl.JsonInvalid:
        return
    assert sdl.hash_of_json(data) == sdl.manifest_hash(manifest)
