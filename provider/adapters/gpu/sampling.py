"""How a card does, and how a MIG instance does: which call tells it, and how often it is asked.

Owns the choice of calls and their grouping by period; their shape is in ``nvml``. Runs in the worker only.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from operator import itemgetter
from typing import Any

import pynvml

from provider.adapters.gpu.nvml import (
    ALL_LINKS,
    MEMORY_NEWEST,
    MEMORY_OLDER,
    Call,
    Given,
    Group,
    Handle,
    call,
    field,
    field_value,
    nvlinks,
)
from provider.adapters.gpu.policy import SUCCESS

_CORRECTED, _UNCORRECTED, _SINCE_LOADED = 0, 1, 0
_FABRIC_COMPLETED = 3
_FABRIC_NOT_IN_FULL_HEALTH = {2, 3}
"""``NVML_GPU_FABRIC_HEALTH_SUMMARY_UNHEALTHY`` and ``_LIMITED_CAPACITY``."""
_BANDWIDTH_DEGRADED = 1
"""The lowest two bits of ``healthMask``: 1 is yes, 2 is no, 0 is not told."""


def _processes(running: Any) -> list[tuple[int, int | None]]:
    """By pid; how much memory is not told under MIG, nor to other containers."""
    return sorted((each.pid, each.usedGpuMemory) for each in running)


def _clock(domain: int) -> Callable[[Handle], Any]:
    return lambda handle: pynvml.nvmlDeviceGetClockInfo(handle, domain)


def _ecc(kind: int) -> Callable[[Handle], Any]:
    return lambda handle: pynvml.nvmlDeviceGetTotalEccErrors(handle, kind, _SINCE_LOADED)


def _fabric(structure: type[ctypes.Structure], version: int) -> Callable[[Handle], Any]:
    def ask(handle: Handle) -> Any:
        told = structure()
        told.version = version
        pynvml.nvmlDeviceGetGpuFabricInfoV(handle, ctypes.byref(told))
        return told

    return ask


def _is_fabric_ready(told: Any) -> bool | None:
    """None where the card is not made for a fabric."""
    if told.state == 0:
        return None
    if told.state != _FABRIC_COMPLETED or told.status:
        return False
    if told.healthMask & 0b11 == _BANDWIDTH_DEGRADED:
        return False
    return getattr(told, "healthSummary", 0) not in _FABRIC_NOT_IN_FULL_HEALTH


def _sum_over_links(number: int) -> Callable[[Handle], Any]:
    """For drivers that do not add a field up over the links themselves."""

    def ask(handle: Handle) -> Any:
        links = range(pynvml.NVML_NVLINK_MAX_LINKS)
        values = pynvml.nvmlDeviceGetFieldValues(handle, [(number, link) for link in links])
        told = [field_value(value) for value in values if value.nvmlReturn == SUCCESS]
        if not told:
            raise pynvml.NVMLError(values[0].nvmlReturn)
        return sum(told)

    return ask


def _exhausted_banks(banks: Any) -> int:
    return int(banks.low) + int(banks.none)


_MEMORY: tuple[Call, ...] = (
    Call(
        *MEMORY_NEWEST,
        (
            Given("memory_used_bytes", "B", lambda memory: memory.used),
            Given("memory_reserved_bytes", "B", lambda memory: memory.reserved),
        ),
    ),
    Call(*MEMORY_OLDER, (Given("memory_used_bytes", "B", lambda memory: memory.used),)),
)
PROCESSES = "nvmlDeviceGetComputeRunningProcesses_v3"
_PROCESSES = (
    Call(
        PROCESSES,
        pynvml.nvmlDeviceGetComputeRunningProcesses,
        (Given("processes", "", _processes),),
    ),
)

FAST: Group = (
    (
        Call(
            "nvmlDeviceGetUtilizationRates",
            pynvml.nvmlDeviceGetUtilizationRates,
            (
                Given("utilization_ratio", "%", lambda rates: rates.gpu),
                Given("memory_utilization_ratio", "%", lambda rates: rates.memory),
            ),
        ),
    ),
    _MEMORY,
    (
        # nvmlDeviceGetPowerUsage is a mean over a second on newer cards, and slow.
        field("POWER_INSTANT", 186, "power_watts", "mW"),
        call("nvmlDeviceGetPowerUsage", pynvml.nvmlDeviceGetPowerUsage, "power_watts", "mW"),
    ),
    (
        call(
            "nvmlDeviceGetTotalEnergyConsumption",
            pynvml.nvmlDeviceGetTotalEnergyConsumption,
            "energy_joules",
            "mJ",
        ),
    ),
    (
        call(
            "nvmlDeviceGetTemperatureV",
            lambda h: pynvml.nvmlDeviceGetTemperatureV(h, pynvml.NVML_TEMPERATURE_GPU),
            "temperature_celsius",
            "°C",
        ),
        call(
            "nvmlDeviceGetTemperature",
            lambda h: pynvml.nvmlDeviceGetTemperature(h, pynvml.NVML_TEMPERATURE_GPU),
            "temperature_celsius",
            "°C",
        ),
    ),
    (field("MEMORY_TEMP", 82, "temperature_memory_celsius", "°C"),),
    (
        call(
            "nvmlDeviceGetMarginTemperature",
            pynvml.nvmlDeviceGetMarginTemperature,
            "temperature_margin_celsius",
            "°C",
        ),
    ),
    *(
        (call(f"nvmlDeviceGetClockInfo({short})", _clock(domain), f"clock_{name}_hertz", "MHz"),)
        for short, domain, name in (
            ("GRAPHICS", 0, "graphics"),
            ("SM", 1, "sm"),
            ("MEM", 2, "memory"),
            ("VIDEO", 3, "video"),
        )
    ),
    (
        call(
            "nvmlDeviceGetCurrentClocksEventReasons",
            pynvml.nvmlDeviceGetCurrentClocksEventReasons,
            "clock_reasons",
        ),
        call(
            "nvmlDeviceGetCurrentClocksThrottleReasons",
            pynvml.nvmlDeviceGetCurrentClocksThrottleReasons,
            "clock_reasons",
        ),
    ),
    (call("nvmlDeviceGetPerformanceState", pynvml.nvmlDeviceGetPerformanceState, "performance_state"),),
    _PROCESSES,
)
"""Every tick."""

MEDIUM: Group = (
    (call("nvmlDeviceGetTotalEccErrors(CORRECTED)", _ecc(_CORRECTED), "ecc_corrected"),),
    (call("nvmlDeviceGetTotalEccErrors(UNCORRECTED)", _ecc(_UNCORRECTED), "ecc_uncorrected"),),
    *(
        (
            field(symbol, number, name, unit),
            Call(
                "nvmlDeviceGetRemappedRows",
                pynvml.nvmlDeviceGetRemappedRows,
                (Given(name, unit, itemgetter(place)),),
            ),
        )
        for place, (symbol, number, name, unit) in enumerate(
            (
                ("REMAPPED_COR", 142, "remapped_correctable", ""),
                ("REMAPPED_UNC", 143, "remapped_uncorrectable", ""),
                ("REMAPPED_PENDING", 144, "is_remap_pending", "yes"),
                ("REMAPPED_FAILURE", 145, "is_remap_failed", "yes"),
            )
        )
    ),
    (
        Call(
            "nvmlDeviceGetRowRemapperHistogram",
            pynvml.nvmlDeviceGetRowRemapperHistogram,
            (Given("remap_banks_exhausted", "", _exhausted_banks),),
        ),
    ),
    (field("GET_GPU_RECOVERY_ACTION", 230, "recovery_action"),),
    (field("PCIE_COUNT_RX_BYTES", 198, "pcie_received_bytes", "B"),),
    (field("PCIE_COUNT_TX_BYTES", 197, "pcie_sent_bytes", "B"),),
    (
        field("PCIE_REPLAY_COUNTER", 94, "pcie_replays"),
        call("nvmlDeviceGetPcieReplayCounter", pynvml.nvmlDeviceGetPcieReplayCounter, "pcie_replays"),
    ),
    (call("nvmlDeviceGetCurrPcieLinkWidth", pynvml.nvmlDeviceGetCurrPcieLinkWidth, "pcie_width"),),
    (
        call(
            "nvmlDeviceGetCurrPcieLinkGeneration",
            pynvml.nvmlDeviceGetCurrPcieLinkGeneration,
            "pcie_generation",
        ),
    ),
    (Call("nvmlDeviceGetNvLinkState", nvlinks, (Given("nvlink_up", "", sum),)),),
    *(
        (
            field(symbol, number, name, unit, ALL_LINKS),
            call(f"field {symbol} by link", _sum_over_links(number), name, unit),
        )
        for symbol, number, name, unit in (
            ("NVLINK_THROUGHPUT_DATA_RX", 139, "nvlink_received_bytes", "KiB"),
            ("NVLINK_THROUGHPUT_DATA_TX", 138, "nvlink_sent_bytes", "KiB"),
            # Absent on Blackwell, which counts otherwise.
            ("NVLINK_ERROR_DL_REPLAY", 161, "nvlink_replays", ""),
            ("NVLINK_ERROR_DL_RECOVERY", 162, "nvlink_recoveries", ""),
            ("NVLINK_ERROR_DL_CRC", 163, "nvlink_crc_errors", ""),
        )
    ),
    (
        Call(
            "nvmlDeviceGetGpuFabricInfoV(3)",
            _fabric(pynvml.c_nvmlGpuFabricInfo_v3_t, pynvml.nvmlGpuFabricInfo_v3),
            (Given("is_fabric_ready", "", _is_fabric_ready),),
        ),
        Call(
            "nvmlDeviceGetGpuFabricInfoV(2)",
            _fabric(pynvml.c_nvmlGpuFabricInfo_v2_t, pynvml.nvmlGpuFabricInfo_v2),
            (Given("is_fabric_ready", "", _is_fabric_ready),),
        ),
    ),
    (call("nvmlDeviceGetPersistenceMode", pynvml.nvmlDeviceGetPersistenceMode, "is_persistent", "yes"),),
    (
        Call(
            "nvmlDeviceGetBAR1MemoryInfo",
            pynvml.nvmlDeviceGetBAR1MemoryInfo,
            (Given("bar1_used_bytes", "B", lambda memory: memory.bar1Used),),
        ),
    ),
    (
        Call(
            "nvmlDeviceGetEncoderUtilization",
            pynvml.nvmlDeviceGetEncoderUtilization,
            (Given("encoder_ratio", "%", lambda pair: pair[0]),),
        ),
    ),
    (
        Call(
            "nvmlDeviceGetDecoderUtilization",
            pynvml.nvmlDeviceGetDecoderUtilization,
            (Given("decoder_ratio", "%", lambda pair: pair[0]),),
        ),
    ),
    (call("nvmlDeviceGetFanSpeed", pynvml.nvmlDeviceGetFanSpeed, "fan_ratio", "%"),),
)
"""Now and then: what changes slowly, or only when something breaks."""

INSTANCE: Group = (_MEMORY, _PROCESSES)
"""Every tick, of a MIG instance: the rest is the card's, and utilization is told by ``gpm`` alone."""
