"""How cards reach each other, and which the bus lists that the driver does not see."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from provider.domain.gpu import GpuLink, GpuLinkKind
from provider.sim.nvml.state import SimulatedDriver
from tests.probing import QUICK, change, pci_device, probing, run, simulated_library


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[SimulatedDriver]:
    with SimulatedDriver(simulated_library(), tmp_path) as simulated:
        yield simulated


def test_pairs_on_switches_at_full_width_on_a_bridge_and_over_pcie(driver: SimulatedDriver) -> None:
    """Two on switches, two bridged, and one alone: each pair once, in order."""
    for _ in range(5):
        driver.add("h100")
    for card in (0, 1):
        driver.link(card, None, 18)
    driver.link(2, 3, 12)
    for index, place in enumerate([(0, 0, 0, 0), (0, 0, 0, 0), (2, 1, 1, 0), (3, 1, 1, 0), (4, 4, 4, 1)]):
        driver.card(index).place[:] = place

    async def body() -> None:
        async with probing(driver) as probe:
            inventory = await probe.discover()
            number = {gpu.uuid: gpu.index for gpu in inventory.gpus}
            told = {
                (number[link.first], number[link.second]): (str(link.kind), link.lanes)
                for link in inventory.links
            }
            assert told == {
                (0, 1): ("nvswitch", 18),
                (2, 3): ("nvlink", 12),
                **dict.fromkeys([(0, 2), (0, 3), (1, 2), (1, 3)], ("numa_node", None)),
                **dict.fromkeys([(0, 4), (1, 4), (2, 4), (3, 4)], ("system", None)),
            }
            assert list(inventory.links) == sorted(inventory.links)
            assert [gpu.nvlinks for gpu in inventory.gpus] == [18, 18, 12, 12, None]

    run(body())


@pytest.mark.parametrize(
    ("places", "kind"),
    [
        ([(1, 1, 1, 0), (1, 1, 1, 0)], GpuLinkKind.PCIE_SWITCH),
        ([(1, 1, 1, 0), (2, 1, 1, 0)], GpuLinkKind.PCIE_SWITCHES),
        ([(1, 1, 1, 0), (2, 2, 1, 0)], GpuLinkKind.HOST_BRIDGE),
        ([(1, 1, 1, 0), (2, 2, 2, 0)], GpuLinkKind.NUMA_NODE),
        ([(1, 1, 1, 0), (2, 2, 2, 1)], GpuLinkKind.SYSTEM),
    ],
)
def test_without_nvlink_the_way_over_pcie_counts(
    driver: SimulatedDriver, places: list[tuple[int, int, int, int]], kind: GpuLinkKind
) -> None:
    for place in places:
        driver.add("rtx4090").place[:] = place

    async def body() -> None:
        async with probing(driver) as probe:
            inventory = await probe.discover()
            first, second = (gpu.uuid for gpu in inventory.gpus)
            assert inventory.links == (GpuLink(first=first, second=second, kind=kind),)

    run(body())


def test_links_that_are_down_do_not_count(driver: SimulatedDriver) -> None:
    for _ in range(2):
        driver.add("h100")
    driver.link(0, 1, 4)
    for card in (0, 1):
        driver.card(card).links[3].is_up = 0

    async def body() -> None:
        async with probing(driver) as probe:
            (link,) = (await probe.discover()).links
            assert (link.kind, link.lanes) == (GpuLinkKind.NVLINK, 3)
            for number in range(3):
                driver.card(0).links[number].is_up = driver.card(1).links[number].is_up = 0
            fallen = await change(probe, lambda told: told.links[0].kind is not GpuLinkKind.NVLINK)
            assert fallen.links[0].lanes is None

    run(body())


def test_a_pair_of_which_nothing_is_told_is_not_listed(driver: SimulatedDriver) -> None:
    for _ in range(2):
        driver.add("rtx4090").lacks("nvmlDeviceGetTopologyCommonAncestor")

    async def body() -> None:
        async with probing(driver) as probe:
            assert (await probe.discover()).links == ()

    run(body())


def test_cards_that_the_bus_lists_and_the_driver_does_not_are_counted(
    driver: SimulatedDriver, tmp_path: Path
) -> None:
    driver.add("h100")
    pci_device(tmp_path, "0000:18:00.0", "0x10de", "0x030200")
    pci_device(tmp_path, "0000:28:00.0", "0x10de", "0x030000", driver=None)
    pci_device(tmp_path, "0000:28:00.1", "0x10de", "0x040300")  # its sound
    pci_device(tmp_path, "0000:38:00.0", "0x10de", "0x030200", driver="vfio-pci")  # a guest's
    pci_device(tmp_path, "0000:48:00.0", "0x1002", "0x030000")
    pci_device(tmp_path, "0000:18:00.4", "0x10de", "0x030200").joinpath("physfn").symlink_to(tmp_path)
    settings = replace(QUICK, pci_devices=tmp_path / "devices")

    async def body() -> None:
        async with probing(driver, settings) as probe:
            inventory = await probe.discover()
            assert inventory.missing == 1
            assert inventory.problem == "1 of 2 NVIDIA GPUs are not seen by the driver"
            assert (await change(probe, lambda told: bool(told.unlisted))).unlisted == ("0000:28:00.0",)
            driver.add("h100")
            whole = await change(probe, lambda told: told.missing == 0)
            assert (whole.problem, whole.unlisted) == (None, ())

    run(body())
