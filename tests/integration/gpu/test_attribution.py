"""A lease's cards from the driver to its totals: the genuine NVML binding over a simulated library, a real
worker, the real sampler."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from provider.adapters.clock import SystemClock
from provider.adapters.gpu.probe import NvmlProbe
from provider.domain.gpu import Gpu
from provider.domain.market import UnitPlacement
from provider.domain.usage import GpuUsage
from provider.shell.attributing import Attribution, Sources
from provider.sim.nvml.state import SimulatedDriver
from provider.sim.usage import MemoryTallies, SimulatedUsage
from provider.sim.waiting import until
from tests.agents import Agent, healthy, lease_of, node, nodes_read
from tests.probing import probing, run, simulated_library

GIB = 1024**3
PERIOD_S = 2.0


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[SimulatedDriver]:
    """An A100 with an instance of three slices, and a whole H100."""
    with SimulatedDriver(simulated_library(), tmp_path) as simulated:
        card = simulated.add("a100")
        card.is_mig_on = card.is_mig_pending = 1
        card.instance(0, "3g.40gb", 40 * GIB)
        simulated.add("h100")
        for each in (simulated.card(0), simulated.card(1)):
            each.energy_millijoules = 1_000_000
        yield simulated


class Stage:
    """One lease on one card of the driver's, and its sampler."""

    def __init__(self, probe: NvmlProbe, gpus: tuple[Gpu, ...], held: Gpu) -> None:
        self.agent = Agent()
        self.agent.take(nodes_read(node(*gpus)))
        self.elapsed_s, self.held, self.probe = 0.0, held, probe
        self.sampler = Attribution(
            Sources(
                state=lambda: self.agent.state,
                readings=probe.readings,
                probe=SimulatedUsage(SystemClock()),
                book=MemoryTallies(),
                clock=SystemClock(),
                steady_s=lambda: self.elapsed_s,
            )
        )

    def begins(self) -> None:
        template = Agent(*healthy(0))
        template.run()
        placed = (UnitPlacement(resources_id=1, replica=0, gpus=(self.held.uuid,)),)
        lease = template.lease()
        lease = replace(lease, placement=replace(lease.placement, replicas=placed))
        self.agent.state = replace(self.agent.state, leases={lease.id: lease})

    async def samples(self) -> GpuUsage | None:
        """What the worker read before this was asked for does not count."""
        before = {each.uuid: each.at for each in self.probe.readings()}
        await until(lambda: any(each.at > before.get(each.uuid, 0) for each in self.probe.readings()))
        now = {each.uuid: each.at for each in self.probe.readings()}
        await until(lambda: any(each.at > now.get(each.uuid, 0) for each in self.probe.readings()))
        self.elapsed_s += PERIOD_S
        await self.sampler.sample()
        usage = self.sampler.of(lease_of())
        return usage.gpus[0] if usage else None


def test_a_whole_cards_lease_over_a_driver_that_is_loaded_again(driver: SimulatedDriver) -> None:
    async def body() -> None:
        async with probing(driver) as probe:
            gpus = (await probe.discover()).gpus
            card, stage = driver.card(1), Stage(probe, gpus, gpus[-1])
            card.memory_used, card.utilization_percent = GIB, 100
            assert await stage.samples() is None
            stage.begins()
            first = await stage.samples()
            card.memory_used, card.energy_millijoules, card.utilization_percent = 5 * GIB, 1_700_000, 50
            await stage.samples()
            card.energy_millijoules = 40_000
            last = await stage.samples()
        assert first is not None
        assert (first.busy_s, first.energy_joules) == (0, 0)
        assert last is not None
        assert (last.busy_s, last.energy_joules) == (2.0, 740)
        assert (last.memory_bytes, last.utilization_ratio) == (4 * GIB, 0.5)
        assert not last.is_energy_estimated

    run(body())


def test_an_instances_lease_gets_its_slices_of_the_cards_energy(driver: SimulatedDriver) -> None:
    async def body() -> None:
        async with probing(driver) as probe:
            gpus = (await probe.discover()).gpus
            (instance,) = (gpu for gpu in gpus if gpu.mig is not None)
            card, stage = driver.card(0), Stage(probe, gpus, instance)
            card.instances[0].memory_used = GIB
            await stage.samples()
            stage.begins()
            await stage.samples()
            card.energy_millijoules, card.instances[0].memory_used = 1_700_000, 3 * GIB
            last = await stage.samples()
        assert last is not None
        assert last.energy_joules == pytest.approx(700 * 3 / 7)
        assert last.is_energy_estimated
        assert last.memory_bytes == 2 * GIB
        assert (last.utilization_ratio, last.busy_s) == (None, None), (
            "an A100 does not tell, and that is no zero"
        )

    run(body())


def test_a_card_that_is_lost_keeps_its_totals_and_has_no_figures(driver: SimulatedDriver) -> None:
    async def body() -> None:
        async with probing(driver) as probe:
            gpus = (await probe.discover()).gpus
            card, stage = driver.card(1), Stage(probe, gpus, gpus[-1])
            card.utilization_percent = 100
            stage.begins()
            await stage.samples()
            await stage.samples()
            card.is_lost = 1
            lost = gpus[-1].uuid
            await until(
                lambda: lost not in {each.uuid for each in probe.readings()} or _is_silent(probe, lost)
            )
            last = await stage.samples()
        assert last is not None
        assert (last.busy_s, last.utilization_ratio, last.memory_bytes) == (PERIOD_S, None, None)

    run(body())


def _is_silent(probe: NvmlProbe, uuid: str) -> bool:
    return all(each.utilization_ratio is None for each in probe.readings() if each.uuid == uuid)
