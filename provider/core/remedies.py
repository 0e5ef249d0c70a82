"""What an operator can do about what holds against a GPU, in words and commands.

The daemon resets no card: a reset is refused while anything reads one, itself included, ends whatever runs on
it, and takes its NVLink peers along. It says which command to run instead, and notices that it was run
(``resets``). Pure; lines that begin with ``$`` are commands, in the order in which they are to be run.
"""

from __future__ import annotations

from collections.abc import Iterator

from provider.core.health import RESETTABLE
from provider.domain.gpu import Gpu
from provider.domain.gpu_health import PLACE, GpuRecord, GpuSignal
from provider.domain.ids import LeaseId

_S = GpuSignal
_RESET = RESETTABLE | {_S.REMAP_PENDING, _S.MODE_CHANGE_PENDING}
_REBOOT = frozenset({_S.GPU_LOST, _S.GPU_UNLISTED, _S.REBOOT_NEEDED, _S.REBOOT_ADVISED, _S.NEAR_SHUTDOWN})
_REPLACE = frozenset(
    {_S.XID_REPEATED, _S.REMAP_FAILED, _S.REMAP_EXHAUSTED, _S.CORRECTABLE_ECC, _S.INFOROM_CORRUPT}
)
_IN_USE = frozenset({_S.FOREIGN_PROCESS, _S.NOT_CLEAN})


def remedy(
    record: GpuRecord, gpu: Gpu | None, *, lease: LeaseId | None = None, is_switched: bool = False
) -> tuple[str, ...]:
    """``lease`` has the card, NVSwitches tie it to others or not. Empty where time will tell."""
    return tuple(_lines(record, gpu, lease, is_switched=is_switched))


def _lines(record: GpuRecord, gpu: Gpu | None, lease: LeaseId | None, *, is_switched: bool) -> Iterator[str]:
    held = {each.signal for each in record.active}
    place = gpu.pci_bus_id or gpu.uuid if gpu is not None else record.uuid.removeprefix(PLACE)
    name = str(gpu.index) if gpu is not None and gpu.mig is None else record.uuid
    if held & _REBOOT:
        yield from _reboot(place if place != record.uuid else None)
    elif held & _RESET or _is_reset_advised(record):
        yield from _reset(place, name, lease, is_switched=is_switched)
    if held & _REPLACE:
        yield "It wants replacing. Its vendor asks for this file:"
        yield "$ nvidia-bug-report.sh"
        yield "Or, to sell it as it is, at your own risk:"
        yield f"$ provider gpus uncordon {name}"
    if _S.GPU_MISSING in held:
        yield "A reboot may bring it back. If you took it out:"
        yield f"$ provider gpus uncordon {name}"
    if held & _IN_USE:
        yield "Who is on it, to be ended by you:"
        yield f"$ nvidia-smi -i {place} --query-compute-apps=pid,process_name,used_memory --format=csv"
    if _S.APP_FAULTS in held:
        yield "Test it with a program that you trust, then:"
        yield f"$ provider gpus uncordon {name}"
    if _S.PERSISTENCE_OFF in held:
        yield "Better for every start, and without it a reset goes unnoticed:"
        yield f"$ nvidia-smi -i {place} -pm 1"


def _is_reset_advised(record: GpuRecord) -> bool:
    return any(each.signal is _S.RECOVERY_ADVISED and "reset" in each.detail for each in record.active)


def _reboot(place: str | None) -> Iterator[str]:
    if place is not None:
        yield "Whether it is still there, and what the kernel says of it:"
        yield f"$ lspci -s {place}; dmesg | grep {place.rpartition('.')[0] or place}"
    yield "It takes a reboot, after which it is looked at anew. First let leases run out: it ends them."
    yield "$ provider drain"
    yield "$ provider leases"
    yield "$ reboot"


def _reset(place: str, name: str, lease: LeaseId | None, *, is_switched: bool) -> Iterator[str]:
    if lease is not None:
        yield "It takes a reset, which would end what runs on it: wait for its lease, or take it back."
        yield f"$ provider close {lease}"
    else:
        yield "It takes a reset. Nobody may read it then, the daemon included; leases on other cards run on."
    yield "$ systemctl stop provider"
    yield f"$ nvidia-smi --gpu-reset -i {place}"
    yield "$ systemctl start provider"
    if is_switched:
        yield "Behind NVSwitches the driver may want all cards reset at once, without -i: when no lease runs."
    yield "The daemon sees that its counters began again, if persistence mode is on. Where it does not:"
    yield f"$ provider gpus uncordon {name}"
