"""The simulated probe: the same for the same seed, list and clock; and the simulated library's mirror."""

from __future__ import annotations

import asyncio
import ctypes
from pathlib import Path

import pytest

from provider.domain.errors import ConfigError
from provider.domain.gpu import GpuHealth, GpuInventory
from provider.domain.moment import Instant
from provider.sim.gpu import SimulatedGpus, SimulatedProbe, simulated_uuid
from provider.sim.gpu_cards import CARDS
from provider.sim.nvml.build import build_library
from provider.sim.nvml.structures import DriverState


class HandClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.at = Instant(1_000_000)

    def now(self) -> Instant:
        return self.at

    async def sleep_until(self, instant: Instant) -> None:
        assert instant <= self.at, "this clock is moved by hand"


def probe(clock: HandClock, seed: str = "node-1") -> SimulatedProbe:
    return SimulatedProbe(
        [SimulatedGpus(model="h100", count=2), SimulatedGpus(model="rtx4090")], clock, seed=seed
    )


def inventory(of: SimulatedProbe) -> GpuInventory:
    return asyncio.run(of.discover())


def test_the_same_seed_gives_the_same_cards_and_another_seed_others() -> None:
    clock = HandClock()
    assert inventory(probe(clock)) == inventory(probe(clock))
    here = {gpu.uuid for gpu in inventory(probe(clock)).gpus}
    there = {gpu.uuid for gpu in inventory(probe(clock, "node-2")).gpus}
    assert len(here | there) == 6


def test_names_and_identities_are_labelled() -> None:
    gpus = inventory(probe(HandClock())).gpus
    assert [gpu.name for gpu in gpus] == [
        "SIMULATED NVIDIA H100 80GB HBM3",
        "SIMULATED NVIDIA H100 80GB HBM3",
        "SIMULATED NVIDIA GeForce RTX 4090",
    ]
    assert [gpu.model for gpu in gpus] == ["h100", "h100", "rtx4090"]
    assert [gpu.uuid for gpu in gpus] == [simulated_uuid("node-1", index) for index in range(3)]
    assert gpus[0].uuid == "GPU-SIM-2cac81b6-af3a-565c-59e4-84056ee909eb"


def test_readings_follow_the_clock_and_the_load() -> None:
    clock = HandClock()
    cards = probe(clock)
    busy = inventory(cards).gpus[0].uuid
    idle = cards.readings()
    cards.load(busy, 0.9)
    clock.at = Instant(clock.at + 10_000)
    later = cards.readings()
    assert later == cards.readings(), "the same instant reads the same"
    assert (idle[0].utilization_ratio or 0) < 0.1
    assert (later[0].utilization_ratio or 0) > 0.8
    assert (later[0].energy_joules or 0) > (idle[0].energy_joules or 0)
    assert later[0].processes is None, "nobody computes on a card that does not exist"


def test_a_card_can_fail_go_and_come_back() -> None:
    cards = probe(HandClock())
    before = inventory(cards)
    first, second, third = (gpu.uuid for gpu in before.gpus)
    cards.fail(first, "it burns")
    assert inventory(cards).gpus[0].problem == "it burns"
    assert [each.uuid for each in cards.readings()] == [second, third]
    cards.judge(second, GpuHealth.DEGRADED, "hot")
    cards.remove(third)
    assert [gpu.health for gpu in inventory(cards).gpus] == [GpuHealth.UNHEALTHY, GpuHealth.DEGRADED]
    cards.restore()
    assert inventory(cards) == before


def test_an_unknown_model_names_the_known_ones() -> None:
    with pytest.raises(ConfigError) as refused:
        SimulatedProbe([SimulatedGpus(model="h1000")], HandClock(), seed="x")
    assert refused.value.remedy is not None
    assert "rtx4090" in refused.value.remedy


@pytest.mark.parametrize("model", sorted(CARDS))
def test_every_simulated_card_reads_back_as_its_model(model: str) -> None:
    (gpu,) = inventory(SimulatedProbe([SimulatedGpus(model=model)], HandClock(), seed="x")).gpus
    card, _, profile = model.partition("-")  # a slice is sold as its card, told apart by its memory
    assert gpu.model == card
    assert gpu.name.endswith(profile)


def test_the_mirror_has_the_librarys_size() -> None:
    try:
        library = build_library(Path("build/tests"))
    except ConfigError as missing:
        pytest.skip(f"{missing}: {missing.remedy}")
    assert ctypes.CDLL(str(library)).nvmlSimulatedStateSize() == ctypes.sizeof(DriverState)
