"""In which order containers are started."""

from __future__ import annotations

from dataclasses import replace

from provider.core import launching
from provider.domain.workload import Dependency
from tests.launches import launch, replica, service


def names(*needs: tuple[str, str]) -> list[list[str]]:
    wanted = launch(*(replica(service(name), number) for name in ("a", "b", "c") for number in (0, 1)))
    wanted = replace(wanted, dependencies=tuple(Dependency(service=one, needs=other) for one, other in needs))
    return [sorted({each.service.name for each in wave}) for wave in launching.waves(wanted)]


def test_waves() -> None:
    assert names() == [["a", "b", "c"]]
    assert names(("a", "b")) == [["b", "c"], ["a"]]
    assert names(("a", "b"), ("b", "c")) == [["c"], ["b"], ["a"]]
    assert names(("a", "b"), ("a", "c")) == [["b", "c"], ["a"]]


def test_a_wave_waits_for_what_it_needs_and_no_more() -> None:
    wanted = launch(*(replica(service(name)) for name in ("a", "b", "c")))
    wanted = replace(wanted, dependencies=(Dependency(service="a", needs="b"),))
    first, second = launching.waves(wanted)
    assert launching.needed_by(wanted, first) == ()
    assert [each.service.name for each in launching.needed_by(wanted, second)] == ["b"]
