"""Containers' figures out of trees as kernels show them: version 1, 2 and both, made by engine or systemd.

``cgroups(7)`` has the layouts; the files' contents are those of Linux 6.18 (version 1, by Docker 20.10) and
of Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from provider.adapters.usage import CgroupUsage, Roots
from provider.adapters.usage.block_devices import BlockDevices
from provider.domain.usage import ContainerReading, UsageCounter
from provider.domain.workload import Container, ContainerState

ID = "945c5226bf73d1a38def258f4e8e5d7cfe6d5fc233f3271ed2615c3f582c42f3"
OTHER = "0" * 63 + "1"
PID = 20415
V2_FILES = {
    "cpu.stat": "usage_usec 7500000\nuser_usec 7000000\nsystem_usec 500000\nnr_periods 10\nnr_throttled 4\n"
    "throttled_usec 250000\n",
    "memory.current": "104857600\n",
    "memory.stat": "anon 50000000\nfile 40000000\ninactive_anon 7\ninactive_file 4857600\nactive_file 9\n",
    "memory.max": "536870912\n",
    "memory.events": "low 0\nhigh 0\nmax 9\noom 3\noom_kill 2\noom_group_kill 0\n",
    "io.stat": "8:0 rbytes=1000 wbytes=2000 rios=1 wios=2 dbytes=0 dios=0\n"
    "8:16 rbytes=30 wbytes=40 rios=1 wios=1 dbytes=0 dios=0\n7:3\n",
}
V1_FILES = {
    "cpuacct": {"cpuacct.usage": "7500000999\n"},
    "cpu": {
        "cpu.stat": "nr_periods 10\nnr_throttled 4\nthrottled_time 250000000\nnr_bursts 0\nburst_time 0\n"
    },
    "memory": {
        "memory.usage_in_bytes": "104857600\n",
        "memory.limit_in_bytes": "536870912\n",
        "memory.stat": "cache 16384\ninactive_file 8192\nhierarchical_memory_limit 536870912\n"
        "total_cache 16384\ntotal_inactive_file 4857600\ntotal_active_file 8192\n",
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    },
    "blkio": {
        "blkio.throttle.io_service_bytes_recursive": "8:0 Read 1000\n8:0 Write 2000\n8:0 Sync 3000\n"
        "8:0 Async 0\n8:0 Discard 0\n8:0 Total 3000\n8:16 Read 30\n8:16 Write 40\n8:16 Total 70\n"
        "Total 3070\n",
    },
}
NET_DEV = (
    "Inter-|   Receive                                                |  Transmit\n"
    " face |bytes    packets errs drop fifo frame compressed multicast"
    "|bytes    packets errs drop fifo colls carrier compressed\n"
    "    lo: 9999999       3    0    0    0     0          0         0"
    "  9999999       3    0    0    0     0       0          0\n"
    "  eth0:  123456      10    0    0    0     0          0         0"
    "   654321      20    0    0    0     0       0          0\n"
    "  eth1:4         1    0    0    0     0          0         0"
    "        5       1    0    0    0     0       0          0\n"
)
WHOLE = ContainerReading(
    counters={
        UsageCounter.CPU_US: 7_500_000,
        UsageCounter.THROTTLED_US: 250_000,
        UsageCounter.OOM_KILLS: 2,
        UsageCounter.RECEIVED_BYTES: 123_460,
        UsageCounter.SENT_BYTES: 654_326,
        UsageCounter.READ_BYTES: 1030,
        UsageCounter.WRITTEN_BYTES: 2040,
    },
    memory_bytes=100_000_000,
    memory_limit_bytes=536_870_912,
)
V1_LINES = "9:name=systemd:{0}\n8:pids:{0}\n7:blkio:{0}\n4:memory:{0}\n2:cpuacct:{0}\n1:cpu:{0}\n"
JOINT_LINES = "9:name=systemd:{0}\n7:blkio:{0}\n4:memory:{0}\n2:cpu,cpuacct:{0}\n"
BY_ENGINE = f"/docker/{ID}"
BY_SYSTEMD = f"/system.slice/docker-{ID}.scope"


class Tree:
    """A machine's ``/proc`` and ``/sys`` in a folder."""

    def __init__(self, root: Path) -> None:
        self.roots = Roots(proc=root / "proc", cgroup=root / "cgroup", block=root / "block")
        self.usage = CgroupUsage(self.roots)

    def process(self, cgroup_text: str, pid: int = PID) -> None:
        self._write(self.roots.proc / str(pid) / "cgroup", cgroup_text)
        self._write(self.roots.proc / str(pid) / "net" / "dev", NET_DEV)

    def group(self, folder: str, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            self._write(self.roots.cgroup / folder.lstrip("/") / name, text)

    def v1(self, group: str, *, joint: bool = False) -> None:
        for controller, files in V1_FILES.items():
            is_joint = joint and controller in {"cpu", "cpuacct"}
            self.group(("cpu,cpuacct" if is_joint else controller) + group, files)

    def read(self, container: str = ID) -> tuple[ContainerReading | None, str | None]:
        told = self.usage.read_now([running(container)])
        return told.readings.get(container), told.problem

    @staticmethod
    def _write(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def running(container: str = ID, pid: int | None = PID) -> Container:
    return Container(service="web", replica=0, state=ContainerState.RUNNING, id=container, pid=pid)


@pytest.mark.parametrize("group", [BY_ENGINE, BY_SYSTEMD, f"/docker/{OTHER}{BY_ENGINE}"])
@pytest.mark.parametrize("below", ["", "/init.scope"])
def test_version_2(tree: Tree, group: str, below: str) -> None:
    tree.group("", {"cgroup.controllers": "cpu io memory\n"})
    tree.group(group, V2_FILES)
    tree.group(group + "/init.scope", V2_FILES | {"memory.current": "1\n"})
    tree.process(f"0::{group}{below}\n")
    assert tree.read() == (WHOLE, None)


@pytest.mark.parametrize("group", [BY_ENGINE, BY_SYSTEMD])
@pytest.mark.parametrize("joint", [False, True])
def test_version_1(tree: Tree, group: str, joint: bool) -> None:
    tree.v1(group, joint=joint)
    tree.process((JOINT_LINES if joint else V1_LINES).format(group))
    assert tree.read() == (WHOLE, None)


def test_both_side_by_side_each_controller_where_it_is(tree: Tree) -> None:
    """As on a machine whose version 2 has the group too, but not the controllers."""
    tree.group("unified", {"cgroup.controllers": "\n"})
    tree.group("unified" + BY_ENGINE, {"cpu.stat": "usage_usec 1\n", "memory.pressure": ""})
    tree.v1(BY_ENGINE)
    tree.process(V1_LINES.format(BY_ENGINE) + f"0::{BY_ENGINE}\n")
    assert tree.read() == (WHOLE, None)


def test_no_limit_is_none(tree: Tree) -> None:
    tree.group(BY_ENGINE, V2_FILES | {"memory.max": "max\n"})
    tree.process(f"0::{BY_ENGINE}\n")
    found, _ = tree.read()
    assert found is not None
    assert found.memory_limit_bytes is None


def test_no_limit_is_none_in_version_1(tree: Tree) -> None:
    tree.v1(BY_ENGINE)
    tree.group("memory" + BY_ENGINE, {"memory.limit_in_bytes": "9223372036854771712\n"})
    tree.process(V1_LINES.format(BY_ENGINE))
    found, _ = tree.read()
    assert found is not None
    assert found.memory_limit_bytes is None


@pytest.mark.parametrize(
    ("gone", "counter"),
    [
        ("io.stat", UsageCounter.READ_BYTES),
        ("memory.events", UsageCounter.OOM_KILLS),
        ("cpu.stat", UsageCounter.THROTTLED_US),
    ],
)
def test_a_file_that_is_not_there_is_a_figure_that_is_absent(
    tree: Tree, gone: str, counter: UsageCounter
) -> None:
    tree.group(BY_ENGINE, {name: text for name, text in V2_FILES.items() if name != gone})
    tree.process(f"0::{BY_ENGINE}\n")
    found, problem = tree.read()
    assert found is not None
    assert problem is None
    assert counter not in found.counters
    assert UsageCounter.SENT_BYTES in found.counters


@pytest.mark.parametrize("nonsense", ["", "\n", "usage_usec\n", "usage_usec -1\n", "\x00\xff garbage \n"])
def test_nonsense_is_absent_too(tree: Tree, nonsense: str) -> None:
    tree.group(BY_ENGINE, dict.fromkeys(V2_FILES, nonsense) | {"memory.current": "5\n"})
    tree.process(f"0::{BY_ENGINE}\n")
    found, problem = tree.read()
    assert found is not None
    assert problem is None
    assert found.memory_bytes == 5
    assert found.counters.keys() <= {
        UsageCounter.RECEIVED_BYTES,
        UsageCounter.SENT_BYTES,
        UsageCounter.READ_BYTES,
        UsageCounter.WRITTEN_BYTES,
    }


def test_one_that_ended_is_missing_without_a_word(tree: Tree) -> None:
    assert tree.read() == (None, None)


def test_one_whose_groups_went_is_missing_though_its_number_is_somebody_elses_now(tree: Tree) -> None:
    tree.group(BY_ENGINE, V2_FILES)
    tree.process(f"0::{BY_ENGINE}\n")
    assert tree.read() == (WHOLE, None)
    for name in V2_FILES:
        (tree.roots.cgroup / BY_ENGINE.lstrip("/") / name).unlink()
    tree.process("0::/user.slice\n")
    assert tree.read()[0] is None


def test_a_number_that_is_somebody_elses_is_not_the_container(tree: Tree) -> None:
    tree.group("/user.slice", V2_FILES)
    tree.process("0::/user.slice\n")
    found, problem = tree.read()
    assert found is None
    assert problem is not None
    assert "--pid host" in problem


@pytest.mark.parametrize("lines", ["0::/../{0}\n", "0::/../../system.slice/docker-{0}.scope\n"])
def test_a_private_namespace_is_said(tree: Tree, lines: str) -> None:
    tree.process(lines.format(ID))
    found, problem = tree.read()
    assert found is None
    assert problem is not None
    assert "--cgroupns host" in problem


def test_a_tree_that_is_not_mounted_is_said(tree: Tree) -> None:
    tree.process(f"0::{BY_ENGINE}\n")
    found, problem = tree.read()
    assert found is None
    assert problem is not None
    assert str(tree.roots.cgroup) in problem


def test_one_that_is_hidden_does_not_hide_the_others(tree: Tree) -> None:
    tree.group(BY_ENGINE, V2_FILES)
    tree.process(f"0::{BY_ENGINE}\n")
    tree.process("0::/../x\n", pid=7)
    told = tree.usage.read_now([running(OTHER, 7), running()])
    assert told.readings == {ID: WHOLE}
    assert told.problem is not None


def test_a_container_that_was_started_again_is_looked_for_afresh(tree: Tree) -> None:
    tree.group(BY_ENGINE, V2_FILES)
    tree.process(f"0::{BY_ENGINE}\n")
    tree.read()
    tree.group(BY_SYSTEMD, V2_FILES | {"memory.current": "5000000\n"})
    tree.process(f"0::{BY_SYSTEMD}\n", pid=8)
    told = tree.usage.read_now([running(ID, 8)])
    assert told.readings[ID].memory_bytes == 142_400


def test_whose_process_it_is(tree: Tree) -> None:
    tree.process(f"0::/docker/{OTHER}/docker/{ID}\n")
    tree.process(V1_LINES.format(BY_SYSTEMD), pid=8)
    tree.process("0::/user.slice/session-1.scope\n", pid=9)
    assert tree.usage.containers_of(PID) == (OTHER, ID)
    assert tree.usage.containers_of(8) == (ID,)
    assert tree.usage.containers_of(9) == ()
    assert tree.usage.containers_of(10) == ()


def test_what_the_groups_do_not_count_the_processes_do(tree: Tree) -> None:
    """Version 1 since Linux 6.10 tells of no device: then processes are asked, and what one took with it
    when it ended is not lost."""
    tree.v1(BY_ENGINE)
    name = "blkio.throttle.io_service_bytes_recursive"
    tree.group("blkio" + BY_ENGINE, {name: "Total 0\n"})
    tree.process(V1_LINES.format(BY_ENGINE))

    def has(**io: tuple[int, int]) -> tuple[int | None, int | None]:
        pids = [pid.removeprefix("p") for pid in io]
        for controller in V1_FILES:
            tree.group(controller + BY_ENGINE, {"cgroup.procs": "".join(f"{pid}\n" for pid in pids)})
        for pid, (read, written) in zip(pids, io.values(), strict=True):
            text = f"rchar: 9\nwchar: 9\nread_bytes: {read}\nwrite_bytes: {written}\n"
            (tree.roots.proc / pid).mkdir(exist_ok=True)
            (tree.roots.proc / pid / "io").write_text(text)
        found, problem = tree.read()
        assert found is not None
        assert problem is None
        counters = found.counters
        return counters.get(UsageCounter.READ_BYTES), counters.get(UsageCounter.WRITTEN_BYTES)

    assert has() == (None, None)
    assert has(p20415=(10, 100)) == (10, 100)
    assert has(p20415=(10, 100), p7=(5, 50)) == (15, 150)
    assert has(p20415=(15, 150)) == (15, 150), "waited for: its parent has it"
    assert has(p20415=(15, 150), p8=(0, 1000)) == (15, 1150)
    assert has(p20415=(16, 150)) == (16, 1150), "run from outside: nobody has it"
    assert has(p20415=(16, 170)) == (16, 1170)


def block_tree(root: Path) -> BlockDevices:
    """``8:0`` has a partition that ``253:0`` is made of, which ``253:1`` is made of."""
    for device, name in (("8:0", "sda"), ("8:16", "sdb"), ("253:0", "dm-0"), ("253:1", "dm-1")):
        folder = root / "devices" / name
        (folder / "slaves").mkdir(parents=True)
        (folder / "dev").write_text(f"{device}\n")
        (root / "block").mkdir(exist_ok=True)
        (root / "block" / device).symlink_to(folder)
    partition = root / "devices" / "sda" / "sda2"
    partition.mkdir()
    (partition / "partition").write_text("2\n")
    (partition / "dev").write_text("8:2\n")
    (root / "devices" / "dm-0" / "slaves" / "sda2").symlink_to(partition)
    (root / "devices" / "dm-1" / "slaves" / "dm-0").symlink_to(root / "devices" / "dm-0")
    return BlockDevices(root / "block")


@pytest.mark.parametrize(
    ("there", "doubled"),
    [
        ({"8:0", "8:16"}, set()),
        ({"8:0", "253:0"}, {"253:0"}),
        ({"8:0", "253:0", "253:1"}, {"253:0", "253:1"}),
        ({"253:1", "8:16"}, set()),
        ({"253:0", "99:9"}, set()),
    ],
)
def test_what_is_made_of_others_is_not_counted_twice(
    tmp_path: Path, there: set[str], doubled: set[str]
) -> None:
    assert block_tree(tmp_path).stacked(there) == doubled


def test_a_mapped_disk_is_counted_once(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    block_tree(tmp_path)
    io = "8:0 rbytes=500 wbytes=600 rios=1 wios=1\n253:0 rbytes=500 wbytes=600 rios=1 wios=1\n"
    tree.group(BY_ENGINE, V2_FILES | {"io.stat": io})
    tree.process(f"0::{BY_ENGINE}\n")
    found, _ = tree.read()
    assert found is not None
    assert (found.counters[UsageCounter.READ_BYTES], found.counters[UsageCounter.WRITTEN_BYTES]) == (500, 600)
