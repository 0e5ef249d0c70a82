"""What a card is, and what a MIG instance is: which call tells it. Asked at each discovery.

Owns the choice of calls only; their shape is in ``nvml``. Runs in the worker only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pynvml

from provider.adapters.gpu.nvml import (
    MEMORY_NEWEST,
    MEMORY_OLDER,
    Call,
    Given,
    Group,
    Handle,
    call,
    field,
    nvlinks,
    sysfs_bus_id,
)

_ARCHITECTURES = {
    2: "kepler",
    3: "maxwell",
    4: "pascal",
    5: "volta",
    6: "turing",
    7: "ampere",
    8: "ada",
    9: "hopper",
    10: "blackwell",
    13: "rubin",
}
"""``NVML_DEVICE_ARCH_*``; a newer one is absent until it has a name here."""


def _modes(of_what: str) -> tuple[Given, ...]:
    """From a pair of modes: now, and after the next reset."""
    return (
        Given(f"is_{of_what}_on", "yes", lambda modes: modes[0]),
        Given(f"is_{of_what}_to_change", "yes", lambda modes: modes[0] != modes[1]),
    )


def _threshold(which: int) -> Callable[[Handle], Any]:
    return lambda handle: pynvml.nvmlDeviceGetTemperatureThreshold(handle, which)


def _clock(domain: int) -> Callable[[Handle], Any]:
    return lambda handle: pynvml.nvmlDeviceGetMaxClockInfo(handle, domain)


_MEMORY: tuple[Call, ...] = tuple(
    Call(symbol, ask, (Given("memory_bytes", "B", lambda memory: memory.total),))
    for symbol, ask in (MEMORY_NEWEST, MEMORY_OLDER)
)
_NAME = (call("nvmlDeviceGetName", pynvml.nvmlDeviceGetName, "name"),)

IDENTITY: Group = (
    _NAME,
    _MEMORY,
    (Call("nvmlDeviceGetPciInfo_v3", pynvml.nvmlDeviceGetPciInfo, (Given("pci_bus_id", "", sysfs_bus_id),)),),
    (call("nvmlDeviceGetMinorNumber", pynvml.nvmlDeviceGetMinorNumber, "minor"),),
    (
        Call(
            "nvmlDeviceGetArchitecture",
            pynvml.nvmlDeviceGetArchitecture,
            (Given("architecture", "", _ARCHITECTURES.get),),
        ),
    ),
    (
        Call(
            "nvmlDeviceGetCudaComputeCapability",
            pynvml.nvmlDeviceGetCudaComputeCapability,
            (Given("compute_capability", "", lambda pair: f"{pair[0]}.{pair[1]}"),),
        ),
    ),
    (
        call(
            "nvmlDeviceGetEnforcedPowerLimit",
            pynvml.nvmlDeviceGetEnforcedPowerLimit,
            "power_limit_watts",
            "mW",
        ),
    ),
    (
        call(
            "nvmlDeviceGetPowerManagementDefaultLimit",
            pynvml.nvmlDeviceGetPowerManagementDefaultLimit,
            "power_limit_default_watts",
            "mW",
        ),
    ),
    (
        Call(
            "nvmlDeviceGetVbiosVersion",
            pynvml.nvmlDeviceGetVbiosVersion,
            (Given("vbios", "", lambda text: text or None),),
        ),
    ),
    (Call("nvmlDeviceGetEccMode", pynvml.nvmlDeviceGetEccMode, _modes("ecc")),),
    (Call("nvmlDeviceGetMigMode", pynvml.nvmlDeviceGetMigMode, _modes("mig")),),
    *(
        (call(f"nvmlDeviceGetMaxClockInfo({short})", _clock(domain), f"clock_{name}_most_hertz", "MHz"),)
        for short, domain, name in (
            ("GRAPHICS", 0, "graphics"),
            ("SM", 1, "sm"),
            ("MEM", 2, "memory"),
            ("VIDEO", 3, "video"),
        )
    ),
    (call("nvmlDeviceGetMaxPcieLinkWidth", pynvml.nvmlDeviceGetMaxPcieLinkWidth, "pcie_width_most"),),
    (
        call(
            "nvmlDeviceGetMaxPcieLinkGeneration",
            pynvml.nvmlDeviceGetMaxPcieLinkGeneration,
            "pcie_generation_most",
        ),
    ),
    (
        field("NVLINK_LINK_COUNT", 91, "nvlinks"),
        Call("nvmlDeviceGetNvLinkState(all)", nvlinks, (Given("nvlinks", "", len),)),
    ),
    *(
        (call(f"nvmlDeviceGetTemperatureThreshold({short})", _threshold(which), name, "°C"),)
        for short, which, name in (
            ("SHUTDOWN", 0, "shutdown_celsius"),
            ("SLOWDOWN", 1, "slowdown_celsius"),
            ("MEM_MAX", 2, "memory_most_celsius"),
        )
    ),
)
"""The UUID is read before all of them."""

INSTANCE_IDENTITY: Group = (
    _NAME,
    _MEMORY,
    (call("nvmlDeviceGetGpuInstanceId", pynvml.nvmlDeviceGetGpuInstanceId, "gpu_instance"),),
    (call("nvmlDeviceGetComputeInstanceId", pynvml.nvmlDeviceGetComputeInstanceId, "compute_instance"),),
    (
        Call(
            "nvmlDeviceGetAttributes_v2",
            pynvml.nvmlDeviceGetAttributes,
            (Given("slices", "", lambda attributes: attributes.computeInstanceSliceCount),),
        ),
    ),
)
