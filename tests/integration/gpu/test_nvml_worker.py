"""The worker process when things go wrong in the driver: hung, crashed, gone; and when the daemon goes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from provider.adapters.clock import SystemClock
from provider.adapters.gpu.probe import NvmlProbe
from provider.adapters.gpu.slot import CallInProgress, CallSlot, Lane
from provider.domain.gpu import GpuInventory
from provider.sim.nvml.state import SimulatedDriver
from provider.sim.waiting import until
from tests.probing import (
    DEGRADED,
    HEALTHY,
    IMPATIENT,
    QUICK,
    change,
    health,
    probing,
    run,
    simulated_library,
)


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[SimulatedDriver]:
    with SimulatedDriver(simulated_library(), tmp_path) as simulated:
        yield simulated


def test_a_hang_is_blamed_on_its_card_and_the_others_are_read_again(driver: SimulatedDriver) -> None:
    driver.add("h100")
    driver.add("h100")

    async def body() -> None:
        async with probing(driver, IMPATIENT) as probe:
            before = await probe.discover()
            await until(lambda: len(probe.readings()) == 2)
            first = probe.status().worker_pid
            driver.hang("nvmlDeviceGetTotalEnergyConsumption", gpu=1)
            await until(lambda: probe.readings() == ())
            assert not probe.status().is_up
            ill = await change(probe, lambda inventory: DEGRADED in health(inventory))
            assert health(ill) == [HEALTHY, DEGRADED]
            assert ill.gpus[1].problem == "NVML hung in nvmlDeviceGetTotalEnergyConsumption on this card"
            await until(lambda: [each.uuid for each in probe.readings()] == [before.gpus[0].uuid])
            assert probe.status().worker_pid not in (None, first)
            assert probe.status().restarts == (("timeout", 1),)
            assert health(await probe.discover()) == [HEALTHY, DEGRADED]

    run(body())


def test_a_card_that_hung_is_tried_again_after_a_while(driver: SimulatedDriver) -> None:
    driver.add("h100")
    driver.add("h100")
    settings = replace(IMPATIENT, quarantine_s=1.0)

    async def body() -> None:
        async with probing(driver, settings) as probe:
            before = await probe.discover()
            driver.hang("nvmlDeviceGetUtilizationRates", gpu=0)
            await change(probe, lambda inventory: DEGRADED in health(inventory))
            driver.clear_faults()
            well = await change(probe, lambda inventory: DEGRADED not in health(inventory))
            assert well == before
            await until(lambda: len(probe.readings()) == 2)

    run(body())


def test_a_hang_of_the_whole_library_degrades_and_evicts_nobody(driver: SimulatedDriver) -> None:
    driver.add("h100")
    driver.add("h100")

    async def body() -> None:
        async with probing(driver, IMPATIENT) as probe:
            before = await probe.discover()
            driver.hang("nvmlDeviceGetCount_v2")
            async with asyncio.TaskGroup() as tasks:
                asked = tasks.create_task(probe.discover())
                blind = await change(probe, lambda inventory: inventory != before)
            assert health(blind) == [DEGRADED, DEGRADED]
            assert blind.problem == "NVML does not answer, it hangs in nvmlDeviceGetCount_v2"
            assert asked.result() == blind, "a question is answered with what is known"
            driver.clear_faults()
            assert await change(probe, lambda inventory: inventory.problem is None) == before

    run(body())


def test_workers_that_cannot_be_killed_do_not_pile_up(driver: SimulatedDriver) -> None:
    driver.add("h100")
    settings = replace(IMPATIENT, nvml_library=driver.library, reap_within_s=0.1)
    unkilled: list[int] = []
    is_stuck = True

    def kill(pid: int, number: int) -> None:
        if is_stuck:  # as in state D, where SIGKILL waits as well
            unkilled.append(pid)
        else:
            os.kill(pid, number)

    async def body() -> None:
        nonlocal is_stuck
        async with NvmlProbe(settings, SystemClock(), kill=kill) as probe:
            await probe.discover()
            driver.hang("nvmlSystemGetDriverVersion")
            await until(lambda: probe.status().unreapable == 2)
            inventory = await asyncio.wait_for(probe.discover(), 1)
            assert health(inventory) == [DEGRADED]
            assert inventory.problem is not None
            assert "cannot be killed" in inventory.problem
            assert len(unkilled) == 2
            assert probe.status().worker_pid is None
            is_stuck = False
            driver.clear_faults()  # the driver comes round, and the two can die
            for pid in unkilled:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await change(probe, lambda inventory: health(inventory) == [HEALTHY])
            await until(lambda: probe.status().unreapable == 0)

    run(body())


def test_a_crashed_worker_is_replaced(driver: SimulatedDriver) -> None:
    driver.add("h100")

    async def body() -> None:
        async with probing(driver) as probe:
            before = await probe.discover()
            pid = probe.status().worker_pid
            assert pid is not None
            os.kill(pid, signal.SIGSEGV)
            await until(lambda: probe.status().worker_pid not in (None, pid))
            assert await probe.discover() == before
            assert probe.status().restarts == (("crash", 1),)

    run(body())


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (9, "no NVIDIA driver: the driver is not loaded"),
        (18, "NVML does not work: driver and library versions differ, a reboot is due"),
    ],
)
def test_a_library_that_cannot_start_is_one_line_for_people(
    driver: SimulatedDriver, code: int, problem: str
) -> None:
    driver.add("h100")
    driver.fault("nvmlInitWithFlags", code=code)

    async def body() -> None:
        async with probing(driver) as probe:
            assert await probe.discover() == GpuInventory(problem=problem)
            driver.clear_faults()
            assert health(await probe.discover()) == [HEALTHY]

    run(body())


def test_a_driver_that_goes_away_under_us_evicts_nobody(driver: SimulatedDriver) -> None:
    driver.add("h100")

    async def body() -> None:
        async with probing(driver) as probe:
            await probe.discover()
            driver.fault("*", code=18)
            inventory = await change(probe, lambda inventory: inventory.problem is not None)
            assert health(inventory) == [DEGRADED]

    run(body())


def test_a_machine_without_the_library_says_so() -> None:
    async def body() -> None:
        settings = replace(QUICK, nvml_library="/nonexistent/libnvidia-ml.so.1")
        async with NvmlProbe(settings, SystemClock()) as probe:
            inventory = await probe.discover()
            assert inventory.gpus == ()
            assert inventory.problem is not None
            assert inventory.problem.startswith("no NVIDIA driver: /nonexistent/libnvidia-ml.so.1: ")

    run(body())


def test_leaving_ends_the_worker_even_when_it_hangs(driver: SimulatedDriver) -> None:
    driver.add("h100")

    async def body() -> None:
        async with probing(driver) as probe:
            await probe.discover()
            pid = probe.status().worker_pid
            assert pid is not None
            fault = driver.hang("nvmlDeviceGetUtilizationRates")
            await until(lambda: fault.hits > 0)
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    run(body())


DAEMON = """
import asyncio, sys
from provider.adapters.clock import SystemClock
from provider.adapters.gpu.probe import NvmlProbe
from provider.adapters.gpu.settings import NvmlSettings

