"""Which system calls a tenant's process may make: the filter that every container gets.

Owns the table (most of it is ``syscalls.txt``) and its rendering. The engine's own default is never used: it
depends on the engine's age (before 25.0 it lets ``io_uring`` through, before 29.5 ``AF_ALG``).

Source of the rules: github.com/moby/profiles, ``seccomp/default.json`` at commit
02e898b137aed1024e232d59bcb05e6179b72177 (2026), the newest that was published when this was written, settled
for the capabilities that ``spec`` gives: what it allows only with ``CAP_SYS_ADMIN`` and its like is left out,
what it allows with ``CAP_SYS_CHROOT`` is in. A newer one is taken over by hand, name by name.

Invariant: a call that is not named is answered EPERM, so that one which a newer kernel brings is closed.
Names that an engine's libseccomp does not know are skipped by the OCI runtime, and so stay closed.
``socketcall`` of 32-bit programs hides its arguments from every filter: there only AppArmor shuts AF_ALG.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

Rule = dict[str, object]

SYSCALLS = Path(__file__).with_name("syscalls.txt")
EPERM, ENOSYS = 1, 38


TRACING = ("process_vm_readv", "process_vm_writev", "ptrace")
"""Within the container; before Linux 4.8 a traced process escaped its filter."""
TRACING_KERNEL = "4.8"

OF_ARCHITECTURE = {
    "amd64": ("arch_prctl", "modify_ldt"),
    "arm64": (
        *("arm_fadvise64_64", "arm_sync_file_range", "breakpoint"),
        *("cacheflush", "set_tls", "sync_file_range2"),
    ),
}
SUB_ARCHITECTURES = {
    "SCMP_ARCH_X86_64": ("SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "SCMP_ARCH_AARCH64": ("SCMP_ARCH_ARM",),
}
"""32-bit programs run too: game servers still come as such."""

FAMILIES_BELOW = 12
FAMILIES = (13, 14, 15, 16, 17, 18, 21, 22, 24, *range(26, 34), 35, 36, 39, 41, 42, 43, 44, 45)
"""Address families of ``socket`` (linux/socket.h): all below 12, then these. Not 38 (AF_ALG), not 40
(AF_VSOCK), none that kernels have given up. One comparison a rule: of two in one, runc makes an "or"."""

PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
"""Linux, 32-bit addresses, the old ``uname``, both, and asking (linux/personality.h)."""

NEW_NAMESPACES = 0x7E020000
"""All of ``CLONE_NEW*`` (linux/sched.h): ``clone`` may carry none of them."""


def allowed() -> tuple[str, ...]:
    """The names in ``syscalls.txt``."""
    lines = SYSCALLS.read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if not line.startswith("#"))


@cache
def profile() -> str:
    """The filter as the JSON that an engine takes inline after ``seccomp=``."""
    rules: list[Rule] = [
        _allow(allowed()),
        _allow(TRACING) | {"includes": {"minKernel": TRACING_KERNEL}},
        _allow(["socket"]) | _first_argument("LT", FAMILIES_BELOW),
        *(_allow(["socket"]) | _first_argument("EQ", family) for family in FAMILIES),
        *(_allow(["personality"]) | _first_argument("EQ", which) for which in PERSONALITIES),
        _allow(["clone"]) | _first_argument("MASKED_EQ", NEW_NAMESPACES),
        # Its flags are behind a pointer. ENOSYS makes every C library fall back to ``clone``.
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS},
        *(_allow(names) | {"includes": {"arches": [each]}} for each, names in OF_ARCHITECTURE.items()),
    ]
    architectures = [
        {"architecture": each, "subArchitectures": list(below)} for each, below in SUB_ARCHITECTURES.items()
    ]
    whole = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "archMap": architectures,
        "syscalls": rules,
    }
    return json.dumps(whole, separators=(",", ":"))


def _allow(names: Iterable[str]) -> Rule:
    return {"names": list(names), "action": "SCMP_ACT_ALLOW"}


def _first_argument(compare: str, value: int) -> Rule:
    """``MASKED_EQ``: none of the bits of ``value`` is set."""
    return {"args": [{"index": 0, "value": value, "valueTwo": 0, "op": f"SCMP_CMP_{compare}"}]}
