"""What every UsageProbe promises: on simulated containers, and on a machine's own books in a folder.

On the real engine: ``tests/integration/runtime/test_usage.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from provider.adapters.clock import SystemClock
from provider.domain.usage import ContainersRead
from provider.domain.workload import Container, ContainerState
from provider.ports import UsageProbe
from provider.sim.usage import SimulatedUsage
from tests.unit.usage.test_cgroup_trees import BY_ENGINE, ID, PID, V2_FILES, Tree

CONTAINER = Container(
    service="web",
    replica=0,
    state=ContainerState.RUNNING,
    id=ID,
    pid=PID,
    started_at=SystemClock().now(),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    probe: UsageProbe
    hide: Callable[[], None]
    """From now on containers are out of sight."""


@pytest.fixture(params=["simulated", "cgroups"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    if request.param == "simulated":
        simulated = SimulatedUsage(SystemClock())

        def say() -> None:
            simulated.problem = "out of sight"

        return World(probe=simulated, hide=say)
    tree = Tree(tmp_path)
    tree.group(BY_ENGINE, V2_FILES)
    tree.process(f"0::{BY_ENGINE}\n")

    def move() -> None:
        for name in V2_FILES:
            (tree.roots.cgroup / BY_ENGINE.lstrip("/") / name).unlink()
        tree.process(f"0::/..{BY_ENGINE}\n")
        asyncio.run(tree.usage.read([]))  # what was known of places is not known any more

    return World(probe=tree.usage, hide=move)


def read(world: World, *containers: Container) -> ContainersRead:
    return asyncio.run(world.probe.read(containers))


def test_one_that_runs_is_read(world: World) -> None:
    told = read(world, CONTAINER)
    assert told.readings.keys() == {ID}
    assert told.problem is None
    assert told.readings[ID].memory_bytes is not None
    assert all(figure >= 0 for figure in told.readings[ID].counters.values())


def test_those_that_do_not_run_are_missing_without_a_word(world: World) -> None:
    ended = replace(CONTAINER, state=ContainerState.EXITED, pid=None)
    made = replace(CONTAINER, state=ContainerState.CREATED, pid=None)
    assert read(world, ended, made) == ContainersRead()
    assert read(world) == ContainersRead()


def test_what_is_out_of_sight_is_said(world: World) -> None:
    world.hide()
    told = read(world, CONTAINER)
    assert told.readings == {}
    assert told.problem


def test_whose_a_process_is(world: World) -> None:
    read(world, CONTAINER)
    assert world.probe.containers_of(PID) == (ID,)
    assert world.probe.containers_of(2**22 + 1) == ()
