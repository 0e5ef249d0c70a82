"""Trials: what is ordered is what there is, for whom, and no way around it."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import subprocess
from dataclasses import replace
from pathlib import Path

from provider.adapters.runtime.storage import directories, disks, quota, volume
from provider.adapters.runtime.storage.quota import Quota
from provider.adapters.runtime.storage.settings import StorageSettings
from provider.domain.resources import MIB
from provider.domain.workload import Enforcement
from tests.quota import filtered
from tests.quota.world import DEVICES, FULL, OTHER, SIZE, World, fill, refused

SET_FLAGS, GET_FLAGS = 0x40086602, 0x80086601
"""linux/fs.h: ``FS_IOC_SETFLAGS``, ``FS_IOC_GETFLAGS``; in them, ``FS_PROJINHERIT_FL``."""
INHERITS_FLAG = 0x20000000
SYSCALL_IOCTL = 16
"""Of amd64."""
SET_FLAGS_32 = 0x40046602
IOCTL_OF_32_BITS = bytes.fromhex("53 b8 36000000 89fb 89f1 cd80 5b c3")
"""push rbx; mov eax, 54; mov ebx, edi; mov ecx, esi; int 0x80; pop rbx; ret: edx is where it should be."""
LOW_MAPPING = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40
"""``MAP_32BIT``."""
ARGUMENT_AT = 2048


def test_the_disk_is_known_for_what_it_is(world: World) -> None:
    folder = world.top / "class"
    automatic = StorageSettings(root=world.records.root, classes={"beta3": folder})
    forced = replace(automatic, enforced_by=Enforcement.PROJECT)

    assert quota.absent(folder) is None, quota.absent(folder)
    assert quota.kind_of(folder) == world.kind
    expected = Enforcement.PROJECT if world.kind == "xfs" else Enforcement.FILE
    assert [each.enforced_by for each in disks.offered(automatic, world.records.root)] == [expected]
    assert [each.enforced_by for each in disks.offered(forced, world.records.root)] == [Enforcement.PROJECT]
    assert disks.refused(forced, world.records.root) == ()


def test_without_its_mount_option_it_is_refused_by_name(world: World) -> None:
    device, folder = DEVICES[world.kind], world.top / "class"
    automatic = StorageSettings(root=world.records.root, classes={"beta3": folder})
    forced = replace(automatic, enforced_by=Enforcement.PROJECT)
    subprocess.run(["umount", str(world.top)], check=True)
    subprocess.run(["mount", device, str(world.top)], check=True)
    try:
        assert disks.enforcement(automatic, folder) is Enforcement.FILE
        with refused("storage.enforced_by is project", str(folder), "not mounted with prjquota", "tune2fs"):
            disks.enforcement(forced, folder)
        assert disks.offered(forced, world.records.root) == ()
        assert len(disks.refused(forced, world.records.root)) == 1
    finally:
        subprocess.run(["umount", str(world.top)], check=True)
        subprocess.run(["mount", "-o", "prjquota", device, str(world.top)], check=True)


def test_a_tenant_gets_what_was_ordered_and_never_more(world: World) -> None:
    record, place = world.made()

    def act() -> None:
        written, failed = fill(place)
        assert SIZE - MIB <= written <= SIZE, written
        assert failed in FULL, failed
        facts = os.statvfs(place)
        assert facts.f_blocks * facts.f_frsize == SIZE, facts  # what ``df`` says in a container

    filtered.within(act)
    used = volume.used_bytes(world.records, record)
    assert SIZE - MIB <= used <= SIZE, used
    (place / "filler").unlink()


def test_files_are_counted_too(world: World) -> None:
    _, place = world.made()

    def act() -> None:
        made, failed = 0, 0
        try:
            while made < 10_000:
                (place / f"f{made}").touch()
                made += 1
        except OSError as error:
            failed = error.errno or 0
        assert failed in FULL, failed
        assert 400 < made <= SIZE // directories.BYTES_A_FILE, made

    filtered.within(act)


def test_whom_a_full_quota_does_not_hold(world: World) -> None:
    """The engine writes with all capabilities: XFS holds it, ext4 does not, so there files are the rule."""
    _, place = world.made()
    written, failed = fill(place, 2 * SIZE)
    if world.kind == "xfs":
        assert failed in FULL
        assert written <= SIZE, written
    else:
        assert (written, failed) == (2 * SIZE, 0)


def request(descriptor: int, number: int, argument: bytearray) -> int:
    """``ioctl`` as it is, with all 64 bits of its number: 0 or the error."""
    libc = ctypes.CDLL(None, use_errno=True)
    there = (ctypes.c_char * len(argument)).from_buffer(argument)
    told = libc.syscall(ctypes.c_long(SYSCALL_IOCTL), ctypes.c_int(descriptor), ctypes.c_ulong(number), there)
    return 0 if told == 0 else ctypes.get_errno()


def leaving(place: Path, high: int) -> list[int]:
    """A tenant's ways out of its project, on directories of its own: 0 where it went, or the error."""
    results = []
    for number, name in enumerate(("other", "plain", "flags")):
        own = place / f"{name}-{high:x}"
        own.mkdir()
        with quota.opened(own) as descriptor:
            if name == "flags":
                raw = bytearray(8)
                assert request(descriptor, GET_FLAGS, raw) == 0
                flags = int.from_bytes(raw[:4], "little") & ~INHERITS_FLAG
                results.append(request(descriptor, SET_FLAGS | high, bytearray(flags.to_bytes(8, "little"))))
                continue
            raw = bytearray(quota.ATTRIBUTES.size)
            fcntl.ioctl(descriptor, quota.GET_ATTRIBUTES, raw)
            flags, extent, extents, project, copied = quota.ATTRIBUTES.unpack(raw)
            flags, project = (flags, 77) if number == 0 else (flags & ~quota.INHERITS, project)
            wanted = bytearray(quota.ATTRIBUTES.pack(flags, extent, extents, project, copied))
            results.append(request(descriptor, quota.SET_ATTRIBUTES | high, wanted))
    return results


