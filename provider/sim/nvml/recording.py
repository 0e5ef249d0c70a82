"""Recorded readings of real cards, put into the simulated library: JSON files with their sources named.

Owns the format: an object with ``source``, the driver's ``driver_version`` and ``cuda_version``, and
``cards``. A card holds attributes of ``SimulatedCard`` by name, ``fields`` by number, ``instances`` and
``links``; ``count`` repeats it, ``pci_bus_ids`` and ``places`` tell the repeated ones apart.

Invariant: what a recording does not have, its card answers with "not supported": nothing is made up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from provider.sim.nvml.state import SimulatedDriver
from provider.sim.nvml.structures import SimulatedCard, SimulatedInstance

_TOLD_BY: Mapping[str, tuple[str, ...]] = {
    "vbios": ("nvmlDeviceGetVbiosVersion",),
    "utilization_percent": ("nvmlDeviceGetUtilizationRates",),
    "encoder_percent": ("nvmlDeviceGetEncoderUtilization",),
    "decoder_percent": ("nvmlDeviceGetDecoderUtilization",),
    "power_milliwatts": ("nvmlDeviceGetPowerUsage",),
    "energy_millijoules": ("nvmlDeviceGetTotalEnergyConsumption",),
    "temperature_celsius": ("nvmlDeviceGetTemperature", "nvmlDeviceGetTemperatureV"),
    "margin_celsius": ("nvmlDeviceGetMarginTemperature",),
    "clock_megahertz": ("nvmlDeviceGetClockInfo",),
    "clock_reasons": (
        "nvmlDeviceGetCurrentClocksEventReasons",
        "nvmlDeviceGetCurrentClocksThrottleReasons",
    ),
    "performance_state": ("nvmlDeviceGetPerformanceState",),
    "is_persistent": ("nvmlDeviceGetPersistenceMode",),
    "sm_active_percent": ("nvmlGpmQueryDeviceSupport",),
    "event_types": ("nvmlDeviceGetSupportedEventTypes",),
    "links": ("nvmlDeviceGetNvLinkState",),
}
"""Calls that always have an answer in the simulated library: refused where the recording has none."""
_APART = ("fields", "instances", "links", "count", "pci_bus_ids", "places")


def load(driver: SimulatedDriver, path: Path) -> None:
    """Put a recording's cards into an empty driver."""
    told: dict[str, Any] = json.loads(path.read_text())
    driver.state.driver_version = told["driver_version"].encode()
    driver.state.cuda_version = told["cuda_version"]
    driver.state.fabric_version = told.get("fabric_version", 3)
    for card in told["cards"]:
        for number in range(card.get("count", 1)):
            _card(driver, card, number)


def _card(driver: SimulatedDriver, told: Mapping[str, Any], number: int) -> None:
    index = driver.state.gpu_count
    card = driver.card(index)
    driver.state.gpu_count = index + 1
    card.minor_number = index
    card.pci_bus_id = told["pci_bus_ids"][number].encode()
    card.uuid = f"GPU-{index:08x}-0000-0000-0000-000000000000".encode()
    card.place[:] = told["places"][number] if "places" in told else (index, index, index, 0)
    card.has_own_memory = "memory_total" in told
    for name, value in told.items():
        if name not in _APART:
            _put(card, name, value)
    for field, value in told.get("fields", {}).items():
        card.tell(int(field), value)
    for place, instance in told.get("instances", {}).items():
        made = card.instance(int(place), instance["profile"], instance["memory_total"])
        for name, value in instance.items():
            if name != "profile":
                _put(made, name, value)
    if "links" in told:
        driver.link(index, None, told["links"])
    for name, symbols in _TOLD_BY.items():
        if name not in told:
            card.lacks(*symbols)


def _put(into: SimulatedCard | SimulatedInstance, name: str, value: Any) -> None:
    assert any(name == known for known, *_ in into._fields_), f"a recording names {name}"
    if isinstance(value, list):
        getattr(into, name)[: len(value)] = value
    else:
        setattr(into, name, value.encode() if isinstance(value, str) else value)
