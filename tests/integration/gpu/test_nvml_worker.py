"""The real probe and the real worker over the simulated library, while things go wrong in it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from provider.adapters.clock import SystemClock
from provider.adapters.gpu.probe import NvmlProbe
from provider.adapters.gpu.settings import NvmlSettings
from provider.adapters.gpu.slot import CallInProgress, CallSlot
from provider.domain.errors import ConfigError
from provider.domain.gpu import GpuHealth, GpuInventory
from provider.sim.nvml.build import build_library
from provider.sim.nvml.state import SimulatedDriver

QUICK = NvmlSettings(
    interval_s=0.05,
    discover_every_s=0.2,
    stale_floor_s=0.5,
    backoff_min_s=0.05,
    backoff_max_s=0.2,
)
IMPATIENT = replace(QUICK, kill_after_s=2.0, reap_within_s=1.0)
"""For hangs. Starting a worker takes a tenth of a second, on a busy machine five times that."""
HEALTHY, DEGRADED, UNHEALTHY = GpuHealth.HEALTHY, GpuHealth.DEGRADED, GpuHealth.UNHEALTHY


@pytest.fixture(scope="module")
def library() -> Path:
    try:
        return build_library(Path("build/tests"))
    except ConfigError as missing:
        pytest.skip(f"{missing}: {missing.remedy}")


@pytest.fixture
def driver(library: Path, tmp_path: Path) -> Iterator[SimulatedDriver]:
    with SimulatedDriver(library, tmp_path) as simulated:
        yield simulated


@asynccontextmanager
async def probing(driver: SimulatedDriver, settings: NvmlSettings = QUICK) -> AsyncIterator[NvmlProbe]:
    async with NvmlProbe(replace(settings, nvml_library=driver.library), SystemClock()) as probe:
        yield probe


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for it, at most twenty seconds."""
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110 - a probe has no event for it, its readers poll too
            await asyncio.sleep(0.01)


async def change(probe: NvmlProbe, is_it: Callable[[GpuInventory], bool]) -> GpuInventory:
    """The first inventory from now on that is so."""
    async with asyncio.timeout(20):
        async for inventory in probe.changes():
            if is_it(inventory):
                return inventory
    raise AssertionError("changes never end")


def run(body: Coroutine[None, None, None]) -> None:
    asyncio.run(body)


def health(inventory: GpuInventory) -> list[GpuHealth]:
    return [gpu.health for gpu in inventory.gpus]


def test_reads_what_the_driver_says(driver: SimulatedDriver) -> None:
    card = driver.add("rtx4090")
    card.utilization_percent = 37
    card.memory_used = 3 * 1024**3
    card.energy_millijoules = 123_456
    card.process_count = 2
    driver.set_power(0, 311)

    async def body() -> None:
        async with probing(driver) as probe:
            (gpu,) = (await probe.discover()).gpus
            assert (gpu.model, gpu.interface, gpu.architecture) == ("rtx4090", "pcie", "ada")
            assert (gpu.compute_capability, gpu.power_limit_watts) == ("8.9", 450.0)
            assert (gpu.pci_bus_id, gpu.minor) == ("0000:18:00.0", 0)
            await until(lambda: bool(probe.readings()))
            (reading,) = probe.readings()
            assert reading.utilization_ratio == 0.37
            assert reading.memory_used_bytes == 3 * 1024**3
            assert reading.memory_reserved_bytes == 500 * 1024**2
            assert reading.power_watts == 311.0
            assert reading.energy_joules == 123.456
            assert reading.temperature_celsius == 34.0
            assert reading.fan_ratio == 0.3
            assert reading.clock_sm_hertz == 2.52e9
            assert reading.processes == 2

    run(body())


def test_what_a_card_cannot_tell_is_absent_and_never_zero(driver: SimulatedDriver) -> None:
    driver.add("gb10").lacks("nvmlDeviceGetUtilizationRates")
    driver.add("t4").lacks("nvmlDeviceGetTotalEnergyConsumption")

    async def body() -> None:
        async with probing(driver) as probe:
            inventory = await probe.discover()
            assert [gpu.memory_bytes for gpu in inventory.gpus] == [None, 15360 * 1024**2]
            assert health(inventory) == [HEALTHY, HEALTHY]
            await until(lambda: len(probe.readings()) == 2)
            spark, t4 = probe.readings()
            assert (spark.utilization_ratio, spark.memory_used_bytes, spark.fan_ratio) == (None, None, None)
            assert (t4.utilization_ratio, t4.energy_joules) == (0.0, None)
            assert probe.status().failures == (), "an absent capability is not a failure"

    run(body())


def test_older_calls_stand_in_for_newer_ones(driver: SimulatedDriver) -> None:
    card = driver.add("h100")
    card.lacks("nvmlDeviceGetMemoryInfo_v2")
    card.lacks("nvmlDeviceGetTemperatureV")
    card.fields[186].is_supported = 0
    card.memory_used = 1024**3

    async def body() -> None:
        async with probing(driver) as probe:
            assert (await probe.discover()).gpus[0].memory_bytes == 81559 * 1024**2
            await until(lambda: bool(probe.readings()))
            (reading,) = probe.readings()
            assert reading.memory_used_bytes == 1024**3 + 500 * 1024**2, (
                "the old call counts reserved as used"
            )
            assert reading.memory_reserved_bytes is None
            assert reading.power_watts == 70.0
            assert reading.temperature_celsius == 34.0

    run(body())


