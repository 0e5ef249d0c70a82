"""What cards draw: added up, kept over restarts, told to the loop where it has moved."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from provider.adapters.power_file import FILE_NAME, PowerFile
from provider.core.wattage import REMEMBERED_S, PowerMean
from provider.domain.errors import ConfigError
from provider.domain.gpu import GpuReading
from provider.domain.ids import GpuUuid
from provider.shell.power_watch import PowerWatch
from provider.shell.sources import Machine, look_at_watts
from provider.sim import vtime
from provider.sim.clock import LoopClock
from provider.sim.store import MemoryStore
from tests.agents import NODE, POLICY
from tests.floor import Place

HOT = 433.0


class Book:
    """Remembers, or is full."""

    def __init__(self, *, is_full: bool = False) -> None:
        self.means: dict[GpuUuid, PowerMean] = {}
        self.tries = 0
        self._is_full = is_full

    def load(self) -> dict[GpuUuid, PowerMean]:
        return dict(self.means)

    async def save(self, means: Mapping[GpuUuid, PowerMean]) -> None:
        self.tries += 1
        if self._is_full:
            raise ConfigError("the disk is full", remedy="make room")
        self.means = dict(means)


def test_the_loop_is_told_and_the_next_daemon_knows() -> None:
    async def scenario() -> None:
        place, book = Place(lambda: MemoryStore(POLICY)), Book()
        async with place.agent() as loop:
            await place.until(lambda: loop.state.nodes)
            watch = PowerWatch(partial(hot, place), book, place.clock)
            machine = Machine(
                name=NODE,
                gpus=place.probe,
                host=place.host,
                runtime=place.runtime,
                clock=place.clock,
                load_watts=watch.watts,
            )
            running = asyncio.create_task(watch.run(partial(look_at_watts, machine, loop)))
            await place.until(lambda: loop.state.nodes[0].gpus[0].load_watts == HOT, bound_s=700)
            assert loop.state.nodes[0].gpus[1].load_watts is None
            running.cancel()
        again = PowerWatch(partial(hot, place), book, place.clock)
        assert again.watts() == {place.probe.readings()[0].uuid: HOT}

    vtime.run(scenario())


def hot(place: Place) -> tuple[GpuReading, ...]:
    """The first card works, the other one does not."""
    first, *others = place.probe.readings()
    idle = tuple(replace(each, utilization_ratio=0.0) for each in others)
    return replace(first, power_watts=HOT, utilization_ratio=1.0), *idle


@pytest.mark.parametrize(
    "damaged",
    ["", "[]", "{", '{"GPU-1": 3}', '{"GPU-1": {"watts": 1}}', '{"GPU-1": {"watts": "a", "load_s": 1}}',
     '{"GPU-1": {"watts": 1e99, "load_s": 1, "told": null}}'],
)  # fmt: skip
def test_a_damaged_file_is_nothing_measured(tmp_path: Path, damaged: str) -> None:
    (tmp_path / FILE_NAME).write_text(damaged)
    assert PowerFile(tmp_path).load() == {}


def test_what_is_kept_is_what_was_known(tmp_path: Path) -> None:
    means = {GpuUuid("GPU-1"): PowerMean(watts=431.5, load_s=REMEMBERED_S, told=430)}
    asyncio.run(PowerFile(tmp_path).save(means))
    assert PowerFile(tmp_path).load() == means


def test_a_disk_that_takes_nothing_stops_nothing() -> None:
    async def scenario() -> None:
        place, book = Place(lambda: MemoryStore(POLICY)), Book(is_full=True)
        watch = PowerWatch(partial(hot, place), book, LoopClock())

        async def tell() -> None:
            if book.tries == 3:
                raise TimeoutError

        with pytest.raises(TimeoutError):
            await watch.run(tell)
        assert list(watch.watts().values()) == [HOT]

    vtime.run(scenario())
