"""Which NVIDIA GPUs the PCI bus lists, whatever the driver thinks of them. Runs in the worker only.

Source: the kernel's ``/sys/bus/pci/devices``. Not counted: cards that another driver has (passed through to a
virtual machine, say), and virtual functions of a card.
"""

from __future__ import annotations

from pathlib import Path

_NVIDIA = "0x10de"
_CLASSES = ("0x0300", "0x0302")
"""VGA controller and 3D controller."""
_OURS = "nvidia"


def nvidia_gpus(devices: Path) -> list[str]:
    """Bus ids, sorted; empty where there is no such folder."""
    try:
        return sorted(place.name for place in devices.iterdir() if _is_gpu(place))
    except OSError:
        return []


def _is_gpu(place: Path) -> bool:
    try:
        if (place / "vendor").read_text().strip() != _NVIDIA:
            return False
        if not (place / "class").read_text().startswith(_CLASSES):
            return False
    except OSError:
        return False
    driver = place / "driver"
    return not (place / "physfn").exists() and (not driver.exists() or driver.resolve().name == _OURS)
