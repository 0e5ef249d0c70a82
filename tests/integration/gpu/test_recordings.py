"""Recordings of real cards through the real worker: the inventory and a reading, field by field."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from provider.domain.gpu import (
    ClockReason,
    Gpu,
    GpuHealth,
    GpuInventory,
    GpuLink,
    GpuLinkKind,
    GpuReading,
    MigSlice,
)
from provider.domain.ids import GpuUuid
from provider.sim.nvml.recording import load
from provider.sim.nvml.state import SimulatedDriver
from provider.sim.waiting import until
from tests.probing import probing, run, simulated_library

RECORDINGS = Path("tests/recordings/gpu")
MIB = 1024**2


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[SimulatedDriver]:
    with SimulatedDriver(simulated_library(), tmp_path) as simulated:
        yield simulated


def uuid(index: int) -> GpuUuid:
    return GpuUuid(f"GPU-{index:08x}-0000-0000-0000-000000000000")


def read(driver: SimulatedDriver, name: str) -> tuple[GpuInventory, tuple[GpuReading, ...]]:
    """What the probe makes of a recording: discovery, and a sample of every card."""
    load(driver, RECORDINGS / f"{name}.json")
    told: list[tuple[GpuInventory, tuple[GpuReading, ...]]] = []

    async def body() -> None:
        async with probing(driver) as probe:
            inventory = await probe.discover()
            await until(lambda: len(probe.readings()) == len(inventory.gpus))
            assert probe.status().failures == ()
            told.append((inventory, probe.readings()))

    run(body())
    return told[0]


def known(reading: GpuReading) -> dict[str, Any]:
    """What a reading tells besides whose it is and when."""
    facts = {each.name: getattr(reading, each.name) for each in dataclasses.fields(reading)}
    return {name: fact for name, fact in facts.items() if name not in {"uuid", "at"} and fact is not None}


H100 = Gpu(
    is_inforom_corrupt=False,
    uuid=uuid(0),
    index=0,
    name="NVIDIA H100 80GB HBM3",
    model="h100",
    memory_bytes=81559 * MIB,
    interface="sxm",
    pci_bus_id="0000:1b:00.0",
    minor=0,
    architecture="hopper",
    compute_capability="9.0",
    power_limit_watts=700.0,
    power_limit_default_watts=700.0,
    vbios="96.00.A5.00.01",
    is_ecc_on=True,
    is_mig_on=False,
    clock_graphics_most_hertz=1.98e9,
    clock_sm_most_hertz=1.98e9,
    clock_memory_most_hertz=2.619e9,
    clock_video_most_hertz=1.545e9,
    pcie_width_most=16,
    pcie_generation_most=5,
    nvlinks=18,
)
"""No absolute thresholds: Hopper tells its margin instead."""


def test_eight_h100_on_switches(driver: SimulatedDriver) -> None:
    inventory, readings = read(driver, "h100x8-nvswitch")
    places = ["1b", "43", "52", "61", "9d", "c3", "d1", "df"]
    assert inventory == GpuInventory(
        gpus=tuple(
            replace(H100, uuid=uuid(index), index=index, minor=index, pci_bus_id=f"0000:{bus}:00.0")
            for index, bus in enumerate(places)
        ),
        driver_version="590.48.01",
        cuda_version="13.1",
        links=tuple(
            GpuLink(first=uuid(first), second=uuid(second), kind=GpuLinkKind.NVSWITCH, lanes=18)
            for first, second in combinations(range(8), 2)
        ),
    )
    assert len(inventory.links) == 28
    assert known(readings[7]) == {
        "utilization_ratio": 0.0,
        "memory_utilization_ratio": 0.0,
        "encoder_ratio": 0.0,
        "decoder_ratio": 0.0,
        "memory_used_bytes": 0,
        "memory_reserved_bytes": 479 * MIB,
        "bar1_used_bytes": MIB,
        "power_watts": 69.62,
        "temperature_celsius": 41.0,
        "temperature_memory_celsius": 48.0,
        "temperature_margin_celsius": 46.0,
        "clock_graphics_hertz": 3.45e8,
        "clock_sm_hertz": 3.45e8,
        "clock_memory_hertz": 2.619e9,
        "clock_video_hertz": 7.65e8,
        "performance_state": 0,
        "clock_reasons": frozenset({ClockReason.IDLE}),
        "processes": (),
        "ecc_corrected": 0,
        "ecc_uncorrected": 0,
        "remapped_correctable": 0,
        "remapped_uncorrectable": 0,
        "is_remap_pending": False,
        "is_remap_failed": False,
        "remap_banks_exhausted": 0,
        "recovery_action": 0,
        "pcie_replays": 9,
        "pcie_width": 16,
        "pcie_generation": 5,
        "nvlink_up": 18,
        "is_fabric_ready": True,
        "is_persistent": True,
    }


A100 = Gpu(
    is_inforom_corrupt=False,
    uuid=uuid(0),
    index=0,
    name="NVIDIA A100-SXM4-40GB",
    model="a100",
    memory_bytes=40960 * MIB,
    interface="sxm",
    pci_bus_id="0000:07:00.0",
    minor=0,
    architecture="ampere",
    compute_capability="8.0",
    power_limit_watts=400.0,
    power_limit_default_watts=400.0,
    vbios="92.00.45.00.03",
    is_ecc_on=True,
    is_mig_on=True,
    clock_graphics_most_hertz=1.41e9,
    clock_sm_most_hertz=1.41e9,
    clock_memory_most_hertz=1.215e9,
    clock_video_most_hertz=1.29e9,
    pcie_width_most=16,
    pcie_generation_most=4,
    slowdown_celsius=87.0,
    shutdown_celsius=92.0,
    health=GpuHealth.DEGRADED,
    problem="MIG is on: its instances are offered, and the card is not sold whole",
)


def a100_instance(place: int, profile: str, memory_mib: int, gpu_instance: int) -> Gpu:
    return Gpu(
        uuid=GpuUuid(f"MIG-{place:08d}-000000000000"),
        index=0,
        name=f"NVIDIA A100-SXM4-40GB MIG {profile}",
        model="a100",
        memory_bytes=memory_mib * MIB,
        interface="sxm",
        pci_bus_id="0000:07:00.0",
        minor=0,
        architecture="ampere",
        compute_capability="8.0",
        is_ecc_on=True,
        clock_graphics_most_hertz=1.41e9,
        clock_sm_most_hertz=1.41e9,
        clock_memory_most_hertz=1.215e9,
        clock_video_most_hertz=1.29e9,
        pcie_width_most=16,
        pcie_generation_most=4,
        mig=MigSlice(
            parent=uuid(0),
            profile=profile,
            gpu_instance=gpu_instance,
            compute_instance=0,
            slices=int(profile[0]),
        ),
    )


def test_an_a100_cut_into_instances_beside_one_that_will_be(driver: SimulatedDriver) -> None:
    inventory, readings = read(driver, "a100-mig")
    whole = replace(
        A100,
        uuid=uuid(1),
        index=1,
        minor=1,
        pci_bus_id="0000:0f:00.0",
        is_mig_on=False,
        is_mig_to_change=True,
        health=GpuHealth.HEALTHY,
        problem=None,
    )
    assert inventory == GpuInventory(
        gpus=(
            A100,
            a100_instance(0, "3g.20gb", 19968, 2),
            a100_instance(1, "1g.5gb", 4864, 7),
            a100_instance(4, "1g.5gb", 4864, 9),
            whole,
        ),
        driver_version="550.163.01",
        cuda_version="12.4",
        links=(GpuLink(first=uuid(0), second=uuid(1), kind=GpuLinkKind.PCIE_SWITCHES),),
    )
    card, large, *_, other = readings
    assert (card.utilization_ratio, card.encoder_ratio, card.power_watts) == (None, None, 72.0)
    assert (other.utilization_ratio, other.energy_joules) == (0.0, 500.0)
    assert known(large) == {"memory_used_bytes": 0, "memory_reserved_bytes": 0, "processes": ()}


def test_an_l40s(driver: SimulatedDriver) -> None:
    inventory, readings = read(driver, "l40s")
    assert inventory == GpuInventory(
        gpus=(
            Gpu(
                is_inforom_corrupt=False,
                uuid=uuid(0),
                index=0,
                name="NVIDIA L40S",
                model="l40s",
                memory_bytes=48305799168,
                interface="pcie",
                pci_bus_id="0000:01:00.0",
                minor=0,
                architecture="ada",
                compute_capability="8.9",
                power_limit_watts=350.0,
                power_limit_default_watts=350.0,
                vbios="95.02.66.00.02",
                is_ecc_on=True,
                clock_graphics_most_hertz=2.52e9,
                clock_sm_most_hertz=2.52e9,
                clock_memory_most_hertz=9.001e9,
                pcie_width_most=16,
                pcie_generation_most=4,
            ),
        ),
        driver_version="595.80",
        cuda_version="13.2",
    )
    told = known(readings[0])
    assert (told["power_watts"], told["utilization_ratio"]) == (127.67, 1.0)
    assert (told["is_persistent"], told["temperature_margin_celsius"]) == (False, 25.0)
    assert not {"is_fabric_ready", "nvlink_up", "temperature_memory_celsius", "fan_ratio"} & set(told)


def test_a_2080_super_tells_less(driver: SimulatedDriver) -> None:
    inventory, readings = read(driver, "rtx2080super")
    assert inventory == GpuInventory(
        gpus=(
            Gpu(
                is_inforom_corrupt=False,
                uuid=uuid(0),
                index=0,
                name="NVIDIA GeForce RTX 2080 SUPER",
                model="rtx2080super",
                memory_bytes=8192 * MIB,
                interface="pcie",
                pci_bus_id="0000:0c:00.0",
                minor=0,
                architecture="turing",
                compute_capability="7.5",
                power_limit_watts=250.0,
                power_limit_default_watts=250.0,
                vbios="90.04.7A.40.73",
                clock_graphics_most_hertz=2.145e9,
                clock_sm_most_hertz=2.145e9,
                clock_memory_most_hertz=7.751e9,
                pcie_width_most=16,
                pcie_generation_most=3,
            ),
        ),
        driver_version="595.71.05",
        cuda_version="13.2",
    )
    assert known(readings[0]) == {
        "utilization_ratio": 0.0,
        "memory_utilization_ratio": 0.09,
        "encoder_ratio": 0.0,
        "decoder_ratio": 0.0,
        "memory_used_bytes": 224395264,
        "memory_reserved_bytes": 427819008,
        "power_watts": 39.32,
        "temperature_celsius": 40.0,
        "fan_ratio": 0.38,
        "clock_graphics_hertz": 7.65e8,
        "clock_sm_hertz": 7.65e8,
        "clock_memory_hertz": 8.1e8,
        "clock_video_hertz": 7.05e8,
        "performance_state": 8,
        "clock_reasons": frozenset({ClockReason.SW_POWER_CAP}),
        "processes": (),
        "pcie_width": 16,
        "pcie_generation": 1,
        "is_persistent": False,
    }


def test_two_4090_behind_one_host_bridge(driver: SimulatedDriver) -> None:
    inventory, readings = read(driver, "rtx4090x2")
    first = Gpu(
        is_inforom_corrupt=False,
        uuid=uuid(0),
        index=0,
        name="NVIDIA GeForce RTX 4090",
        model="rtx4090",
        memory_bytes=24564 * MIB,
        interface="pcie",
        pci_bus_id="0000:01:00.0",
        minor=0,
        architecture="ada",
        compute_capability="8.9",
        power_limit_watts=450.0,
        power_limit_default_watts=450.0,
        clock_memory_most_hertz=1.0501e10,
        pcie_width_most=16,
        pcie_generation_most=4,
    )
    assert inventory == GpuInventory(
        gpus=(first, replace(first, uuid=uuid(1), index=1, minor=1, pci_bus_id="0000:02:00.0")),
        driver_version="570.124.06",
        cuda_version="12.8",
        links=(GpuLink(first=uuid(0), second=uuid(1), kind=GpuLinkKind.HOST_BRIDGE),),
    )
    assert {each.power_watts for each in readings} == {246.63}


def test_a_gb10_shares_the_hosts_memory(driver: SimulatedDriver) -> None:
    inventory, readings = read(driver, "gb10-unified")
    assert inventory == GpuInventory(
        gpus=(
            Gpu(
                is_inforom_corrupt=False,
                uuid=uuid(0),
                index=0,
                name="NVIDIA GB10",
                model="gb10",
                pci_bus_id="000f:01:00.0",
                minor=0,
                architecture="blackwell",
                compute_capability="12.1",
            ),
        ),
        driver_version="580.173.02",
        cuda_version="13.0",
    )
    assert known(readings[0]) == {
        "utilization_ratio": 0.0,
        "memory_utilization_ratio": 0.0,
        "power_watts": 11.17,
        "temperature_celsius": 35.0,
        "processes": (),
        "is_persistent": True,
    }


@pytest.mark.parametrize("path", sorted(RECORDINGS.glob("*.json")), ids=lambda path: path.stem)
def test_every_recording_names_its_source_and_is_tested(path: Path) -> None:
    assert '"source": "' in path.read_text()
    assert f'"{path.stem}"' in Path(__file__).read_text()