def test_a_driver_older_than_the_bindings_is_read_by_its_older_calls(tmp_path: Path) -> None:
    absent = (
        "nvmlDeviceGetMemoryInfo_v2",
        "nvmlDeviceGetTemperatureV",
        "nvmlDeviceGetComputeRunningProcesses_v3",
        "nvmlDeviceGetMigMode",
    )
    try:
        older = build_library(Path("build/tests"), without=absent)
    except ConfigError as missing:
        pytest.skip(f"{missing}: {missing.remedy}")

    async def body() -> None:
        with SimulatedDriver(older, tmp_path) as driver:
            driver.add("h100")
            async with probing(driver) as probe:
                assert health(await probe.discover()) == [HEALTHY]
                await until(lambda: bool(probe.readings()))
                (reading,) = probe.readings()
                assert reading.memory_used_bytes == 500 * 1024**2
                assert reading.temperature_celsius == 34.0
                assert reading.processes is None
                assert probe.status().failures == ()

    run(body())


@pytest.mark.parametrize("code", [15, 999])
def test_one_dead_handle_among_eight_leaves_seven(driver: SimulatedDriver, code: int) -> None:
    for _ in range(8):
        driver.add("h100")
    driver.fault("nvmlDeviceGetHandleByIndex_v2", gpu=3, code=code)

    async def body() -> None:
        async with probing(driver) as probe:
            inventory = await probe.discover()
            assert [gpu.index for gpu in inventory.gpus] == [0, 1, 2, 4, 5, 6, 7]
            assert health(inventory) == [HEALTHY] * 7
            assert inventory.problem is not None
            assert inventory.problem.startswith("1 of 8 GPUs cannot be read (index 3: ")
            await until(lambda: len(probe.readings()) == 7)

    run(body())


def test_a_card_that_keeps_failing_is_degraded_until_it_stops(driver: SimulatedDriver) -> None:
    driver.add("h100")
    driver.add("h100")

    async def body() -> None:
        async with probing(driver) as probe:
            await probe.discover()
            driver.fault("nvmlDeviceGetUtilizationRates", gpu=1, code=999)
            ill = await change(probe, lambda inventory: DEGRADED in health(inventory))
            assert health(ill) == [HEALTHY, DEGRADED]
            assert ill.gpus[1].problem == "nvmlDeviceGetUtilizationRates keeps failing: unknown error"
            await until(lambda: [each.utilization_ratio for each in probe.readings()] == [0.0, None])
            driver.clear_faults()
            well = await change(probe, lambda inventory: DEGRADED not in health(inventory))
            assert health(well) == [HEALTHY, HEALTHY]
            ((symbol, code, count),) = probe.status().failures
            assert (symbol, code) == ("nvmlDeviceGetUtilizationRates", 999)
            assert count >= 3

    run(body())


def test_a_single_failure_is_nothing(driver: SimulatedDriver) -> None:
    driver.add("h100")

    async def body() -> None:
        async with probing(driver) as probe:
            before = await probe.discover()
            fault = driver.fault("nvmlDeviceGetTemperatureV", gpu=0, code=999, times=2)
            sweeps = probe.status().last_success
            await until(lambda: fault.hits == 2 and probe.status().last_success != sweeps)
            assert await probe.discover() == before

    run(body())


def test_an_unreadable_name_is_no_crash_and_no_sale(driver: SimulatedDriver) -> None:
    driver.add("h100").name = b"\xff\xfe garbage"
    driver.add("h100")

    async def body() -> None:
        async with probing(driver) as probe:
            inventory = await probe.discover()
            assert health(inventory) == [DEGRADED, HEALTHY]
            assert (inventory.gpus[0].model, inventory.gpus[0].problem) == (
                "unknown",
                "its name cannot be read",
            )

    run(body())


def test_a_card_with_mig_on_is_not_sold_whole(driver: SimulatedDriver) -> None:
    driver.add("a100").is_mig_on = 1

    async def body() -> None:
        async with probing(driver) as probe:
            (gpu,) = (await probe.discover()).gpus
            assert gpu.health is DEGRADED
            assert gpu.problem is not None
            assert gpu.problem.startswith("MIG is on")
            await until(lambda: bool(probe.readings()))
            assert probe.readings()[0].utilization_ratio is None

    run(body())


def test_a_card_that_comes_or_goes_is_noticed(driver: SimulatedDriver) -> None:
    driver.add("h100")

    async def body() -> None:
        async with probing(driver) as probe:
            await probe.discover()
            driver.add("t4")
            both = await change(probe, lambda inventory: len(inventory.gpus) == 2)
            assert [gpu.model for gpu in both.gpus] == ["h100", "t4"]
            driver.state.gpu_count = 1
            one = await change(probe, lambda inventory: len(inventory.gpus) == 1)
            assert [gpu.model for gpu in one.gpus] == ["h100"]

    run(body())


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


def test_the_worker_ends_with_its_daemon(driver: SimulatedDriver) -> None:
    driver.add("h100")
    slot = CallSlot.create()
    options = {"interval_s": 0.05, "discover_every_s": 60, "library": driver.library, "slot_fd": slot.fd}
    worker = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "provider.adapters.gpu.worker",
            json.dumps(options | {"skip": [], "answer": 0}),
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
    other_end.leave()
    assert slot.read() is None
    other_end.close()
    slot.close()
