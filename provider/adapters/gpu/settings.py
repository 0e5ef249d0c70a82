"""The periods and patience of the NVML probe, all in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PCI_DEVICES = Path("/sys/bus/pci/devices")
KERNEL_LOG = Path("/dev/kmsg")


@dataclass(frozen=True, slots=True, kw_only=True)
class NvmlSettings:
    """Defaults are for production; tests shorten them."""

    interval_s: float = 2.0
    """Between samples."""
    medium_s: float = 10.0
    """Between looks at what changes slowly: error counters, links, widths, modes."""
    discover_every_s: float = 60.0
    """Between looks at what there is, unasked."""
    inforom_every_s: float = 3600.0
    """Between two checks of what a card keeps of itself, which is read from a slow memory."""
    slow_call_s: float = 2.0
    """A call that takes longer is told."""
    nvml_library: str | None = None
    """Path of ``libnvidia-ml.so.1`` where the dynamic linker does not find it."""
    kernel_log: Path | None = KERNEL_LOG
    """Errors of GPUs are read here too, where permitted; None to leave it alone."""
    pci_devices: Path = PCI_DEVICES
    fault_merge_s: float = 0.5
    """An error is held for this long, so that what the other source knows of it is told with it."""
    stale_floor_s: float = 5.0
    """A sample is fresh for this long, or five intervals if that is longer."""
    kill_after_s: float = 15.0
    """Without a word from the worker for this long, beyond the interval, it is killed."""
    reap_within_s: float = 5.0
    """After SIGKILL; a process that is not gone then hangs in the kernel."""
    backoff_min_s: float = 1.0
    backoff_max_s: float = 30.0
    """Between one worker's end and the next one's start, doubling."""
    quarantine_s: float = 600.0
    """A card whose call hung is left alone for this long, so that the others can be read."""
    unreapable_limit: int = 2
    """No further worker is started while so many hang in the kernel."""

    @property
    def stale_after_s(self) -> float:
        return max(self.stale_floor_s, 5 * self.interval_s)

    @property
    def silence_s(self) -> float:
        """The longest that a worker may say nothing."""
        return self.interval_s + self.kill_after_s