async def main():
    settings = NvmlSettings(interval_s=0.05, nvml_library=sys.argv[1])
    async with NvmlProbe(settings, SystemClock()) as probe:
        await probe.discover()
        print(probe.status().worker_pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def is_alive(pid: int) -> bool:
    """Not gone, and not merely waiting to be reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_a_hanging_worker_does_not_outlive_a_killed_daemon(driver: SimulatedDriver) -> None:
    driver.add("h100")
    fault = driver.hang("nvmlDeviceGetUtilizationRates")
    with subprocess.Popen(
        [sys.executable, "-c", DAEMON, driver.library], stdout=subprocess.PIPE, text=True
    ) as daemon:
        assert daemon.stdout is not None
        worker = int(daemon.stdout.readline())
        asyncio.run(until(lambda: fault.hits > 0))
        assert is_alive(worker)
        daemon.kill()
    asyncio.run(until(lambda: not is_alive(worker)))


def test_the_worker_ends_with_its_daemon(driver: SimulatedDriver) -> None:
    driver.add("h100")
    slot = CallSlot.create()
    options = {
        "interval_s": 0.05,
        "medium_s": 10,
        "discover_every_s": 60,
        "inforom_every_s": 3600,
        "slow_call_s": 2,
        "library": driver.library,
        "slot_fd": slot.fd,
    }
    worker = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "provider.adapters.gpu.worker",
            json.dumps(
                options | {"skip": [], "answer": 0, "pci_devices": "/nonexistent", "hears_events": True}
            ),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=(slot.fd,),
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    kinds = [json.loads(worker.stdout.readline())["kind"] for _ in range(4)]
    assert kinds == ["beat", "inventory", "beat", "readings"]
    worker.stdin.close()
    assert worker.wait(10) == 0
    worker.stdout.close()
    assert slot.read() is None
    slot.close()


def test_the_worker_is_lean(driver: SimulatedDriver) -> None:
    for _ in range(8):
        driver.add("h100")

    async def body() -> None:
        async with probing(driver) as probe:
            await until(lambda: len(probe.readings()) == 8)
            status = Path(f"/proc/{probe.status().worker_pid}/status").read_text()
            (resident_kb,) = (
                int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")
            )
            assert resident_kb < 25 * 1024

    run(body())
    heavy = "print({'asyncio', 'grpc', 'prometheus_client', 'provider.core'} & {*sys.modules})"
    script = f"import sys, provider.adapters.gpu.worker; {heavy}"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "set()"


def test_the_slot_says_which_call_on_which_card() -> None:
    slot = CallSlot.create()
    other_end = CallSlot.attach(os.dup(slot.fd))
    assert slot.read() is None
    other_end.enter("nvmlDeviceGetName", 3, "GPU-1")
    assert slot.read() == CallInProgress("nvmlDeviceGetName", 3, "GPU-1")
    watcher = other_end.lane(Lane.WATCHER)
    watcher.enter("nvmlEventSetWait_v2", -1, "")
    assert slot.read() == CallInProgress("nvmlDeviceGetName", 3, "GPU-1")
    assert slot.lane(Lane.WATCHER).read() == CallInProgress("nvmlEventSetWait_v2", -1, "")
    other_end.leave()
    assert slot.read() is None
    assert slot.lane(Lane.WATCHER).read() is not None, "each thread has its own lane"
    watcher.leave()
    assert slot.lane(Lane.WATCHER).read() is None
    other_end.close()
    slot.close()
