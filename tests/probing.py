"""What the tests of the NVML probe share: a simulated driver, quick settings, its changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from provider.adapters.clock import SystemClock
from provider.adapters.gpu.probe import NvmlProbe
from provider.adapters.gpu.settings import NvmlSettings
from provider.domain.errors import ConfigError
from provider.domain.gpu import GpuHealth, GpuInventory
from provider.sim.nvml.build import build_library
from provider.sim.nvml.state import SimulatedDriver

QUICK = NvmlSettings(
    interval_s=0.05,
    medium_s=0.1,
    discover_every_s=0.2,
    inforom_every_s=0.1,
    kernel_log=None,
    stale_floor_s=0.5,
    backoff_min_s=0.05,
    backoff_max_s=0.2,
)
IMPATIENT = replace(QUICK, kill_after_s=2.0, reap_within_s=1.0)
"""For hangs. Starting a worker takes a tenth of a second, on a busy machine five times that."""
HEALTHY, DEGRADED, UNHEALTHY = GpuHealth.HEALTHY, GpuHealth.DEGRADED, GpuHealth.UNHEALTHY


def simulated_library(*, without: tuple[str, ...] = ()) -> Path:
    """Built when first asked for; the test is skipped where there is no compiler."""
    try:
        return build_library(Path("build/tests"), without=without)
    except ConfigError as missing:
        pytest.skip(f"{missing}: {missing.remedy}")


def pci_device(root: Path, bus_id: str, vendor: str, kind: str, driver: str | None = "nvidia") -> Path:
    """A function of a PCI bus as Linux shows it, below ``root/devices``."""
    place = root / "devices" / bus_id
    place.mkdir(parents=True)
    (place / "vendor").write_text(f"{vendor}\n")
    (place / "class").write_text(f"{kind}\n")
    if driver:
        target = root / "drivers" / driver
        target.mkdir(parents=True, exist_ok=True)
        (place / "driver").symlink_to(target)
    return place


@asynccontextmanager
async def probing(driver: SimulatedDriver, settings: NvmlSettings = QUICK) -> AsyncIterator[NvmlProbe]:
    """The real probe over the simulated driver."""
    async with NvmlProbe(replace(settings, nvml_library=driver.library), SystemClock()) as probe:
        yield probe


async def change(probe: NvmlProbe, is_it: Callable[[GpuInventory], bool]) -> GpuInventory:
    """The first inventory from now on that is so."""
    async with asyncio.timeout(20):
        async for inventory in probe.changes():
            if is_it(inventory):
                return inventory
    raise AssertionError("changes never end")


def health(inventory: GpuInventory) -> list[GpuHealth]:
    """Of every card, in order."""
    return [gpu.health for gpu in inventory.gpus]


def run(body: Coroutine[None, None, None]) -> None:
    """An asynchronous test body, from beginning to end."""
    asyncio.run(body)
