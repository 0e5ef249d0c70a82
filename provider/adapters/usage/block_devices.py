"""Which block devices are made of others: encrypted, logical and mirrored ones.

What is written to one of these is counted by the kernel for it and again for what it is made of, so that a
sum over all devices would count it twice. Owns the look into ``/sys/dev/block``, once a device.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


class BlockDevices:
    """``root`` is ``/sys/dev/block``: a folder for each device, named ``major:minor``."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._below: dict[str, frozenset[str]] = {}

    def stacked(self, devices: Iterable[str]) -> frozenset[str]:
        """Those of ``devices`` of which something below is among ``devices``, too."""
        there = frozenset(devices)
        return frozenset(device for device in there if self._all_below(device) & there)

    def _all_below(self, device: str) -> frozenset[str]:
        if device not in self._below:
            self._below[device] = frozenset()  # what a circle would find: the kernel has none
            nearest = _nearest_below(self._root / device)
            self._below[device] = nearest.union(*(self._all_below(each) for each in nearest))
        return self._below[device]


def _nearest_below(folder: Path) -> frozenset[str]:
    """Whole disks under ``folder``: input and output are counted for these, not for partitions."""
    try:
        links = list((folder / "slaves").iterdir())
    except OSError:
        return frozenset()
    found = []
    for link in links:
        device = link.resolve()
        disk = device.parent if (device / "partition").exists() else device
        try:
            found.append((disk / "dev").read_text().strip())
        except OSError:
            continue
    return frozenset(found)
