"""Which Xid is what: the one table of NVIDIA's driver errors, by number.

Sources: NVIDIA's "Xid Errors" catalogue (its column "immediate action", October 2025) and the lists of gpud.
They disagree on 32, 38, 44, 68, 69, 109 and 121: suspect. What neither knows is ``UNKNOWN``.

Owns classes, words and the signal that an Xid raises by itself. What repeats, and what goes with what, is
``faults``'s.
"""

from __future__ import annotations

from collections.abc import Mapping

from provider.domain.gpu_health import GpuSignal, XidClass

_NUMBERS: Mapping[XidClass, tuple[int, ...]] = {
    # the catalogue's RESTART_APP, with 43, 45, 66, 67, 92 and 137 of its IGNORE that a program causes
    XidClass.APP: (
        *(8, 11, 13, 25, 31, 39, 40, 41, 43, 45, 60, 66, 67, 70, 71, 72, 75, 76, 77, 80),
        *(82, 83, 84, 85, 86, 88, 89, 92, *range(96, 106), *range(126, 136), 137, 139),
    ),
    # the rest of its IGNORE; 154 says that the recovery action changed, which is read by itself
    XidClass.INFO: (14, 37, 93, 106, 107, 108, 141, 152, 153, 154, 157, 160, 161),
    XidClass.SUSPECT: (32, 38, 44, 68, 69, 109, 121),
    XidClass.CONTAINED: (63, 94),
    # WORKFLOW_NVLINK_ERR and NVLINK5
    XidClass.LINK: (74, *range(144, 151)),
    # RESET_GPU but for the suspect 109, and WORKFLOW_XID_48
    XidClass.RESET: (46, 48, 62, 64, 95, 110, 119, 120, 136, 140, 143, 155, 156, 158),
    # RESTART_BM, RESTART_VM and UPDATE_SWFW
    XidClass.NODE: (78, 79, 151),
}
_CLASSES = {xid: kind for kind, xids in _NUMBERS.items() for xid in xids}

_BY_CLASS: Mapping[XidClass, GpuSignal | None] = {
    XidClass.APP: None,
    XidClass.INFO: None,
    XidClass.SUSPECT: GpuSignal.SUSPECT_XID,
    XidClass.CONTAINED: GpuSignal.CONTAINED_ECC,
    XidClass.LINK: GpuSignal.NVLINK_FAULT,
    XidClass.RESET: GpuSignal.RESET_NEEDED,
    XidClass.NODE: GpuSignal.REBOOT_NEEDED,
    XidClass.UNKNOWN: GpuSignal.UNKNOWN_XID,
}
_BY_NUMBER: Mapping[int, GpuSignal | None] = {
    48: None,  # whether it was contained is told by what comes with it: ``faults.uncontained``
    63: GpuSignal.REMAP_PENDING,
    64: GpuSignal.REMAP_FAILED,
    79: GpuSignal.GPU_LOST,
}

OUR_STOP = frozenset({13, 31, 43, 45})
"""What ending a container in the middle of its work may look like."""
CLEANUP = frozenset({43, 45})
"""A channel that was stopped, by whatever came before it."""
ACCOUNTED = frozenset({63, 94})
"""These say that an uncorrectable error was dealt with: its row is replaced, or one process had it."""

MEANINGS: Mapping[int, str] = {
    8: "the program ran longer on the GPU than allowed",
    13: "a kernel of the program made an illegal access or instruction",
    31: "a kernel of the program touched memory that is not its own",
    32: "the driver read a damaged command stream",
    38: "the driver's firmware reported an error",
    43: "a channel of the program stopped",
    44: "the graphics engine reported a fault while switching contexts",
    45: "the program's work was taken off the GPU",
    46: "the GPU stopped processing",
    48: "an uncorrectable error in the GPU's memory",
    54: "auxiliary power is not connected",
    62: "the GPU's micro-controller halted",
    63: "a row of the GPU's memory is to be replaced at its next reset",
    64: "a bad row of the GPU's memory could not be replaced",
    68: "the video decoder raised an exception",
    69: "the graphics engine raised a class error",
    74: "an NVLink error",
    78: "the virtual GPU's software does not fit the driver",
    79: "the GPU has fallen off the bus",
    92: "many correctable memory errors",
    94: "an uncorrectable memory error that was kept to one process",
    95: "an uncorrectable memory error that was not contained",
    109: "a context switch timed out",
    110: "a security fault",
    119: "the GPU's system processor does not answer",
    120: "the GPU's system processor reported an error",
    121: "an error of the chip-to-chip link",
    136: "an error of the link to memory",
    140: "an ECC error that was not recovered",
    143: "the GPU could not be initialized",
    151: "the key rotation of the confidential machine failed",
    154: "the recovery that the driver advises has changed",
}
_CLASS_WORDS: Mapping[XidClass, str] = {
    XidClass.APP: "an error of the program on the GPU",
    XidClass.INFO: "a notice of the driver",
    XidClass.SUSPECT: "an error that may be the GPU's",
    XidClass.CONTAINED: "a memory error that was kept to one process",
    XidClass.LINK: "an NVLink error",
    XidClass.RESET: "an error after which the GPU needs a reset",
    XidClass.NODE: "an error after which the machine needs a reboot",
    XidClass.UNKNOWN: "an error that is in no list of ours",
}


def xid_class(xid: int) -> XidClass:
    return _CLASSES.get(xid, XidClass.UNKNOWN)


def raised_by(xid: int) -> GpuSignal | None:
    """The signal that one of these is enough for; None for none."""
    return _BY_NUMBER.get(xid, _BY_CLASS[xid_class(xid)])


def meaning(xid: int) -> str:
    """For a sentence: what happened, in words."""
    return MEANINGS.get(xid, _CLASS_WORDS[xid_class(xid)])
