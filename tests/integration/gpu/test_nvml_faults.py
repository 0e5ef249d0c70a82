"""Errors as the driver reports them, through the worker's second thread and the kernel's log."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from provider.domain.gpu import GpuFault
from provider.sim.nvml.state import SimulatedDriver
from provider.sim.waiting import until
from tests.probing import DEGRADED, HEALTHY, IMPATIENT, QUICK, change, health, probing, run, simulated_library


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[SimulatedDriver]:
    """Two cards that tell errors, and one that cannot."""
    with SimulatedDriver(simulated_library(), tmp_path) as simulated:
        for _ in range(2):
            simulated.add("h100")
        simulated.add("t4").event_types = 0
        yield simulated


@pytest.fixture
def kernel_log(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    path = tmp_path / "kmsg"
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR)
    yield path, writer
    os.close(writer)


def log(writer: int, bus_id: str, xid: int, pid: int) -> None:
    text = f"4,1,1000000,-;NVRM: Xid (PCI:{bus_id}): {xid}, pid={pid}, name=python3, Ch 1\n"
    os.write(writer, text.encode())


async def hear(faults: object, count: int) -> list[GpuFault]:
    async with asyncio.timeout(20):
        return [await anext(faults) for _ in range(count)]  # type: ignore[call-overload]


def test_a_card_that_cannot_tell_keeps_the_others_from_nothing(driver: SimulatedDriver) -> None:
    async def body() -> None:
        async with probing(driver) as probe:
            gpus = (await probe.discover()).gpus
            await until(lambda: driver.hears_events)
            driver.xid(1, 31)
            driver.xid(2, 48)
            driver.xid(0, 79)
            told = await hear(probe.faults(), 2)
            assert [(each.uuid, each.xid) for each in told] == [(gpus[1].uuid, 31), (gpus[0].uuid, 79)]
            assert probe.status().failures == (), "that nothing happens is no failure"

    run(body())


def test_both_sources_make_one_error_with_its_culprit(
    driver: SimulatedDriver, kernel_log: tuple[Path, int]
) -> None:
    path, writer = kernel_log
    log(writer, "0000:18:00", 13, 41)  # before the daemon
    log(writer, "0000:99:00", 62, 42)  # of a card that is not there

    async def body() -> None:
        async with probing(driver, replace(QUICK, kernel_log=path)) as probe:
            gpus = (await probe.discover()).gpus
            assert probe.fault_problem is None
            faults = probe.faults()
            (old,) = await hear(faults, 1)
            assert (old.uuid, old.xid, old.pid) == (gpus[0].uuid, 13, 41)
            await until(lambda: driver.hears_events)
            driver.xid(1, 94, gpu_instance=3)
            log(writer, "0000:28:00", 94, 4711)
            (both,) = await hear(faults, 1)
            assert (both.uuid, both.xid, both.gpu_instance) == (gpus[1].uuid, 94, 3)
            assert (both.pid, both.process) == (4711, "python3")
            driver.add("h100").pci_bus_id = b"00000000:99:00.0"
            (late,) = await hear(faults, 1)
            assert (late.xid, late.pid) == (62, 42), "its card came, and it was told"

    run(body())


def test_errors_are_told_while_nvml_hangs(driver: SimulatedDriver, kernel_log: tuple[Path, int]) -> None:
    path, writer = kernel_log

    async def body() -> None:
        async with probing(driver, replace(QUICK, kernel_log=path, kill_after_s=60)) as probe:
            await probe.discover()
            fault = driver.hang("nvmlDeviceGetUtilizationRates", gpu=0)
            await until(lambda: fault.hits > 0)
            log(writer, "0000:18:00", 119, 1)
            (told,) = await hear(probe.faults(), 1)
            assert told.xid == 119

    run(body())


def test_a_hang_of_the_other_thread_is_blamed_on_its_card_while_samples_go_on(
    driver: SimulatedDriver,
) -> None:
    driver.hang("nvmlDeviceGetSupportedEventTypes", gpu=1)

    async def body() -> None:
        async with probing(driver, IMPATIENT) as probe:
            before = await probe.discover()
            pid = probe.status().worker_pid
            await until(lambda: len(probe.readings()) == 3)
            ill = await change(probe, lambda told: DEGRADED in health(told))
            assert health(ill) == [HEALTHY, DEGRADED, HEALTHY]
            assert ill.gpus[1].problem == "NVML hung in nvmlDeviceGetSupportedEventTypes on this card"
            await until(
                lambda: [each.uuid for each in probe.readings()] == [before.gpus[0].uuid, before.gpus[2].uuid]
            )
            assert probe.status().worker_pid not in (None, pid)
            assert probe.status().restarts == (("timeout", 1),)
            await until(lambda: driver.hears_events)
            driver.xid(0, 31)
            (told,) = await hear(probe.faults(), 1)
            assert told.uuid == before.gpus[0].uuid

    run(body())


def test_waiting_that_hangs_costs_events_and_no_card(driver: SimulatedDriver) -> None:
    driver.hang("nvmlEventSetWait_v2")
    settings = replace(IMPATIENT, quarantine_s=4.0)

    async def body() -> None:
        async with probing(driver, settings) as probe:
            before = await probe.discover()
            await until(lambda: probe.status().restarts == (("timeout", 1),))
            driver.clear_faults()
            assert await probe.discover() == before
            await until(lambda: len(probe.readings()) == 3)
            assert not driver.hears_events
            pid = probe.status().worker_pid
            await until(lambda: driver.hears_events, bound_s=40)
            assert probe.status().worker_pid == pid, "in the same worker, once the time is over"

    run(body())


def test_a_storm_of_errors_hides_no_hang(driver: SimulatedDriver) -> None:
    """What the second thread says is no sign that the first is alive."""

    async def body() -> None:
        async with probing(driver, IMPATIENT) as probe:
            await probe.discover()
            await until(lambda: driver.hears_events)
            driver.hang("nvmlDeviceGetUtilizationRates", gpu=0)

            def is_noticed() -> bool:
                driver.xid(1, 31)
                return probe.status().restarts == (("timeout", 1),)

            await until(is_noticed)

    run(body())


def test_waiting_that_fails_is_begun_again(driver: SimulatedDriver) -> None:
    async def body() -> None:
        async with probing(driver) as probe:
            gpus = (await probe.discover()).gpus
            await until(lambda: driver.hears_events)
            fault = driver.fault("nvmlEventSetWait_v2", code=999, times=1)
            await until(lambda: fault.hits == 1 and not driver.hears_events)
            await until(lambda: driver.hears_events)
            driver.xid(0, 74)
            (told,) = await hear(probe.faults(), 1)
            assert (told.uuid, told.xid) == (gpus[0].uuid, 74)
            assert probe.status().failures == (("nvmlEventSetWait_v2", 999, 1),)

    run(body())


def test_a_lost_card_does_not_deafen_for_the_others(driver: SimulatedDriver) -> None:
    async def body() -> None:
        async with probing(driver) as probe:
            gpus = (await probe.discover()).gpus
            await until(lambda: driver.hears_events)
            driver.card(0).is_lost = 1
            await until(lambda: not driver.hears_events)
            await until(lambda: driver.hears_events)
            driver.xid(1, 63)
            (told,) = await hear(probe.faults(), 1)
            assert (told.uuid, told.xid) == (gpus[1].uuid, 63)

    run(body())


def test_a_card_that_comes_is_listened_to(driver: SimulatedDriver) -> None:
    async def body() -> None:
        async with probing(driver) as probe:
            await probe.discover()
            await until(lambda: driver.hears_events)
            driver.add("h100")
            gpus = (await change(probe, lambda told: len(told.gpus) == 4)).gpus
            faults = probe.faults()
            told: list[GpuFault] = []
            async with asyncio.TaskGroup() as tasks:
                listener = tasks.create_task(hear(faults, 1))

                def is_heard() -> bool:
                    driver.xid(3, 45)
                    return listener.done()

                await until(is_heard)
                told = listener.result()
            assert told[0].uuid == gpus[3].uuid

    run(body())


def test_a_driver_without_events_is_read_all_the_same(tmp_path: Path) -> None:
    older = simulated_library(without=("nvmlEventSetCreate",))

    async def body() -> None:
        with SimulatedDriver(older, tmp_path) as old:
            old.add("h100")
            async with probing(old) as probe:
                assert health(await probe.discover()) == [HEALTHY]
                await until(lambda: bool(probe.readings()))
                assert probe.status().restarts == ()

    run(body())
