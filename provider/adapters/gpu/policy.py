"""What each NVML return code means: the one table that every call goes through.

Owns the meaning of a code; what follows for a card is in ``verdict``. Codes are those of ``nvml.h``
(``nvmlReturn_enum``); their meanings are NVIDIA's NVML API reference, their treatment is ours.

Invariant: no code ever becomes a number. What could not be read is absent.
"""

from __future__ import annotations

from enum import StrEnum


class Treatment(StrEnum):
    """What to do about a call that did not succeed."""

    ABSENT = "absent"
    """The card or the driver cannot tell: not asked again before the library is loaded afresh."""
    SKIP = "skip"
    """Not this time."""
    LOST = "lost"
    """This GPU is gone, the others are not."""
    SUSPECT = "suspect"
    """Once is nothing, several times in a row is a sick card."""
    CORRUPT = "corrupt"
    """What the card keeps of itself is damaged: it works, and wants to be replaced."""
    LIBRARY = "library"
    """No call can succeed any more: the worker ends and a new one starts."""


SUCCESS = 0
INVALID_ARGUMENT = 2
NOT_SUPPORTED = 3
FUNCTION_NOT_FOUND = 13
CORRUPTED_INFOROM = 14
GPU_IS_LOST = 15
RESET_REQUIRED = 16
NO_INSTANCE = frozenset({INVALID_ARGUMENT, 6})
"""How an empty place of a card's table of MIG instances answers."""
NO_DRIVER = frozenset({9, 12})
"""There is nothing to read, as against something that does not work."""

RETURN_CODES: dict[int, tuple[str, Treatment]] = {
    1: ("uninitialized", Treatment.LIBRARY),
    INVALID_ARGUMENT: ("invalid argument", Treatment.ABSENT),  # drivers say so for whole-card calls on MIG
    NOT_SUPPORTED: ("not supported", Treatment.ABSENT),
    4: ("no permission", Treatment.SKIP),
    6: ("not found", Treatment.SKIP),
    7: ("insufficient size", Treatment.SKIP),
    9: ("the driver is not loaded", Treatment.LIBRARY),
    10: ("timeout", Treatment.SKIP),
    11: ("an interrupt problem", Treatment.SUSPECT),
    12: ("libnvidia-ml.so.1 was not found", Treatment.LIBRARY),
    FUNCTION_NOT_FOUND: ("function not found", Treatment.ABSENT),  # an older driver than the bindings
    CORRUPTED_INFOROM: ("its InfoROM is corrupt", Treatment.CORRUPT),
    GPU_IS_LOST: ("the GPU is lost: it fell off the bus or needs a reboot", Treatment.LOST),
    RESET_REQUIRED: ("the GPU needs a reset", Treatment.LOST),
    17: ("the operating system refused", Treatment.SUSPECT),
    18: ("driver and library versions differ, a reboot is due", Treatment.LIBRARY),
    20: ("out of memory", Treatment.SUSPECT),
    21: ("no data", Treatment.SKIP),
    25: ("argument version mismatch", Treatment.ABSENT),
    26: ("deprecated", Treatment.ABSENT),
    27: ("not ready", Treatment.SKIP),
    28: ("the driver sees no GPU", Treatment.LIBRARY),
    999: ("unknown error", Treatment.SUSPECT),
}

UNREADABLE = -1
"""Not NVIDIA's: the driver returned something that makes no sense, such as text that is not UTF-8."""


def meaning(code: int) -> str:
    """The code in words, for a sentence."""
    if code == UNREADABLE:
        return "what it answered is not readable"
    return RETURN_CODES[code][0] if code in RETURN_CODES else f"return code {code}"


def treatment(code: int) -> Treatment:
    """How to treat it. A code that NVIDIA adds after this was written is suspect."""
    if code == UNREADABLE:
        return Treatment.SKIP
    return RETURN_CODES[code][1] if code in RETURN_CODES else Treatment.SUSPECT
