"""Cards of the simulated library as a test drives them: added, loaded, broken, and made to report errors.

Owns the mapping of the state file. A change is seen by the next NVML call in any process. The structures
are in ``structures``.
"""

from __future__ import annotations

import ctypes
import mmap
import shutil
from pathlib import Path
from typing import Self

from provider.sim.gpu_cards import CARDS
from provider.sim.nvml.structures import (
    EVENTS_MOST,
    MAGIC,
    DriverState,
    Event,
    Fault,
    SimulatedCard,
    SimulatedLink,
)

_ARCHITECTURES = {"turing": 6, "ampere": 7, "ada": 8, "hopper": 9, "blackwell": 10}
FIELD_POWER_INSTANT = 186
XID_EVENT = 0x8
MIG_CONFIG_EVENT = 0x100
WHOLE_CARD = 0xFFFFFFFF


class SimulatedDriver:
    """A library of one's own in ``directory``, with the state file beside it: no environment is needed."""

    def __init__(self, built: Path, directory: Path) -> None:
        self.library = str(shutil.copy(built, directory / "libnvidia-ml.so.1"))
        self._path = Path(f"{self.library}.state")
        with self._path.open("wb") as file:
            file.truncate(ctypes.sizeof(DriverState))
        with self._path.open("r+b") as file:
            self._mapping = mmap.mmap(file.fileno(), ctypes.sizeof(DriverState))
        self.state = DriverState.from_buffer(self._mapping)
        self.state.magic = MAGIC
        self.state.size = ctypes.sizeof(DriverState)
        self.state.driver_version = b"570.124.06"
        self.state.cuda_version = 12080
        self.state.fabric_version = 3

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.clear_faults()  # whoever hangs in a call returns

    def add(self, model: str) -> SimulatedCard:
        """One more card of a kind of ``CARDS``, idle."""
        kind = CARDS[model]
        index = self.state.gpu_count
        card: SimulatedCard = self.state.gpus[index]
        card.uuid = f"GPU-{index:08x}-1111-2222-3333-444455556666".encode()
        card.name = kind.name.encode()
        card.minor_number = index
        card.pci_bus_id = f"00000000:{0x18 + 0x10 * index:02X}:00.0".encode()
        card.architecture = _ARCHITECTURES[kind.architecture]
        card.compute_major, card.compute_minor = map(int, kind.compute_capability.split("."))
        card.has_own_memory = kind.memory_bytes is not None
        card.memory_total = kind.memory_bytes or 0
        card.memory_reserved = 500 * 1024**2 if kind.memory_bytes else 0
        card.power_limit_milliwatts = card.power_default_milliwatts = kind.power_limit_watts * 1000
        card.temperature_celsius, card.margin_celsius = 34, 50
        card.has_fan = kind.has_fan
        card.fan_percent = 30 if kind.has_fan else 0
        for domain in range(4):
            megahertz = kind.clock_memory_megahertz if domain == 2 else kind.clock_sm_megahertz
            card.clock_megahertz[domain] = card.clock_most_megahertz[domain] = megahertz
        card.is_mig_capable = kind.is_mig_capable
        card.is_persistent = 1
        card.event_types = XID_EVENT | (MIG_CONFIG_EVENT if kind.is_mig_capable else 0)
        card.place[:] = (index, index, index, 0)
        self.set_power(index, kind.idle_watts)
        self.state.gpu_count = index + 1
        return card

    def card(self, index: int) -> SimulatedCard:
        """The card at that place in NVML's list."""
        card: SimulatedCard = self.state.gpus[index]
        return card

    def set_power(self, index: int, watts: int) -> None:
        """Both ways of asking for it."""
        card = self.card(index)
        card.power_milliwatts = watts * 1000
        card.tell(FIELD_POWER_INSTANT, watts * 1000)

    def link(self, first: int, second: int | None, lanes: int) -> None:
        """So many NVLinks between two cards, or from one card to switches."""
        ends = [(first, second)] if second is None else [(first, second), (second, first)]
        for here, there in ends:
            card = self.card(here)
            for _ in range(lanes):
                card.links[card.link_count] = SimulatedLink(1, 2 if there is None else 0, there or 0)
                card.link_count += 1
            card.tell(91, card.link_count)

    def xid(self, gpu: int, number: int, *, gpu_instance: int = WHOLE_CARD) -> None:
        """The driver reports an error of that card."""
        self.event(gpu, XID_EVENT, number, gpu_instance)

    @property
    def hears_events(self) -> bool:
        """Somebody waits for events, or nobody has a reason to: there is no card."""
        return bool(self.state.event_sets > 0 or self.state.gpu_count == 0)

    def event(self, gpu: int, kind: int, data: int, gpu_instance: int = WHOLE_CARD) -> None:
        """Something happens; who waits hears of it, who comes later does not."""
        head = self.state.event_head
        self.state.events[head % EVENTS_MOST] = Event(gpu, gpu_instance, kind, data)
        self.state.event_head = head + 1

    def fault(self, symbol: str, *, gpu: int = -1, code: int = 0, times: int = -1) -> Fault:
        """From now on calls of ``symbol`` fail: on one card or any, so many times or for ever."""
        fault: Fault = self.state.faults[self.state.fault_count]
        fault.symbol = symbol.encode()
        fault.gpu = gpu
        fault.return_code = code
        fault.delay_ms = 0
        fault.hangs = 0
        fault.remaining = times
        self.state.fault_count += 1
        return fault

    def hang(self, symbol: str, *, gpu: int = -1) -> Fault:
        """From now on calls of ``symbol`` do not return, until ``hangs`` is cleared."""
        fault = self.fault(symbol, gpu=gpu, times=0)
        fault.hangs = 1
        fault.remaining = -1
        return fault

    def slow(self, symbol: str, delay_ms: int, *, gpu: int = -1) -> Fault:
        """From now on calls of ``symbol`` take that long."""
        fault = self.fault(symbol, gpu=gpu, times=0)
        fault.delay_ms = delay_ms
        fault.remaining = -1
        return fault

    def clear_faults(self) -> None:
        """All is well again, and hanging calls return."""
        for fault in self.state.faults:
            fault.hangs = 0
            fault.remaining = 0
        self.state.fault_count = 0
