"""The kernel's own books of real containers: what they did is what is read, within bounds.

Exact amounts are done inside (CPU time that the shell itself counts, bytes of a known number), so that no
bound depends on how busy the machine is.
"""

from __future__ import annotations

import pytest

from provider.adapters.runtime import DockerRuntime
from provider.adapters.usage import CgroupUsage
from provider.core.attribution import ReplicaTally, replica_counted
from provider.domain.ids import LeaseId
from provider.domain.resources import MIB
from provider.domain.usage import ContainerReading, UsageCounter
from provider.domain.workload import Container
from tests.integration.runtime.conftest import Run
from tests.integration.runtime.inside import shell
from tests.launches import eventually, launch, lease_id, replica, service

pytestmark = pytest.mark.docker

BURN = """i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done; times"""
"""Some tenths of a second of CPU, and how much of it this shell itself used: ``0m0.480s 0m0.010s``."""
SENT_BYTES = 3 * MIB
WRITTEN_BYTES = 8 * MIB


async def only(runtime: DockerRuntime, lease: LeaseId, name: str = "web") -> Container:
    listed = next(each for each in await runtime.list() if each.lease == lease)
    return next(each for each in listed.containers if each.service == name)


async def look(usage: CgroupUsage, container: Container) -> ContainerReading:
    told = await usage.read([container])
    assert told.problem is None
    return told.readings[container.id]


def seconds(told: str) -> float:
    """Of ``times``: user and system together."""
    return sum(int(each.split("m")[0]) * 60 + float(each.split("m")[1][:-1]) for each in told.split()[:2])


def test_cpu_time_is_what_the_process_counted_itself(on_docker: Run) -> None:
    async def check(runtime: DockerRuntime) -> None:
        usage, lease = CgroupUsage(), lease_id()
        await runtime.start(launch(lease=lease))
        container = await only(runtime, lease)
        before = await look(usage, container)
        used_s = seconds(await shell(runtime, lease, BURN))
        after = await look(usage, container)

        grown_s = (after.counters[UsageCounter.CPU_US] - before.counters[UsageCounter.CPU_US]) / 1e6
        assert used_s > 0.05
        assert used_s * 0.9 <= grown_s <= used_s * 1.2 + 0.3, (used_s, grown_s)
        assert after.memory_limit_bytes == 64 * MIB
        assert after.memory_bytes is not None
        assert 0 < after.memory_bytes < 64 * MIB

    on_docker(check)


def test_who_wants_more_cpu_than_it_has_is_throttled(on_docker: Run) -> None:
    async def check(runtime: DockerRuntime) -> None:
        usage, lease = CgroupUsage(), lease_id()
        await runtime.start(launch(replica(service(script="while :; do :; done")), lease=lease))
        container = await only(runtime, lease)

        async def throttled() -> int:
            return (await look(usage, container)).counters[UsageCounter.THROTTLED_US]

        assert await eventually(throttled, lambda told: told > 100_000)

    on_docker(check)


def test_bytes_between_two_services_are_counted_at_both_ends(on_docker: Run) -> None:
    async def check(runtime: DockerRuntime) -> None:
        usage, lease = CgroupUsage(), lease_id()
        sink = service("sink", "sleep 3600 | nc -l -p 9000 >/dev/null")
        await runtime.start(launch(replica(sink), replica(service("web")), lease=lease))
        source, target = await only(runtime, lease, "web"), await only(runtime, lease, "sink")
        sent_before, received_before = await look(usage, source), await look(usage, target)
        send = f"head -c {SENT_BYTES} /dev/zero | nc sink 9000"
        await shell(runtime, lease, f"until {send}; do :; done")

        async def both() -> tuple[int, int]:
            sent, received = await look(usage, source), await look(usage, target)
            name, other = UsageCounter.SENT_BYTES, UsageCounter.RECEIVED_BYTES
            return (
                sent.counters[name] - sent_before.counters[name],
                received.counters[other] - received_before.counters[other],
            )

        sent, received = await eventually(both, lambda told: min(told) >= SENT_BYTES)
        assert max(sent, received) < SENT_BYTES * 1.2, "headers and answers are a few per cent"

    on_docker(check)


def test_bytes_to_a_disk_are_counted(on_docker: Run) -> None:
    async def check(runtime: DockerRuntime) -> None:
        usage, lease = CgroupUsage(), lease_id()
        write = f"dd if=/dev/zero of=/written bs=1M count={WRITTEN_BYTES // MIB} conv=fsync"
        script = f"until [ -e /go ]; do sleep 0.1; done; {write}; sleep 3600"
        await runtime.start(launch(replica(service(script=script)), lease=lease))
        container = await only(runtime, lease)
        before = (await look(usage, container)).counters
        await shell(runtime, lease, "touch /go")

        async def written() -> int:
            told = (await look(usage, container)).counters
            return told[UsageCounter.WRITTEN_BYTES] - before[UsageCounter.WRITTEN_BYTES]

        grown = await eventually(written, lambda told: told >= WRITTEN_BYTES)
        assert grown < WRITTEN_BYTES * 1.5

    on_docker(check)


def test_a_child_that_is_ended_for_want_of_memory_is_counted(on_docker: Run) -> None:
    async def check(runtime: DockerRuntime) -> None:
        usage, lease = CgroupUsage(), lease_id()
        await runtime.start(launch(lease=lease))
        container = await only(runtime, lease)
        assert (await look(usage, container)).counters[UsageCounter.OOM_KILLS] == 0
        await shell(runtime, lease, "head -c 200m /dev/zero | tail -c 200m >/dev/null; true")
        assert (await look(usage, container)).counters[UsageCounter.OOM_KILLS] >= 1

    on_docker(check)


def test_totals_go_on_over_a_restart_and_what_ended_is_missing(on_docker: Run) -> None:
    async def check(runtime: DockerRuntime) -> None:
        usage, lease = CgroupUsage(), lease_id()
        await runtime.start(launch(lease=lease))
        first = await only(runtime, lease)
        await shell(runtime, lease, BURN)
        reading = await look(usage, first)
        tally = replica_counted(ReplicaTally(service="web", replica=0), first, reading)

        await runtime.restart(lease, "web", 0)

        assert (await usage.read([first])).readings == {}, "its process is gone, or is not it"
        second = await only(runtime, lease)
        assert (second.id, second.pid != first.pid) == (first.id, True)
        anew = await look(usage, second)
        assert anew.counters[UsageCounter.CPU_US] < reading.counters[UsageCounter.CPU_US]
        total = replica_counted(tally, second, anew)
        sum_us = reading.counters[UsageCounter.CPU_US] + anew.counters[UsageCounter.CPU_US]
        assert (total.totals[UsageCounter.CPU_US], total.restarts) == (sum_us, 1)
        assert second.pid is not None
        assert usage.containers_of(second.pid) == (second.id,)
        await runtime.stop(lease, 0)
        assert await usage.read([second]) == type(await usage.read([]))()

    on_docker(check)


def test_the_disk_of_a_lease_is_known_once_it_was_measured(on_docker: Run) -> None:
    async def check(runtime: DockerRuntime) -> None:
        lease = lease_id()
        assert runtime.disk_bytes(lease) is None
        await runtime.start(launch(lease=lease))
        await shell(runtime, lease, "head -c 20971520 /dev/urandom >/kept; sync")

        async def measured() -> int:
            return runtime.disk_bytes(lease) or 0

        told = await eventually(measured, lambda used: used >= 20 * MIB)
        assert told < 24 * MIB

    on_docker(check)