def request_of_32_bits(descriptor: int, number: int, argument: bytes) -> int:
    """``ioctl`` as a 32-bit program makes it, ``int 0x80`` and all, from this one: 0 or the error."""
    page = mmap.mmap(-1, mmap.PAGESIZE, LOW_MAPPING, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page[: len(IOCTL_OF_32_BITS)] = IOCTL_OF_32_BITS
    page[ARGUMENT_AT : ARGUMENT_AT + len(argument)] = argument
    place = ctypes.addressof(ctypes.c_char.from_buffer(page))
    call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_uint, ctypes.c_uint)(place)
    return -int(call(descriptor, number, place + ARGUMENT_AT))


def leaving_by_32_bits(place: Path) -> list[int]:
    """As ``leaving``, by another project and by flags."""
    with quota.opened(place) as descriptor:
        raw = bytearray(quota.ATTRIBUTES.size)
        fcntl.ioctl(descriptor, quota.GET_ATTRIBUTES, raw)
        flags, extent, extents, _, copied = quota.ATTRIBUTES.unpack(raw)
        other = quota.ATTRIBUTES.pack(flags, extent, extents, 78, copied)
        return [
            request_of_32_bits(descriptor, quota.SET_ATTRIBUTES, other),
            request_of_32_bits(descriptor, SET_FLAGS_32, bytes(4)),
        ]


def test_a_32_bit_program_cannot_either(world: World) -> None:
    _, place = world.made()
    (place / "own").mkdir()

    def freely() -> None:
        assert leaving_by_32_bits(place / "own")[0] == 0

    def act() -> None:
        assert leaving_by_32_bits(place / "own") == [errno.EPERM] * 2

    filtered.within(act)
    filtered.within(freely, is_filtered=False)


def test_a_tenant_cannot_leave_its_project(world: World) -> None:
    _, place = world.made()

    def freely() -> None:
        """Without the filter its ten capabilities are enough, so that the filter is what stops it."""
        went = leaving(place, 0)
        # XFS: ``SET_FLAGS`` knows no such flag.
        assert went[:2] == [0, 0], went

    def act() -> None:
        for high in (0, 1 << 32, 0xDEADBEEF << 32):
            assert leaving(place, high) == [errno.EPERM] * 3

    filtered.within(freely, is_filtered=False)
    for each in place.iterdir():
        each.rmdir()
    filtered.within(act)


def test_nothing_is_moved_or_linked_in_from_another_project(world: World) -> None:
    _, mine = world.made()
    _, others = world.made(OTHER)
    (others / "file").write_text("theirs")
    for act in (os.link, os.rename):
        failed = 0
        try:
            act(others / "file", mine / "file")
        except OSError as error:
            failed = error.errno or 0
        assert failed == errno.EXDEV, act


def test_limits_that_somebody_took_away_are_set_again(world: World) -> None:
    record, place = world.made()
    with quota.opened(world.top) as descriptor:
        quota.write(descriptor, record.project, Quota())
        volume.attach(world.records, record)
        assert quota.read(descriptor, record.project).size_bytes == SIZE

    def act() -> None:
        assert fill(place)[1] in FULL

    filtered.within(act)


def test_room_counts_what_volumes_hold(world: World) -> None:
    _, place = world.made()
    settings = StorageSettings(root=world.records.root, classes={"beta3": world.top / "class"})
    before = disks.held_bytes(settings, world.records.root, world.top)
    (room,) = (each.capacity_bytes for each in disks.offered(settings, world.records.root))
    (place / "big").write_bytes(bytes(4 * MIB))
    os.sync()

    assert 4 * MIB <= disks.held_bytes(settings, world.records.root, world.top) - before < 5 * MIB
    (after,) = (each.capacity_bytes for each in disks.offered(settings, world.records.root))
    assert abs(after - room) < MIB, (after, room)
