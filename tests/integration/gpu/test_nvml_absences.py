"""Hosts on which something is missing: one card of eight, all cards, the driver."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from provider.domain.gpu import GpuHealth, GpuInventory
from provider.sim.nvml.recording import load
from provider.sim.nvml.state import SimulatedDriver
from provider.sim.waiting import until
from tests.probing import change, probing, run, simulated_library

RECORDINGS = Path("tests/recordings/gpu")


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[SimulatedDriver]:
    with SimulatedDriver(simulated_library(), tmp_path) as simulated:
        yield simulated


def test_one_dead_handle_among_the_eight(driver: SimulatedDriver) -> None:
    """Before the daemon ever saw it: nothing can name it, and the seven are what they are."""
    driver.fault("nvmlDeviceGetHandleByIndex_v2", gpu=5, code=15)
    load(driver, RECORDINGS / "h100x8-nvswitch.json")

    async def body() -> None:
        async with probing(driver) as probe:
            inventory = await probe.discover()
            assert [gpu.index for gpu in inventory.gpus] == [0, 1, 2, 3, 4, 6, 7]
            assert {gpu.health for gpu in inventory.gpus} == {GpuHealth.HEALTHY}
            assert inventory.problem == (
                "1 of 8 GPUs cannot be read (index 5: the GPU is lost: it fell off the bus or needs a reboot)"
            )
            assert len(inventory.links) == 21
            await until(lambda: len(probe.readings()) == 7)
            driver.clear_faults()
            whole = await change(probe, lambda told: len(told.gpus) == 8)
            assert (whole.problem, len(whole.links)) == (None, 28)

    run(body())


def test_a_driver_without_devices(driver: SimulatedDriver) -> None:
    async def body() -> None:
        async with probing(driver) as probe:
            assert await probe.discover() == GpuInventory(
                driver_version="570.124.06",
                cuda_version="12.8",
                problem="the NVIDIA driver is loaded but sees no GPU",
            )
            assert probe.readings() == ()

    run(body())


def test_a_library_without_its_driver(driver: SimulatedDriver) -> None:
    """As the library of a driver package on a machine whose kernel module is not loaded."""
    Path(f"{driver.library}.state").unlink()

    async def body() -> None:
        async with probing(driver) as probe:
            inventory = await probe.discover()
            assert inventory == GpuInventory(problem="no NVIDIA driver: the driver is not loaded")
            assert probe.readings() == ()

    run(body())
