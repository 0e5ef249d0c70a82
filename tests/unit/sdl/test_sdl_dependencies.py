"""Who waits for whom: derived where services share a group, refused in a circle, no part of the hash."""

from __future__ import annotations

from pathlib import Path

import pytest

from provider import sdl
from provider.domain.workload import Dependency
from tests.sdl_texts import BASE, errors_of, with_service

MANIFESTS = Path(__file__).resolve().parents[3] / "manifests"


def several(needs: dict[str, list[str]], elsewhere: tuple[str, ...] = ()) -> str:
    """A file with these services, each with what it needs; some are deployed at another placement."""
    services = "".join(
        f"  {name}:\n    image: nginx:1\n    expose: [{{port: 80, to: [{{global: true}}]}}]\n"
        f"    dependencies: [{', '.join(f'{{service: {one}}}' for one in of)}]\n"
        for name, of in needs.items()
    )
    deployed = "".join(
        f"  {name}:\n    {'there' if name in elsewhere else 'here'}:\n      profile: small\n      count: 1\n"
        for name in needs
    )
    placement = "      pricing:\n        small:\n          denom: uact\n          amount: 1\n"
    places = "".join(f"    {name}:\n{placement}" for name in ("here", *(("there",) if elsewhere else ())))
    return (
        f'version: "2.0"\nservices:\n{services}profiles:\n  compute:\n    small:\n      resources:\n'
        "        cpu: {units: 1}\n        memory: {size: 1Gi}\n        storage: {size: 1Gi}\n"
        f"  placement:\n{places}deployment:\n{deployed}"
    )


def dependencies(text: str, *, lenient: bool = False) -> list[str]:
    return [f"{each.service}>{each.needs}" for each in sdl.read(text, lenient=lenient).dependencies]


def test_a_service_waits_for_what_it_needs() -> None:
    text = several({"web": ["db", "cache"], "db": [], "cache": ["db"]})
    assert dependencies(text) == ["cache>db", "web>cache", "web>db"]
    assert dependencies(BASE) == []


def test_twice_is_once_and_a_stranger_is_nobody() -> None:
    assert dependencies(several({"web": ["db", "db", "dbx"], "db": []})) == ["web>db"]


def test_only_services_of_one_group_wait_for_each_other() -> None:
    text = several({"web": ["db"], "db": ["web"], "cache": ["db"]}, elsewhere=("db",))
    assert dependencies(text) == [], "each would wait for another lease, perhaps at another provider"


@pytest.mark.parametrize(
    ("needs", "words"),
    [
        ({"web": ["web"]}, '"web" needs "web": none of them can start first'),
        ({"web": ["db"], "db": ["web"]}, '"db" needs "web", which needs "db": none of them can start first'),
        (
            {"a": ["b"], "b": ["c"], "c": ["d"], "d": ["b"]},
            '"b" needs "c", which needs "d", which needs "b": none of them can start first',
        ),
    ],
)
def test_a_circle_is_refused_with_its_way(needs: dict[str, list[str]], words: str) -> None:
    (error,) = errors_of(several(needs))
    assert words in error
    assert error.startswith("services.")
    assert dependencies(several(needs), lenient=True) == []


def test_it_is_no_part_of_the_manifest() -> None:
    with_one = sdl.read(several({"web": ["db"], "db": []}))
    without = sdl.read(several({"web": [], "db": []}))
    assert sdl.manifest_hash(with_one.manifest) == sdl.manifest_hash(without.manifest)


def test_the_example_says_so() -> None:
    parsed = sdl.read((MANIFESTS / "web-with-database.yaml").read_bytes())
    assert parsed.dependencies == (Dependency(service="web", needs="db"),)


def test_a_service_that_needs_nobody_may_say_so() -> None:
    assert dependencies(with_service("dependencies: []")) == []
