"""How GPUs are read, from the configuration; and what ``provider doctor`` makes of them.

Owns the words for people, and what to do about each. Whether a card may be sold is the probe's and the
core's: here is what an operator can change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from provider.adapters.clock import SystemClock
from provider.adapters.gpu.probe import NvmlProbe
from provider.adapters.gpu.settings import NvmlSettings
from provider.app.config import ProviderConfig
from provider.app.finding import Finding
from provider.domain.errors import ConfigError
from provider.domain.gpu import Gpu, GpuHealth, GpuInventory, GpuLinkKind, GpuReading

_LEAST_S = 0.05
"""Faster than this, reading would only keep the driver busy."""


def nvml_settings(config: ProviderConfig) -> NvmlSettings:
    """``ConfigError`` for a period that cannot be kept."""
    gpu = config.gpu
    periods = {
        "gpu.interval_s": gpu.interval_s,
        "gpu.medium_s": gpu.medium_s,
        "gpu.discover_every_s": gpu.discover_every_s,
    }
    for setting, seconds in periods.items():
        if not _LEAST_S <= seconds < float("inf"):
            raise ConfigError(
                f"{setting} is {seconds}", remedy=f"give a number of seconds, {_LEAST_S} or more"
            )
    return NvmlSettings(
        interval_s=gpu.interval_s,
        medium_s=gpu.medium_s,
        discover_every_s=gpu.discover_every_s,
        nvml_library=gpu.nvml_library,
        kernel_log=gpu.kernel_log,
    )


async def examine_gpus(config: ProviderConfig) -> list[Finding]:
    """One look at every card, and one sample."""
    if config.gpu.simulate:
        cards = ", ".join(f"{each.count} x {each.model}" for each in config.gpu.simulate)
        return [Finding(check="gpus", is_well=True, found=f"SIMULATED: {cards}")]
    try:
        settings = nvml_settings(config)
    except ConfigError as wrong:
        return [
            Finding(check="gpus", is_well=False, found=wrong.what, remedy=wrong.remedy or "", is_fatal=True)
        ]
    async with NvmlProbe(settings, SystemClock()) as probe:
        inventory = await probe.discover()
        readings = await probe.sample()
        unheard = probe.fault_problem
    return list(gpu_findings(inventory, readings, unheard))


def gpu_findings(
    inventory: GpuInventory, readings: Sequence[GpuReading], unheard: str | None
) -> Iterator[Finding]:
    """``unheard``: why errors are not heard from the kernel's log."""
    if not inventory.gpus:
        yield Finding(
            check="gpus",
            is_well=False,
            found=inventory.problem or "none",
            remedy="install the NVIDIA driver, or try it out: gpu.simulate",
        )
        return
    yield _cards(inventory)
    for gpu in inventory.gpus:
        if gpu.health is not GpuHealth.HEALTHY and not (gpu.is_mig_on and _instances(gpu, inventory)):
            yield Finding(
                check=f"gpu {gpu.index}",
                is_well=False,
                found=f"{gpu.uuid}: {gpu.problem or gpu.health}",
                remedy="provider gpus; nvidia-smi -q; the kernel's log: dmesg --level=err,warn | grep NVRM",
            )
    yield from _mig(inventory)
    yield from _modes(inventory.gpus)
    yield from _persistence(inventory.gpus, readings)
    yield from _links(inventory)
    yield Finding(
        check="gpu errors",
        is_well=True,
        found="heard from the driver"
        + (f" alone, without the process that made them ({unheard})" if unheard else " and the kernel's log"),
    )


def _cards(inventory: GpuInventory) -> Finding:
    counted = Counter(gpu.name for gpu in inventory.gpus if gpu.mig is None)
    cards = ", ".join(f"{count} x {name}" for name, count in counted.items())
    software = f"driver {inventory.driver_version or '?'}, CUDA {inventory.cuda_version or '?'}"
    return Finding(
        check="gpus",
        is_well=inventory.problem is None,
        found=f"{cards}; {software}" + (f"; {inventory.problem}" if inventory.problem else ""),
        remedy="nvidia-smi -L beside lspci -d 10de: shows which are missing; a reboot often brings them back",
    )


def _instances(gpu: Gpu, inventory: GpuInventory) -> list[Gpu]:
    return [each for each in inventory.gpus if each.mig is not None and each.mig.parent == gpu.uuid]


def _mig(inventory: GpuInventory) -> Iterator[Finding]:
    for gpu in inventory.gpus:
        parts = [each.mig.profile for each in _instances(gpu, inventory) if each.mig is not None]
        if parts:
            yield Finding(
                check="gpu instances",
                is_well=True,
                found=f"card {gpu.index} is sold as {', '.join(parts)}, not whole",
            )


def _modes(gpus: Sequence[Gpu]) -> Iterator[Finding]:
    for gpu in gpus:
        changing = [
            name
            for name, changes in (("ECC", gpu.is_ecc_to_change), ("MIG", gpu.is_mig_to_change))
            if changes
        ]
        if changing:
            yield Finding(
                check="gpu modes",
                is_well=False,
                found=f"card {gpu.index} changes its mode at the next reset: {' and '.join(changing)}",
                remedy=f"with nothing running on it: nvidia-smi --gpu-reset -i {gpu.index}",
            )
        if gpu.is_confidential and gpu.is_confidential_ready is False:
            yield Finding(
                check="confidential computing",
                is_well=False,
                found=f"it is on and card {gpu.index} is not ready: nothing can compute on it",
                remedy="attest the GPUs, then nvidia-smi conf-compute -srs 1",
            )


def _persistence(gpus: Sequence[Gpu], readings: Sequence[GpuReading]) -> Iterator[Finding]:
    whole = {gpu.uuid: gpu.index for gpu in gpus if gpu.mig is None}
    told = {each.uuid: each.is_persistent for each in readings if each.uuid in whole}
    off = [str(whole[uuid]) for uuid, is_on in told.items() if is_on is False]
    if off:
        yield Finding(
            check="gpu persistence mode",
            is_well=False,
            found=f"off on {', '.join(off)}: whenever nobody looks the driver lets the card go, and takes "
            "seconds to come back",
            remedy="systemctl enable --now nvidia-persistenced, or nvidia-smi -pm 1 after each boot",
        )
    elif any(told.values()):
        yield Finding(check="gpu persistence mode", is_well=True, found="on")


def _links(inventory: GpuInventory) -> Iterator[Finding]:
    fast = Counter(
        (link.kind, link.lanes)
        for link in inventory.links
        if link.kind in (GpuLinkKind.NVSWITCH, GpuLinkKind.NVLINK)
    )
    if fast:
        found = ", ".join(
            f"{count} pairs by {kind} ({lanes} links)"
            for (kind, lanes), count in sorted(fast.items(), key=str)
        )
        yield Finding(check="gpu links", is_well=True, found=found)
