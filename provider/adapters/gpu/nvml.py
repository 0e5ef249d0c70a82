"""Which NVML call gives which field, in which unit: the tables that the worker reads cards by.

Owns the choice of calls, newest first and older ones behind it, because drivers in the field are both newer
and older than the bindings. Does not own what a failure means (``policy``) or when calls are made
(``reader``). Runs in the worker only.

Not called on purpose: ``nvmlDeviceGetPcieThroughput`` (blocks 20 ms a direction),
``nvmlDeviceGetFanSpeedRPM`` (reported to crash on driver 595), field ids above 250 (renumbered between
driver branches), ``nvmlSystemGetCudaDriverVersion_v2`` (needs libcuda).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pynvml

Handle = Any
"""An opaque ``nvmlDevice_t``; only good until ``nvmlShutdown``."""

FIELD_POWER_INSTANT = 186
"""``NVML_FI_DEV_POWER_INSTANT``, mW. ``nvmlDeviceGetPowerUsage`` is a one-second mean on newer cards."""

IN_OUR_UNIT: dict[str, Callable[[Any], Any]] = {
    "": lambda value: value,
    "B": int,
    "°C": float,
    "%": lambda value: value / 100,
    "mW": lambda value: value / 1000,
    "mJ": lambda value: value / 1000,
    "MHz": lambda value: value * 1_000_000.0,
}
"""From the unit that NVML documents for a call to the one that our field's name ends in."""


@dataclass(frozen=True, slots=True)
class Given:
    """One field that a call gives: ``pick`` finds it in the answer, ``unit`` is NVML's."""

    field: str
    unit: str = ""
    pick: Callable[[Any], Any] = lambda answer: answer


@dataclass(frozen=True, slots=True)
class Call:
    """``symbol`` as in NVML's reference (also the name under which failures are counted and blamed)."""

    symbol: str
    ask: Callable[[Handle], Any]
    gives: tuple[Given, ...]


def _field(number: int) -> Callable[[Handle], Any]:
    """Ask for one numbered field; its own return code counts, not the call's alone."""

    def ask(handle: Handle) -> Any:
        (value,) = pynvml.nvmlDeviceGetFieldValues(handle, [number])
        if value.nvmlReturn:
            raise pynvml.NVMLError(value.nvmlReturn)
        members = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
        return getattr(value.value, members[value.valueType])

    return ask


def _sysfs_bus_id(pci: Any) -> str:
    """NVML prints an 8-digit domain in upper case, sysfs a 4-digit one in lower case."""
    domain, _, rest = pci.busId.partition(":")
    return f"{int(domain, 16):04x}:{rest}".lower()


def _processes(running: Any) -> list[tuple[int, int | None]]:
    """By pid; how much memory is not told under MIG, nor to other containers."""
    return sorted((each.pid, each.usedGpuMemory) for each in running)


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

IDENTITY: tuple[tuple[Call, ...], ...] = (
    (Call("nvmlDeviceGetName", pynvml.nvmlDeviceGetName, (Given("name"),)),),
    (
        Call(
            "nvmlDeviceGetMemoryInfo_v2",
            lambda h: pynvml.nvmlDeviceGetMemoryInfo(h, version=pynvml.nvmlMemory_v2),
            (Given("memory_bytes", "B", lambda memory: memory.total),),
        ),
        Call(
            "nvmlDeviceGetMemoryInfo",
            pynvml.nvmlDeviceGetMemoryInfo,
            (Given("memory_bytes", "B", lambda memory: memory.total),),
        ),
    ),
    (
        Call(
            "nvmlDeviceGetPciInfo_v3",
            pynvml.nvmlDeviceGetPciInfo,
            (Given("pci_bus_id", "", _sysfs_bus_id),),
        ),
    ),
    (Call("nvmlDeviceGetMinorNumber", pynvml.nvmlDeviceGetMinorNumber, (Given("minor"),)),),
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
        Call(
            "nvmlDeviceGetEnforcedPowerLimit",
            pynvml.nvmlDeviceGetEnforcedPowerLimit,
            (Given("power_limit_watts", "mW"),),
        ),
    ),
    (
        Call(
            "nvmlDeviceGetMigMode",
            pynvml.nvmlDeviceGetMigMode,
            (Given("is_mig_on", "", lambda modes: bool(modes[0])),),
        ),
    ),
)
"""Each row is tried from the left until a call answers. The UUID is read before all of them."""

READING: tuple[tuple[Call, ...], ...] = (
    (
        Call(
            "nvmlDeviceGetUtilizationRates",
            pynvml.nvmlDeviceGetUtilizationRates,
            (Given("utilization_ratio", "%", lambda rates: rates.gpu),),
        ),
    ),
    (
        Call(
            "nvmlDeviceGetMemoryInfo_v2",
            lambda h: pynvml.nvmlDeviceGetMemoryInfo(h, version=pynvml.nvmlMemory_v2),
            (
                Given("memory_used_bytes", "B", lambda memory: memory.used),
                Given("memory_reserved_bytes", "B", lambda memory: memory.reserved),
            ),
        ),
        # Counts what is reserved as used, and cannot tell the two apart.
        Call(
            "nvmlDeviceGetMemoryInfo",
            pynvml.nvmlDeviceGetMemoryInfo,
            (Given("memory_used_bytes", "B", lambda memory: memory.used),),
        ),
    ),
    (
        Call("field POWER_INSTANT", _field(FIELD_POWER_INSTANT), (Given("power_watts", "mW"),)),
        Call("nvmlDeviceGetPowerUsage", pynvml.nvmlDeviceGetPowerUsage, (Given("power_watts", "mW"),)),
    ),
    (
        Call(
            "nvmlDeviceGetTotalEnergyConsumption",
            pynvml.nvmlDeviceGetTotalEnergyConsumption,
            (Given("energy_joules", "mJ"),),
        ),
    ),
    (
        Call(
            "nvmlDeviceGetTemperatureV",
            lambda h: pynvml.nvmlDeviceGetTemperatureV(h, pynvml.NVML_TEMPERATURE_GPU),
            (Given("temperature_celsius", "°C"),),
        ),
        Call(
            "nvmlDeviceGetTemperature",
            lambda h: pynvml.nvmlDeviceGetTemperature(h, pynvml.NVML_TEMPERATURE_GPU),
            (Given("temperature_celsius", "°C"),),
        ),
    ),
    (Call("nvmlDeviceGetFanSpeed", pynvml.nvmlDeviceGetFanSpeed, (Given("fan_ratio", "%"),)),),
    (
        Call(
            "nvmlDeviceGetClockInfo(SM)",
            lambda h: pynvml.nvmlDeviceGetClockInfo(h, pynvml.NVML_CLOCK_SM),
            (Given("clock_sm_hertz", "MHz"),),
        ),
    ),
    (
        Call(
            "nvmlDeviceGetClockInfo(MEM)",
            lambda h: pynvml.nvmlDeviceGetClockInfo(h, pynvml.NVML_CLOCK_MEM),
            (Given("clock_memory_hertz", "MHz"),),
        ),
    ),
    (
        Call(
            "nvmlDeviceGetComputeRunningProcesses_v3",
            pynvml.nvmlDeviceGetComputeRunningProcesses,
            (Given("processes", "", _processes),),
        ),
    ),
)
"""One sample of one card, every tick."""
