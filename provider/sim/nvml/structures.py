"""The state file's structures in Python: those of ``nvml_state.h``, field for field.

Every attribute can be read and written; the library sees it at its next call. Invariant: sizes equal the
header's; a test compares them. ``state`` has the driver over them.
"""

from __future__ import annotations

import ctypes

U32 = ctypes.c_uint32
U64 = ctypes.c_uint64
I32 = ctypes.c_int32

MAGIC = 0x4E564D53
EVENTS_MOST = 64
LINKS_MOST = 18
INSTANCES_MOST = 8


class FieldValue(ctypes.Structure):
    """``struct field``."""

    _fields_ = [("is_supported", U32), ("value_type", U32), ("value", U64)]


class SimulatedInstance(ctypes.Structure):
    """``struct instance``: a MIG instance."""

    _fields_ = [
        ("is_there", U32),
        ("gpu_instance", U32),
        ("compute_instance", U32),
        ("slices", U32),
        ("uuid", ctypes.c_char * 96),
        ("name", ctypes.c_char * 96),
        ("memory_total", U64),
        ("memory_reserved", U64),
        ("memory_used", U64),
        ("sm_active_percent", U32),
        ("tensor_active_percent", U32),
    ]


class SimulatedLink(ctypes.Structure):
    """``struct link``: one NVLink of a card."""

    _fields_ = [("is_up", U32), ("remote_type", U32), ("remote_gpu", U32)]


class SimulatedProcess(ctypes.Structure):
    """``struct process``."""

    _fields_ = [("pid", U32), ("gpu_instance", U32), ("memory_bytes", U64)]


class SimulatedCard(ctypes.Structure):
    """``struct gpu``."""

    _fields_ = [
        ("is_lost", U32),
        ("minor_number", U32),
        ("uuid", ctypes.c_char * 96),
        ("name", ctypes.c_char * 96),
        ("vbios", ctypes.c_char * 32),
        ("pci_bus_id", ctypes.c_char * 32),
        ("architecture", U32),
        ("compute_major", U32),
        ("compute_minor", U32),
        ("has_own_memory", U32),
        ("memory_total", U64),
        ("memory_reserved", U64),
        ("memory_used", U64),
        ("bar1_total", U64),
        ("bar1_used", U64),
        ("utilization_percent", U32),
        ("memory_utilization_percent", U32),
        ("encoder_percent", U32),
        ("decoder_percent", U32),
        ("sm_active_percent", U32),
        ("tensor_active_percent", U32),
        ("power_milliwatts", U32),
        ("power_limit_milliwatts", U32),
        ("power_default_milliwatts", U32),
        ("energy_millijoules", U64),
        ("temperature_celsius", U32),
        ("margin_celsius", I32),
        ("thresholds_celsius", U32 * 8),
        ("has_fan", U32),
        ("fan_percent", U32),
        ("clock_megahertz", U32 * 4),
        ("clock_most_megahertz", U32 * 4),
        ("clock_reasons", U64),
        ("performance_state", U32),
        ("is_persistent", U32),
        ("pcie_generation", U32),
        ("pcie_generation_most", U32),
        ("pcie_width", U32),
        ("pcie_width_most", U32),
        ("has_ecc", U32),
        ("is_ecc_on", U32),
        ("is_ecc_pending", U32),
        ("ecc_errors", U64 * 2),
        ("remapped_banks", U32 * 5),
        ("is_mig_capable", U32),
        ("is_mig_on", U32),
        ("is_mig_pending", U32),
        ("instances", SimulatedInstance * INSTANCES_MOST),
        ("link_count", U32),
        ("links", SimulatedLink * LINKS_MOST),
        ("counts_links_apart", U32),
        ("place", U32 * 4),
        ("has_fabric", U32),
        ("fabric_state", U32),
        ("fabric_status", U32),
        ("fabric_health_mask", U32),
        ("fabric_summary", U32),
        ("is_inforom_corrupt", U32),
        ("event_types", U64),
        ("process_count", U32),
        ("processes", SimulatedProcess * 16),
        ("fields", FieldValue * 256),
        ("unsupported_count", U32),
        ("unsupported", (ctypes.c_char * 64) * 64),
    ]

    def lacks(self, *symbols: str) -> None:
        """From now on these answer "not supported" on this card."""
        for symbol in symbols:
            self.unsupported[self.unsupported_count].value = symbol.encode()
            self.unsupported_count += 1

    def tell(self, field: int, value: int, *, is_long: bool = False) -> None:
        """A numbered field has this value from now on."""
        self.fields[field] = FieldValue(1, 3 if is_long else 1, value)

    def run(self, *pids: int, memory_bytes: int = 0) -> None:
        """These processes compute on the card, and no others."""
        self.process_count = len(pids)
        for place, pid in enumerate(pids):
            self.processes[place] = SimulatedProcess(pid, 0xFFFFFFFF, memory_bytes)

    def instance(self, place: int, profile: str, memory_bytes: int) -> SimulatedInstance:
        """A MIG instance such as ``1g.10gb``, at a place of the card's sparse table."""
        made: SimulatedInstance = self.instances[place]
        made.is_there = 1
        made.gpu_instance = 7 + place
        made.compute_instance = 0
        made.slices = int(profile.partition("g.")[0].rpartition("c.")[2])
        made.uuid = b"MIG-%08d-%b" % (place, bytes(self.uuid).rpartition(b"-")[2])
        made.name = b"%b MIG %b" % (bytes(self.name), profile.encode())
        made.memory_total = memory_bytes
        made.memory_reserved = 16 * 1024**2
        return made


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


class Event(ctypes.Structure):
    """``struct event``."""

    _fields_ = [("gpu", U32), ("gpu_instance", U32), ("type", U64), ("data", U64)]


class DriverState(ctypes.Structure):
    """``struct state``."""

    _fields_ = [
        ("magic", U32),
        ("size", U32),
        ("gpu_count", U32),
        ("cuda_version", I32),
        ("driver_version", ctypes.c_char * 80),
        ("fabric_version", U32),
        ("has_confidential", U32),
        ("is_confidential", U32),
        ("is_confidential_ready", U32),
        ("event_sets", U32),
        ("event_head", U64),
        ("events", Event * EVENTS_MOST),
        ("fault_count", U32),
        ("faults", Fault * 16),
        ("calls", U64),
        ("gpus", SimulatedCard * 16),
    ]
