"""What a machine has, read from files; and the daemon's clock."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import pytest

from provider.adapters.clock import SystemClock
from provider.adapters.host import HostReserve, LinuxHost, node_name
from provider.domain.errors import ConfigError
from provider.domain.moment import Instant
from provider.domain.node import NumaNode
from provider.ports import Clock, HostProbe
from provider.sim.host import SimulatedHost


def machine(root: Path, *, online: str = "0-3,8") -> tuple[Path, Path]:
    """A ``/proc`` and a ``/sys`` of a small machine."""
    proc, sys = root / "proc", root / "sys"
    (proc / "sys/kernel/random").mkdir(parents=True)
    (proc / "sys/kernel/random/boot_id").write_text("8d3c9a52-0000-4000-8000-000000000001\n")
    (proc / "meminfo").write_text("MemTotal:       16384 kB\nMemFree:        1 kB\n")
    (sys / "devices/system/cpu").mkdir(parents=True)
    (sys / "devices/system/cpu/online").write_text(online + "\n")
    return proc, sys


@pytest.mark.parametrize(("online", "cpus"), [("0", 1), ("0-1", 2), ("0-3,8", 5), ("0-127", 128)])
def test_cpus_are_the_machines_logical_ones(tmp_path: Path, online: str, cpus: int) -> None:
    proc, sys = machine(tmp_path, online=online)
    assert LinuxHost(tmp_path, proc=proc, sys=sys).capacity().cpu_millis == cpus * 1000


def test_memory_and_boot_id(tmp_path: Path) -> None:
    proc, sys = machine(tmp_path)
    capacity = LinuxHost(tmp_path, proc=proc, sys=sys).capacity()
    assert capacity.memory_bytes == 16384 * 1024
    assert capacity.boot_id == "8d3c9a52-0000-4000-8000-000000000001"


def with_numa(sys: Path, *nodes: tuple[str, int]) -> None:
    """A folder for each node: its CPUs, its memory in kB."""
    for number, (cpus, memory_kb) in enumerate(nodes):
        folder = sys / f"devices/system/node/node{number}"
        folder.mkdir(parents=True)
        (folder / "cpulist").write_text(cpus + "\n")
        (folder / "meminfo").write_text(
            f"Node {number} MemTotal:       {memory_kb} kB\nNode {number} MemFree: 1 kB\n"
        )


def test_numa_nodes_are_those_with_cpus_and_memory(tmp_path: Path) -> None:
    proc, sys = machine(tmp_path, online="0-7")
    assert LinuxHost(tmp_path, proc=proc, sys=sys).capacity().numa == ()
    with_numa(sys, ("0-1,4-5", 8192), ("2-3,6-7", 4096), ("", 4096), ("8", 0))
    assert LinuxHost(tmp_path, proc=proc, sys=sys).capacity().numa == (
        NumaNode(number=0, cpus="0-1,4-5", cpu_count=4, memory_bytes=8192 * 1024),
        NumaNode(number=1, cpus="2-3,6-7", cpu_count=4, memory_bytes=4096 * 1024),
    )


def test_numa_nodes_of_which_an_engine_here_has_a_part_alone_are_none(tmp_path: Path) -> None:
    proc, sys = machine(tmp_path, online="0-3")
    with_numa(sys, ("0-1", 8192), ("2-3", 8192))
    effective = sys / "fs/cgroup/cpuset.cpus.effective"
    effective.parent.mkdir(parents=True)
    effective.write_text("0-3\n")
    assert len(LinuxHost(tmp_path, proc=proc, sys=sys).capacity().numa) == 2
    effective.write_text("0-2\n")
    assert LinuxHost(tmp_path, proc=proc, sys=sys).capacity().numa == ()


def test_the_disk_is_what_is_free_and_does_not_move(tmp_path: Path) -> None:
    facts = os.statvfs(tmp_path)
    host = LinuxHost(tmp_path)
    first = host.capacity()
    assert first.storage_bytes == pytest.approx(facts.f_bavail * facts.f_frsize, rel=0.05)
    (tmp_path / "written").write_bytes(b"x" * 10_000_000)
    assert host.capacity() == first


def test_the_operators_reserve_is_taken_off_and_never_below_nothing(tmp_path: Path) -> None:
    proc, sys = machine(tmp_path, online="0-1")
    reserve = HostReserve(cpu_millis=500, memory_bytes=1 << 60, storage_bytes=1 << 60)
    capacity = LinuxHost(tmp_path, reserve=reserve, proc=proc, sys=sys).capacity()
    assert (capacity.cpu_millis, capacity.memory_bytes, capacity.storage_bytes) == (1500, 0, 0)


def test_a_missing_disk_is_a_mistake_of_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no-such-place"):
        LinuxHost(tmp_path / "no-such-place")


def test_this_machine_can_be_read() -> None:
    host: HostProbe = LinuxHost(Path("/"))
    capacity = host.capacity()
    assert capacity.cpu_millis >= 1000
    assert capacity.memory_bytes > 1 << 28
    assert re.fullmatch(r"[0-9a-f-]{36}", capacity.boot_id)
    assert re.fullmatch(r"[a-z0-9-]+", node_name())


def test_a_simulated_reboot_changes_the_boot_id_alone() -> None:
    host = SimulatedHost()
    port: HostProbe = host
    before = port.capacity()
    host.reboot()
    after = host.capacity()
    assert after.boot_id != before.boot_id
    assert after.cpu_millis == before.cpu_millis


def test_the_clock_sleeps_until_an_instant_and_not_at_all_for_a_past_one() -> None:
    async def body() -> None:
        clock: Clock = SystemClock()
        await clock.sleep_until(Instant(0))
        target = Instant(clock.now() + 30)
        await clock.sleep_until(target)
        assert target <= clock.now() < target + 5_000

    asyncio.run(body())
