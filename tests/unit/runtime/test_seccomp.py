"""The filter of system calls: what is in it, and that it is settled for the capabilities that are given."""

from __future__ import annotations

import json
from typing import Any

import pytest

from provider.adapters.runtime import seccomp
from provider.adapters.runtime.spec import CAPABILITIES

CLOSED = """
    acct add_key bpf clock_settime delete_module fanotify_init file_setattr finit_module fsconfig fsmount
    fsopen fspick init_module io_uring_enter io_uring_register io_uring_setup ioperm iopl kcmp kexec_load
    keyctl lookup_dcookie mbind mount mount_setattr move_mount nfsservctl open_by_handle_at open_tree
    perf_event_open pidfd_getfd pivot_root process_madvise quotactl reboot request_key set_mempolicy
    setdomainname sethostname setns settimeofday swapoff swapon syslog umount umount2 unshare userfaultfd
    vhangup
"""
"""None of them is for a tenant: they reach the kernel as a whole, other namespaces, or old holes."""
MASKED = "SCMP_CMP_MASKED_EQ"
NEEDS_MORE = {"SYS_ADMIN", "SYS_PTRACE", "SYS_MODULE", "SYS_TIME", "SYS_NICE", "SYS_RAWIO", "SYS_BOOT", "BPF"}
"""Capabilities for which the source of the rules allows more than is in ours."""


@pytest.fixture
def profile() -> Any:
    return json.loads(seccomp.profile())


def rules(profile: Any, name: str) -> list[Any]:
    return [rule for rule in profile["syscalls"] if name in rule["names"]]


def test_what_is_not_named_is_refused(profile: Any) -> None:
    assert (profile["defaultAction"], profile["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", 1)


@pytest.mark.parametrize("name", CLOSED.split())
def test_a_dangerous_call_is_not_named(profile: Any, name: str) -> None:
    assert rules(profile, name) == []


def test_the_rules_are_settled_for_the_capabilities_that_a_container_has(profile: Any) -> None:
    assert "SYS_CHROOT" in CAPABILITIES
    assert rules(profile, "chroot")
    assert not NEEDS_MORE & set(CAPABILITIES)
    assert not any("caps" in rule.get("includes", {}) for rule in profile["syscalls"])


def test_a_process_is_made_in_its_own_namespaces_only(profile: Any) -> None:
    (clone,) = rules(profile, "clone")
    assert clone["args"] == [{"index": 0, "value": 0x7E020000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]
    (clone3,) = rules(profile, "clone3")
    assert (clone3["action"], clone3["errnoRet"]) == ("SCMP_ACT_ERRNO", 38)


@pytest.mark.parametrize(
    ("family", "is_open"), [(1, True), (2, True), (10, True), (16, True), (38, False), (40, False)]
)
def test_sockets_of_which_families(profile: Any, family: int, is_open: bool) -> None:
    """UNIX, INET, INET6, NETLINK; not ALG (the kernel's cryptography), not VSOCK (virtual machines)."""
    compares = {"SCMP_CMP_LT": int.__lt__, "SCMP_CMP_EQ": int.__eq__}
    told = [rule["args"] for rule in rules(profile, "socket")]
    assert all(len(arguments) == 1 and arguments[0]["index"] == 0 for arguments in told)
    assert any(compares[each["op"]](family, each["value"]) for (each,) in told) is is_open


def ioctl_is_open(profile: Any, request: int) -> bool:
    told = [rule["args"] for rule in rules(profile, "ioctl")]
    assert all(len(each) == 1 and (each[0]["index"], each[0]["op"]) == (1, MASKED) for each in told)
    return any(request & each["value"] == each["valueTwo"] for (each,) in told)


@pytest.mark.parametrize("high", [0, 1 << 32, 0xFFFFFFFF << 32])
@pytest.mark.parametrize(
    ("request_", "is_open"),
    [
        (0x401C5820, False),  # FS_IOC_FSSETXATTR: another project, and out of its quota
        (0x40086602, False),  # FS_IOC_SETFLAGS: what is made here inherits none
        (0x40046602, False),  # the same of 32-bit programs
        (0x801C581F, True),  # FS_IOC_FSGETXATTR
        (0x80086601, True),  # FS_IOC_GETFLAGS
        (0x40049409, True),  # FICLONE
        (0x40045431, True),  # TIOCSPTLCK
        *((request, True) for request in (0x5401, 0x5413, 0x541B, 0x5421, 0x5451)),  # terminals, FIONREAD ...
        *(
            (request, True) for request in (0xC0484641, 0xC020462A, 0xC00846D6, 0x46D2, 0x30000001)
        ),  # NVIDIA's
    ],
)
def test_a_file_stays_in_its_project(profile: Any, request_: int, is_open: bool, high: int) -> None:
    """The kernel reads 32 bits of a request, a filter 64: those above are no way round."""
    assert ioctl_is_open(profile, request_ | high) is is_open


def test_the_table_is_in_order_and_names_nothing_twice() -> None:
    names = list(seccomp.allowed())
    assert names == sorted(set(names))
    assert len(names) > 300
