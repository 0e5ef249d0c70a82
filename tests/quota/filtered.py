"""A process with a tenant's capabilities and filter of system calls, without an engine to start it.

As runc does it, with the same library (libseccomp) and the same reading of the rules: each comparison of one
argument is a rule of its own, names that the library does not know are skipped.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterable

from provider.adapters.runtime import seccomp

CAPABILITIES = {"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "FSETID": 4, "KILL": 5, "SETGID": 6, "SETUID": 7}
CAPABILITIES |= {"NET_BIND_SERVICE": 10, "SYS_CHROOT": 18, "AUDIT_WRITE": 29}
"""Their numbers (linux/capability.h); a test holds the names against ``spec.CAPABILITIES``."""
LIBRARY = "/libseccomp.so.2"
"""Where ``machine`` puts it."""
VERSION_3 = 0x20080522
SET_NO_NEW_PRIVILEGES = 38
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
COMPARISONS = {"SCMP_CMP_LT": 2, "SCMP_CMP_EQ": 4, "SCMP_CMP_MASKED_EQ": 7}
ARCHITECTURES = {"SCMP_ARCH_X86": 0x40000003, "SCMP_ARCH_X32": 0x4000003E}


class Comparison(ctypes.Structure):
    """``struct scmp_arg_cmp`` (seccomp.h)."""

    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    )


def begun(act: Callable[[], None]) -> int:
    """``act`` in a process and a group of its own, by its id. It ends with 0, or with 1 and says why."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.setsid()
        act()
        status = 0
    finally:  # never back into what was forked
        if status:
            traceback.print_exc(file=sys.stdout)
        sys.stdout.flush()
        os._exit(status)


def apart(act: Callable[[], None]) -> bool:
    """Whether ``act`` went well, in a process of its own."""
    return os.waitpid(begun(act), 0)[1] == 0


def within(act: Callable[[], None], *, is_filtered: bool = True) -> None:
    """``act`` in a process of its own as a tenant's; it has to go well."""

    def confined() -> None:
        _confine(CAPABILITIES.values())
        if is_filtered:
            _load(ctypes.CDLL(LIBRARY))
        act()

    assert apart(confined)


def _confine(capabilities: Iterable[int]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    mask = sum(1 << each for each in capabilities)
    head = (ctypes.c_uint32 * 2)(VERSION_3, 0)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    sets = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
    assert libc.prctl(SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
    assert libc.capset(head, sets) == 0


def _load(library: ctypes.CDLL) -> None:
    profile = json.loads(seccomp.profile())
    library.seccomp_init.restype = ctypes.c_void_p
    default = ERRNO | profile["defaultErrnoRet"]
    context = ctypes.c_void_p(library.seccomp_init(default))
    for each in ARCHITECTURES.values():
        assert library.seccomp_arch_add(context, each) == 0
    for rule in profile["syscalls"]:
        if "amd64" not in rule.get("includes", {}).get("arches", ["amd64"]):
            continue
        action = ALLOW if rule["action"] == "SCMP_ACT_ALLOW" else ERRNO | rule["errnoRet"]
        compared = [
            Comparison(each["index"], COMPARISONS[each["op"]], each["value"], each["valueTwo"])
            for each in rule.get("args", [])
        ]
        for name in rule["names"]:
            number = library.seccomp_syscall_resolve_name(name.encode())
            if number == -1:
                continue
            given = (Comparison * len(compared))(*compared)
            assert library.seccomp_rule_add_array(context, action, number, len(compared), given) == 0, name
    assert library.seccomp_load(context) == 0
