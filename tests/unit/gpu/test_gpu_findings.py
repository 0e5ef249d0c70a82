"""What ``provider doctor`` says of the cards it finds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provider.app.config import GpuConfig, ProviderConfig
from provider.app.finding import Finding
from provider.app.gpu_findings import gpu_findings, nvml_settings
from provider.domain.errors import ConfigError
from provider.domain.gpu import (
    Gpu,
    GpuHealth,
    GpuInventory,
    GpuLink,
    GpuLinkKind,
    GpuReading,
    MigSlice,
)
from provider.domain.ids import GpuUuid
from provider.domain.moment import Instant

ONE, TWO = (
    Gpu(uuid=GpuUuid(f"GPU-{index}"), index=index, name="NVIDIA H100 80GB HBM3", model="h100")
    for index in range(2)
)
BOTH = GpuInventory(gpus=(ONE, TWO), driver_version="590.48.01", cuda_version="13.1")


def sample(gpu: Gpu, is_persistent: bool | None) -> GpuReading:
    return GpuReading(uuid=gpu.uuid, at=Instant(0), is_persistent=is_persistent)


def findings(
    inventory: GpuInventory, *readings: GpuReading, unheard: str | None = None
) -> dict[str, Finding]:
    told = list(gpu_findings(inventory, readings, unheard))
    assert all(each.remedy for each in told if not each.is_well), "what is wrong has a remedy"
    return {each.check: each for each in told}


def test_cards_that_are_well() -> None:
    told = findings(BOTH, sample(ONE, True), sample(TWO, True))
    assert {name: (each.is_well, each.found) for name, each in told.items()} == {
        "gpus": (True, "2 x NVIDIA H100 80GB HBM3; driver 590.48.01, CUDA 13.1"),
        "gpu persistence mode": (True, "on"),
        "gpu errors": (True, "heard from the driver and the kernel's log"),
    }


def test_no_cards() -> None:
    told = findings(GpuInventory(problem="no NVIDIA driver: the driver is not loaded"))
    assert not told["gpus"].is_well
    assert told["gpus"].found == "no NVIDIA driver: the driver is not loaded"


def test_persistence_mode_off_names_the_cards() -> None:
    told = findings(BOTH, sample(ONE, True), sample(TWO, False))["gpu persistence mode"]
    assert not told.is_well
    assert told.found.startswith("off on 1: ")
    assert "nvidia-persistenced" in told.remedy
    assert "gpu persistence mode" not in findings(BOTH, sample(ONE, None)), "what is not told is not said"


def test_a_sick_card_and_a_missing_one() -> None:
    sick = replace(TWO, health=GpuHealth.UNHEALTHY, problem="it fell off the bus")
    told = findings(replace(BOTH, gpus=(ONE, sick), problem="1 of 3 NVIDIA GPUs are not seen by the driver"))
    assert told["gpu 1"].found == "GPU-1: it fell off the bus"
    assert not told["gpus"].is_well
    assert "1 of 3" in told["gpus"].found


def test_instances_are_how_a_card_is_sold() -> None:
    card = replace(ONE, is_mig_on=True, health=GpuHealth.DEGRADED, problem="MIG is on")
    parts = tuple(
        replace(
            ONE,
            uuid=GpuUuid(f"MIG-{place}"),
            mig=MigSlice(parent=ONE.uuid, profile=profile, gpu_instance=place, compute_instance=0),
        )
        for place, profile in enumerate(("3g.40gb", "1g.10gb"))
    )
    told = findings(replace(BOTH, gpus=(card, *parts, TWO)))
    assert told["gpu instances"].found == "card 0 is sold as 3g.40gb, 1g.10gb, not whole"
    assert told["gpus"].found.startswith("2 x NVIDIA H100"), "instances are not counted as cards"
    assert "gpu 0" not in told
    empty = findings(replace(BOTH, gpus=(card, TWO)))
    assert not empty["gpu 0"].is_well


def test_modes_that_wait_for_a_reset_and_cards_that_are_not_ready() -> None:
    card = replace(ONE, is_ecc_to_change=True, is_confidential=True, is_confidential_ready=False)
    told = findings(
        replace(BOTH, gpus=(card, replace(TWO, is_confidential=True, is_confidential_ready=True)))
    )
    assert told["gpu modes"].found == "card 0 changes its mode at the next reset: ECC"
    assert told["gpu modes"].remedy.endswith("nvidia-smi --gpu-reset -i 0")
    assert "card 0 is not ready" in told["confidential computing"].found


def test_links_and_a_log_that_cannot_be_read() -> None:
    link = GpuLink(first=ONE.uuid, second=TWO.uuid, kind=GpuLinkKind.NVSWITCH, lanes=18)
    told = findings(replace(BOTH, links=(link,)), unheard="/dev/kmsg: Operation not permitted")
    assert told["gpu links"].found == "1 pairs by nvswitch (18 links)"
    assert "Operation not permitted" in told["gpu errors"].found


@pytest.mark.parametrize("setting", ["interval_s", "medium_s", "discover_every_s"])
@pytest.mark.parametrize("seconds", [0.0, -1.0, 0.001, float("inf"), float("nan")])
def test_a_period_that_cannot_be_kept_is_named(setting: str, seconds: float) -> None:
    config = ProviderConfig(gpu=replace(GpuConfig(), **{setting: seconds}))  # type: ignore[arg-type]
    with pytest.raises(ConfigError) as refused:
        nvml_settings(config)
    assert f"gpu.{setting} is {seconds}" in refused.value.what
    assert refused.value.remedy


def test_settings_reach_the_probe() -> None:
    made = nvml_settings(
        ProviderConfig(gpu=GpuConfig(interval_s=1, medium_s=5, discover_every_s=30, kernel_log=None))
    )
    assert (made.interval_s, made.medium_s, made.discover_every_s, made.kernel_log) == (1, 5, 30, None)
