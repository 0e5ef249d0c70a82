"""What the kernel's lines say of a GPU's error, and what they do not."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from provider.adapters.gpu.kernel_log import KernelLog, LoggedXid, logged_xid
from provider.sim.waiting import until

LINES = [
    (
        "NVRM: Xid (PCI:0000:cb:00): 109, pid=1797828, name=pt_main_thread, Ch 00000008, errorString CTX",
        LoggedXid(bus_id="0000:cb:00", xid=109, at_us=5140900, pid=1797828, process="pt_main_thread"),
    ),
    (
        "NVRM: Xid (PCI:0000:cb:00): 13, pid='<unknown>', name=<unknown>, Graphics SM Warp Exception",
        LoggedXid(bus_id="0000:cb:00", xid=13, at_us=5140900),
    ),
    (
        "NVRM: Xid (PCI:0000:00:00): 149, NETIR_LINK_EVT Fatal XC0 i0 Link 00 (0x025001c6 0x00000000)",
        LoggedXid(bus_id="0000:00:00", xid=149, at_us=5140900),
    ),
    (
        "NVRM: Xid (PCI:0000:18:00 GPU-I:05): 94, pid=1234, name=python3, Contained ECC error",
        LoggedXid(bus_id="0000:18:00", xid=94, at_us=5140900, gpu_instance=5, pid=1234, process="python3"),
    ),
    (
        "NVRM: Xid (PCI:0000:18:00): 31, pid=7, name=a, b), c, Ch 1",
        LoggedXid(bus_id="0000:18:00", xid=31, at_us=5140900, pid=7, process="a"),
    ),
    (
        "NVRM: GPU 0000:9B:00.0: GPU has fallen off the bus.",
        LoggedXid(bus_id="0000:9b:00", xid=79, at_us=5140900),
    ),
    (
        "NVRM: Xid (PCI:0019:01:00): 79, pid=1, name=x, GPU has fallen off the bus.",
        LoggedXid(bus_id="0019:01:00", xid=79, at_us=5140900, pid=1, process="x"),
    ),
    ("NVRM: loading NVIDIA UNIX x86_64 Kernel Module  590.48.01", None),
    ("NVRM: API mismatch: the client has the version 590.48.01", None),
    ("traps: NVRM: Xid (PCI:[42] trap invalid opcode", None),
    ('audit: exe="NVRM: Xid (PCI:0000:18:00): 79, GPU has fallen off the bus"', None),
]
"""Texts from issues of leptonai/gpud (46, 1174, 1209) and NVIDIA/open-gpu-kernel-modules (1150)."""


@pytest.mark.parametrize(("text", "expected"), LINES)
def test_lines_of_the_driver(text: str, expected: LoggedXid | None) -> None:
    assert logged_xid(f"4,339,5140900,-;{text}".encode()) == expected


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b" SUBSYSTEM=pci",
        b"NVRM: Xid (PCI:0000:18:00): 79, ",
        b"4,339,x,-;NVRM: Xid (PCI:0000:18:00): 79, pid=1",
        b"4,339,1,-;NVRM: Xid (PCI:::::): \xff\xfe",
        b"4,339,1,-;NVRM: Xid (PCI:zz:18:00): 79,",
    ],
)
def test_what_is_no_line_of_the_driver(record: bytes) -> None:
    assert logged_xid(record) is None


def test_what_a_program_wrote_into_the_log_does_not_count() -> None:
    """Root may write to it, and the kernel says who did: 12 is a user's warning, 4 the kernel's."""
    text = b",339,1,-;NVRM: Xid (PCI:0000:18:00): 79, pid=1, name=x, GPU has fallen off the bus."
    assert logged_xid(b"4" + text) is not None
    assert logged_xid(b"12" + text) is None


def write(fd: int, *texts: str) -> None:
    os.write(fd, "".join(f"4,1,1000000,-;{text}\n SUBSYSTEM=pci\n" for text in texts).encode())


def test_history_comes_with_its_age_and_news_with_none(tmp_path: Path) -> None:
    fifo = tmp_path / "kmsg"
    os.mkfifo(fifo)
    writer = os.open(fifo, os.O_RDWR)
    heard: list[tuple[int, float]] = []

    async def body() -> None:
        write(writer, "NVRM: Xid (PCI:0000:18:00): 31, pid=1, name=x, old", "usb 1-1: new device")
        log = KernelLog(fifo, lambda xid, age_s: heard.append((xid.xid, age_s)))
        log.open()
        assert [xid for xid, _ in heard] == [31]
        assert heard[0][1] > 0, "it was written a second after boot"
        write(writer, "NVRM: Xid (PCI:0000:18:00): 79, pid=1, name=x, new")
        await until(lambda: len(heard) == 2)
        assert heard[1] == (79, 0.0)
        half = "4,1,1000000,-;NVRM: Xid (PCI:0000:18:00): 4"
        os.write(writer, half.encode())
        write(writer)
        os.write(writer, b"8, pid=1, name=x, in two parts\n")
        await until(lambda: len(heard) == 3)
        assert heard[2][0] == 48
        log.close()
        assert log.problem is None

    asyncio.run(body())
    os.close(writer)


def test_a_log_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("4,1,1,-;NVRM: Xid (PCI:0000:18:00): 79, pid=1")

    async def body() -> None:
        for path, problem in [
            (tmp_path / "absent", "No such file or directory"),
            (plain, "it is a plain file, which cannot be waited for"),
        ]:
            log = KernelLog(path, lambda _xid, _age_s: None)
            log.open()
            assert log.problem == f"{path}: {problem}"
            assert not log.is_open
            log.close()

    asyncio.run(body())


def test_a_log_that_ends_says_so(tmp_path: Path) -> None:
    fifo = tmp_path / "kmsg"
    os.mkfifo(fifo)

    async def body() -> None:
        writer = os.open(fifo, os.O_RDWR)
        log = KernelLog(fifo, lambda _xid, _age_s: None)
        log.open()
        assert log.is_open
        os.close(writer)
        await until(lambda: not log.is_open)
        assert log.problem == f"{fifo}: it ended"

    asyncio.run(body())
