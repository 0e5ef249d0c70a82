"""``provider doctor`` over the real worker: what it says of recorded cards, and of none."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from provider.app.config import GpuConfig, ProviderConfig
from provider.app.finding import Finding
from provider.app.gpu_findings import examine_gpus
from provider.sim.gpu import SimulatedGpus
from provider.sim.nvml.recording import load
from provider.sim.nvml.state import SimulatedDriver
from tests.probing import simulated_library

RECORDINGS = Path("tests/recordings/gpu")


def examined(gpu: GpuConfig) -> dict[str, Finding]:
    return {each.check: each for each in asyncio.run(examine_gpus(ProviderConfig(gpu=gpu)))}


def of_recording(name: str, folder: Path) -> dict[str, Finding]:
    with SimulatedDriver(simulated_library(), folder) as driver:
        load(driver, RECORDINGS / f"{name}.json")
        return examined(GpuConfig(nvml_library=driver.library, kernel_log=folder / "no-kmsg"))


def test_eight_h100(tmp_path: Path) -> None:
    told = of_recording("h100x8-nvswitch", tmp_path)
    unheard = f"{tmp_path}/no-kmsg: No such file or directory"
    assert {name: (each.is_well, each.found) for name, each in told.items()} == {
        "gpus": (True, "8 x NVIDIA H100 80GB HBM3; driver 590.48.01, CUDA 13.1"),
        "gpu persistence mode": (True, "on"),
        "gpu links": (True, "28 pairs by nvswitch (18 links)"),
        "gpu errors": (
            True,
            f"heard from the driver alone, without the process that made them ({unheard})",
        ),
    }


def test_an_a100_in_parts_and_one_that_waits_for_its_reset(tmp_path: Path) -> None:
    told = of_recording("a100-mig", tmp_path)
    assert told["gpu instances"].found == "card 0 is sold as 3g.20gb, 1g.5gb, 1g.5gb, not whole"
    assert told["gpu modes"].found == "card 1 changes its mode at the next reset: MIG"
    assert told["gpus"].is_well


def test_an_l40s_that_falls_asleep(tmp_path: Path) -> None:
    told = of_recording("l40s", tmp_path)
    assert not told["gpu persistence mode"].is_well
    assert not told["gpu persistence mode"].is_fatal


def test_no_driver_and_no_sense(tmp_path: Path) -> None:
    nowhere = GpuConfig(nvml_library=str(tmp_path / "libnvidia-ml.so.1"), kernel_log=None)
    assert examined(nowhere)["gpus"].found.startswith("no NVIDIA driver: ")
    assert examined(replace(nowhere, medium_s=0))["gpus"].is_fatal
    simulated = GpuConfig(simulate=(SimulatedGpus(model="h100", count=2),))
    assert examined(simulated)["gpus"].found == "SIMULATED: 2 x h100"
