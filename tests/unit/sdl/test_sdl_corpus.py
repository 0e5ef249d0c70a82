"""Files that other people wrote: Akash's own parity suite, and applications that run on Akash."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from provider import sdl
from tests.sdl_texts import CORPUS, corpus

# sha256 of the sorted JSON of Akash's fixtures, computed with Akash's recipe, which reproduces the hashes
# that chain-sdk publishes (ts/src/sdl/manifest/__snapshots__)
GOLDEN = {
    "v2.0/gpu-basic": "b388e6d97d15c37fc87ba0e9a555250941f7e1a04be768984cfa829a9500be47",
    "v2.0/http-options": "0f9e29adabc263d07fa70a66bbd4da42d7b36f323f775ea2adcabea865c77d30",
    "v2.0/multiple-services": "27bca68b1c45773b3a9ee6b2d4938d48c784abe068d3e2c6ba143c5f79b209e0",
    "v2.0/persistent-storage": "b6fc0503f97fd6dbf581ed7fbb98e9a73dc7058318d5c714e43baf6e0eeb7ce3",
    "v2.0/simple": "8f8bac7161953993f3288189e3e76093a51d33f9cdff1c8242eb9ab506981737",
    "v2.1/credentials": "9b7070ebba84bcfe5f2cc00c53b2fc3a8fe6466fb688dc33c0eef5e0095c79ac",
    "v2.1/tee-cpu": "8c58e5f80338c57f1b17780f7386512116e97b912e228f47d44cae49cfd0e63b",
}
MEANT = {
    "depends_on": "dependencies",
    "depends-on": "dependencies",
    "restart": "always started again",
    "volumes": "params.storage",
    "cmd": "command",
    "links": "by name",
    "servcie": "service",
}


@pytest.mark.parametrize("name", GOLDEN)
def test_parity(name: str) -> None:
    (path,) = corpus(f"parity/{name}/input.yaml")
    parsed = sdl.read(path.read_bytes())
    expected = (path.parent / "manifest.json").read_bytes()
    assert json.loads(expected) == json.loads(sdl.manifest_json(parsed.manifest))
    assert json.loads((path.parent / "group-specs.json").read_bytes()) == json.loads(
        sdl.group_specs_json(parsed.groups)
    )
    assert sdl.hash_of_json(expected) == GOLDEN[name]
    assert sdl.manifest_hash(parsed.manifest) == GOLDEN[name]


def test_all_of_the_parity_suite_is_known() -> None:
    """A fixture that is added to the folder is compared too."""
    for path in corpus("parity/v2.*/*/input.yaml"):
        parsed = sdl.read(path.read_bytes())
        expected = json.loads((path.parent / "manifest.json").read_bytes())
        assert expected == json.loads(sdl.manifest_json(parsed.manifest)), path


@pytest.mark.parametrize("folder", ["invalid", "schema-only-invalid"])
def test_wrong_files_are_refused(folder: str) -> None:
    for path in corpus(f"parity/{folder}/*.yaml"):
        with pytest.raises(sdl.SdlInvalid) as caught:
            sdl.read(path.read_bytes())
        assert all(each.line > 0 and each.column > 0 and each.what for each in caught.value.problems), path


def test_what_only_the_schema_refuses_is_a_warning_when_lenient() -> None:
    for path in corpus("parity/schema-only-invalid/*.yaml"):
        assert sdl.read(path.read_bytes(), lenient=True).warnings, path


def test_strangers_files() -> None:
    """Nothing but the documented exception, the whole way there and back, and lenient takes no less."""
    strict, loose = set[str](), set[str]()
    for path in corpus("awesome/*"):
        for lenient, taken in ((False, strict), (True, loose)):
            try:
                parsed = sdl.read(path.read_bytes(), lenient=lenient)
            except sdl.SdlInvalid:
                continue
            taken.add(path.name)
            as_json = sdl.manifest_json(parsed.manifest)
            assert parsed.manifest == sdl.manifest_from_json(as_json), path
            assert sdl.hash_of_json(as_json) == sdl.manifest_hash(parsed.manifest), path
            ordered = tuple(replace(group, hostnames=()) for group in parsed.groups)  # not in Akash's form
            assert ordered == sdl.group_specs_from_json(sdl.group_specs_json(parsed.groups)), path
            assert sdl.cross_check(parsed.manifest, parsed.groups) == (), path
    assert strict < loose
    assert "redis__deploy.yaml" in strict


def test_keys_that_akash_ignores_are_explained() -> None:
    seen: set[str] = set()
    for path in corpus("awesome/*"):
        try:
            sdl.read(path.read_bytes())
        except sdl.SdlInvalid as invalid:
            for each in invalid.problems:
                key = each.path.rpartition(".")[2]
                if each.what.startswith("unknown key") and key in MEANT:
                    assert MEANT[key] in each.hint, (path, each)
                    seen.add(key)
    assert set(MEANT) == seen


def test_lenient_refuses_only_what_akash_refuses() -> None:
    """A unit that does not exist, a list where there is a mapping: broken files stay broken."""
    broken = {
        "gitea__deploy.yaml": '"1gi" is not a size',
        "steamcmd__deploy.yaml": '"port" is missing',
        "pokt-network__deploy.yml": '"deployment" is missing',
        "postgres-s3-backup__deploy.yaml": "no service is global",
        "codex__deploy.yml": "1073741824 is too much",
    }
    for name, what in broken.items():
        corpus(f"awesome/{name}")
        with pytest.raises(sdl.SdlInvalid) as caught:
            sdl.read((CORPUS / "awesome" / name).read_bytes(), lenient=True)
        assert any(each.what == what for each in caught.value.problems), name
