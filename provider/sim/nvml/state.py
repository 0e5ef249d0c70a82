"""The simulated library's cards in Python: the structures of ``nvml_state.h``, and a driver over them.

Owns the mapping of the state file. A change is seen by the next NVML call in any process. Invariant: the
structures equal the header's, field for field; a test compares their sizes.
"""

from __future__ import annotations

import ctypes
import mmap
import shutil
from pathlib import Path
from typing import Self

from provider.sim.gpu_cards import CARDS

U32 = ctypes.c_uint32
U64 = ctypes.c_uint64
I32 = ctypes.c_int32

_MAGIC = 0x4E564D53
_ARCHITECTURES = {"turing": 6, "ampere": 7, "ada": 8, "hopper": 9, "blackwell": 10}
FIELD_POWER_INSTANT = 186


class FieldValue(ctypes.Structure):
    """``struct field``."""

    _fields_ = [("is_supported", U32), ("value_type", U32), ("value", U64)]


class SimulatedCard(ctypes.Structure):
    """``struct gpu``: every attribute can be read and written, the library sees it at once."""

    _fields_ = [
        ("is_lost", U32),
        ("minor_number", U32),
        ("uuid", ctypes.c_char * 96),
        ("name", ctypes.c_char * 96),
        ("pci_bus_id", ctypes.c_char * 32),
        ("architecture", U32),
        ("compute_major", U32),
        ("compute_minor", U32),
        ("has_own_memory", U32),
        ("memory_total", U64),
        ("memory_reserved", U64),
        ("memory_used", U64),
        ("utilization_percent", U32),
        ("memory_utilization_percent", U32),
        ("power_milliwatts", U32),
        ("power_limit_milliwatts", U32),
        ("energy_millijoules", U64),
        ("temperature_celsius", U32),
        ("has_fan", U32),
        ("fan_percent", U32),
        ("clock_megahertz", U32 * 4),
        ("is_mig_capable", U32),
        ("is_mig_on", U32),
        ("process_count", U32),
        ("process_ids", U32 * 16),
        ("fields", FieldValue * 256),
        ("unsupported_count", U32),
        ("unsupported", (ctypes.c_char * 64) * 16),
    ]

    def lacks(self, symbol: str) -> None:
        """From now on ``symbol`` answers "not supported" on this card."""
        self.unsupported[self.unsupported_count].value = symbol.encode()
        self.unsupported_count += 1


class Fault(ctypes.Structure):
    """``struct fault``. Clear ``hangs`` to let a hanging call return."""

    _fields_ = [
        ("symbol", ctypes.c_char * 64),
        ("gpu", I32),
        ("return_code", I32),
        ("delay_ms", U32),
        ("hangs", U32),
        ("remaining", I32),
        ("hits", U32),
    ]


class DriverState(ctypes.Structure):
    """``struct state``."""

    _fields_ = [
        ("magic", U32),
        ("size", U32),
        ("gpu_count", U32),
        ("cuda_version", I32),
        ("driver_version", ctypes.c_char * 80),
        ("fault_count", U32),
        ("faults", Fault * 16),
        ("gpus", SimulatedCard * 16),
    ]


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
        self.state.magic = _MAGIC
        self.state.size = ctypes.sizeof(DriverState)
        self.state.driver_version = b"570.124.06"
        self.state.cuda_version = 12080

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
        card.power_limit_milliwatts = kind.power_limit_watts * 1000
        card.temperature_celsius = 34
        card.has_fan = kind.has_fan
        card.fan_percent = 30 if kind.has_fan else 0
        card.clock_megahertz[1] = kind.clock_sm_megahertz
        card.clock_megahertz[2] = kind.clock_memory_megahertz
        card.is_mig_capable = kind.is_mig_capable
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
        card.fields[FIELD_POWER_INSTANT] = FieldValue(1, 1, watts * 1000)

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
