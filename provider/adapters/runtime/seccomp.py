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
from collections.abc import Iterable, Iterator, Sequence
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

ATTRIBUTES = (0x40005800, 0x40006600)
"""Requests of ``ioctl`` that write, of types ``X`` and ``f`` (asm-generic/ioctl.h): a file's attributes
(linux/fs.h, ``FS_IOC_FSSETXATTR``, ``FS_IOC_SETFLAGS``). Its owner may set these without any capability, and
so leave the project whose quota holds it: a volume's, or a layer's where the engine limits those."""
ATTRIBUTES_BITS = tuple(1 << bit for bit in (31, 30, 15, 14, 13, 12, 11, 10, 9, 8))
"""That tell them from others: direction and type. Above bit 31 the kernel reads nothing."""

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
        *(_allow(["ioctl"]) | {"args": [each]} for each in _none_of(ATTRIBUTES, ATTRIBUTES_BITS)),
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


def _none_of(barred: Sequence[int], bits: Sequence[int], mask: int = 0, value: int = 0) -> Iterator[Rule]:
    """Comparisons of the second argument: each number that is none of ``barred`` in ``bits`` meets one.

    A filter has no "and" for one argument, so that "not this, nor that" is told by what is left.
    """
    if not barred:
        yield {"index": 1, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}
    elif bits:
        for side in (0, bits[0]):
            same = [each for each in barred if each & bits[0] == side]
            yield from _none_of(same, bits[1:], mask | bits[0], value | side)


def _first_argument(compare: str, value: int) -> Rule:
    """``MASKED_EQ``: none of the bits of ``value`` is set."""
    return {"args": [{"index": 0, "value": value, "valueTwo": 0, "op": f"SCMP_CMP_{compare}"}]}
