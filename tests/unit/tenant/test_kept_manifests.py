"""A tenant's copies: whatever instant a crash picks, the manifest that is ordered is among them."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from provider import sdl
from provider.app.kept_manifests import Kept, KeptManifests
from provider.domain.errors import ConfigError
from provider.domain.workload import Dependency
from tests.sdl_texts import BASE, changed


def kept(image: str) -> Kept:
    parsed = sdl.read(changed(("nginx:1", image)))
    waits = (Dependency(service="web", needs="db"),)
    return Kept(manifest_json=sdl.manifest_json(parsed.manifest), dependencies=waits)


A, B, C = kept("nginx:1"), kept("nginx:2"), kept("nginx:3")


@pytest.fixture
def copies(tmp_path: Path) -> KeptManifests:
    made = KeptManifests(tmp_path, "alice")
    made.keep(1, A)
    return made


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "manifests").iterdir())


def test_what_is_kept_comes_back_under_its_hash(copies: KeptManifests, tmp_path: Path) -> None:
    assert copies.of_hash(1, A.hash) == A
    assert A.hash == sdl.manifest_hash(sdl.read(BASE).manifest)
    (path,) = (tmp_path / "manifests").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(ConfigError, match="the manifest of deployment 1 is not kept here"):
        copies.of_hash(1, B.hash)
    with pytest.raises(ConfigError, match="the manifest of deployment 2 is not kept here"):
        copies.of_hash(2, A.hash)


def test_before_the_market_answers_both_are_there(copies: KeptManifests) -> None:
    copies.propose(1, B, ordered=A.hash)
    assert (copies.of_hash(1, A.hash), copies.of_hash(1, B.hash)) == (A, B)


def test_what_runs_replaces_what_ran(copies: KeptManifests, tmp_path: Path) -> None:
    copies.propose(1, B, ordered=A.hash)
    copies.settle(1)
    copies.settle(1)
    assert copies.of_hash(1, B.hash) == B
    assert names(tmp_path) == ["alice-1.json"]


def test_what_the_market_denies_is_dropped(copies: KeptManifests, tmp_path: Path) -> None:
    copies.propose(1, B, ordered=A.hash)
    copies.withdraw(1)
    assert copies.of_hash(1, A.hash) == A
    assert names(tmp_path) == ["alice-1.json"]


def test_a_third_one_drops_what_is_not_ordered_any_more(copies: KeptManifests) -> None:
    """The second was ordered, and a crash or a failed start kept it from being settled."""
    copies.propose(1, B, ordered=A.hash)
    copies.propose(1, C, ordered=B.hash)
    assert (copies.of_hash(1, B.hash), copies.of_hash(1, C.hash)) == (B, C)
    copies.withdraw(1)
    assert copies.of_hash(1, B.hash) == B


def test_the_same_again_loses_nothing(copies: KeptManifests) -> None:
    copies.propose(1, B, ordered=A.hash)
    copies.propose(1, B, ordered=B.hash)
    copies.withdraw(1)
    assert copies.of_hash(1, B.hash) == B


def test_nothing_is_left_of_a_deployment_that_ended(copies: KeptManifests, tmp_path: Path) -> None:
    copies.propose(1, B, ordered=A.hash)
    copies.forget(1)
    copies.forget(1)
    assert names(tmp_path) == []


def test_a_copy_of_before_is_read(copies: KeptManifests, tmp_path: Path) -> None:
    (tmp_path / "manifests" / "alice-1.json").write_bytes(A.manifest_json)
    assert copies.of_hash(1, A.hash) == Kept(manifest_json=A.manifest_json)


@pytest.mark.parametrize("text", ["", "{", "7", "{}", '{"manifest": 1, "dependencies": []}', "null"])
def test_a_damaged_copy_is_named(copies: KeptManifests, tmp_path: Path, text: str) -> None:
    path = tmp_path / "manifests" / "alice-1.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="is damaged") as damaged:
        copies.of_hash(1, A.hash)
    assert str(path) in damaged.value.what
    assert damaged.value.remedy is not None
