"""A machine whose clock is set while cards are read: what counts time here is not the time of day."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from provider.adapters.gpu.probe import NvmlProbe
from provider.domain.moment import HOUR, Instant
from provider.sim.nvml.state import SimulatedDriver
from provider.sim.waiting import until
from tests.probing import QUICK, run, simulated_library

NOON = 1_800_000_000_000


class SetClock:
    """Stands where it was set."""

    def __init__(self) -> None:
        self.at = Instant(NOON)

    def now(self) -> Instant:
        return self.at

    async def sleep_until(self, instant: Instant) -> None:
        assert instant <= self.at, "this clock is set by hand"


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[SimulatedDriver]:
    with SimulatedDriver(simulated_library(), tmp_path) as simulated:
        simulated.add("h100")
        yield simulated


@pytest.mark.parametrize("step", [-24 * HOUR, -1, HOUR, 1000 * 24 * HOUR])
def test_a_step_of_the_clock_costs_no_sample_and_each_says_the_time_it_was_taken(
    driver: SimulatedDriver, step: int
) -> None:
    clock = SetClock()

    async def body() -> None:
        settings = replace(QUICK, nvml_library=driver.library)
        async with NvmlProbe(settings, clock) as probe:
            before = await probe.discover()
            await until(lambda: bool(probe.readings()))
            assert probe.readings()[0].at == NOON
            pid = probe.status().worker_pid
            clock.at = Instant(NOON + step)
            assert probe.readings(), "how old a sample is does not depend on the clock"
            await until(lambda: probe.readings()[0].at == NOON + step)
            assert probe.status().is_up
            assert (probe.status().worker_pid, probe.status().restarts) == (pid, ())
            assert await probe.discover() == before

    run(body())


def test_an_error_that_two_sources_tell_over_a_step_is_told(driver: SimulatedDriver) -> None:
    """Twice at worst: it is never lost."""
    clock = SetClock()

    async def body() -> None:
        async with NvmlProbe(replace(QUICK, nvml_library=driver.library), clock) as probe:
            await probe.discover()
            await until(lambda: driver.hears_events)
            faults = probe.faults()
            driver.xid(0, 79)
            assert (await anext(faults)).at == NOON
            clock.at = Instant(NOON - HOUR)
            driver.xid(0, 79)
            assert (await anext(faults)).at == NOON - HOUR

    run(body())
