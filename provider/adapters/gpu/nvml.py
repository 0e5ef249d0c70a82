"""How a fact is asked of NVML: one call, or one numbered field among many, and what it gives in which unit.

Owns the shape of the tables ``identity`` (what a card is) and ``sampling`` (how it does), and the units. Does
not own what a failure means (``policy``) or when calls are made (``reader``). Runs in the worker only.

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

ALL_LINKS = 0xFFFFFFFF
"""The scope of a field that is told per NVLink: the sum over all of them (``nvml.h``)."""

IN_OUR_UNIT: dict[str, Callable[[Any], Any]] = {
    "": lambda value: value,
    "B": int,
    "KiB": lambda value: value * 1024,
    "°C": float,
    "%": lambda value: value / 100,
    "mW": lambda value: value / 1000,
    "mJ": lambda value: value / 1000,
    "MHz": lambda value: value * 1_000_000.0,
    "yes": bool,
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


@dataclass(frozen=True, slots=True)
class Field:
    """A numbered field: all of a card's are asked for in one call. ``symbol`` without ``NVML_FI_DEV_``."""

    symbol: str
    number: int
    gives: tuple[Given, ...]
    scope: int = 0


Group = tuple[tuple[Call | Field, ...], ...]
"""Each row is tried from the left until one of it answers: newest first, because drivers in the field are
both newer and older than the bindings."""

_MEMBERS = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
"""Of ``nvmlValue_t``, by ``nvmlValueType_t``."""


def field(symbol: str, number: int, name: str, unit: str = "", scope: int = 0) -> Field:
    """A numbered field that gives one of ours."""
    return Field(f"field {symbol}", number, (Given(name, unit),), scope)


def call(symbol: str, ask: Callable[[Handle], Any], name: str, unit: str = "") -> Call:
    """A call that gives one of our fields as it is."""
    return Call(symbol, ask, (Given(name, unit),))


def field_value(value: Any) -> Any:
    """The number in a field's answer, which says itself of what type it is. May raise ``ValueError``."""
    if value.valueType >= len(_MEMBERS):
        raise ValueError(f"a value of type {value.valueType}")
    return getattr(value.value, _MEMBERS[value.valueType])


def nvlinks(handle: Handle) -> list[bool]:
    """Of each NVLink whether it is up. The first that does not exist ends them; where there is none the
    driver's error is raised."""
    links: list[bool] = []
    for number in range(pynvml.NVML_NVLINK_MAX_LINKS):
        try:
            links.append(bool(pynvml.nvmlDeviceGetNvLinkState(handle, number)))
        except (pynvml.NVMLError_InvalidArgument, pynvml.NVMLError_NotSupported):
            if not links:
                raise
            break
    return links


def sysfs_bus_id(pci: Any) -> str:
    """NVML prints an 8-digit domain in upper case, sysfs a 4-digit one in lower case."""
    domain, _, rest = pci.busId.partition(":")
    return f"{int(domain, 16):04x}:{rest}".lower()


MEMORY_NEWEST = (
    "nvmlDeviceGetMemoryInfo_v2",
    lambda h: pynvml.nvmlDeviceGetMemoryInfo(h, version=pynvml.nvmlMemory_v2),
)
MEMORY_OLDER = ("nvmlDeviceGetMemoryInfo", pynvml.nvmlDeviceGetMemoryInfo)
"""Counts what is reserved as used, and cannot tell the two apart."""
