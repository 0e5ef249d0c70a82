"""The operator's idle job and the health of its cards.

The genuine NVML binding over a simulated library, the real loop, watch and lanes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from provider.domain.gpu_health import GpuSignal
from provider.domain.idle import IdlePhase, idle_id
from provider.sim.engine import ImageScript
from provider.sim.nvml.state import SimulatedDriver
from tests.agents import PROVIDER
from tests.cards import CAREFUL
from tests.idle_jobs import idle_job
from tests.integration.gpu.health_world import HealthWorld
from tests.probing import run, simulated_library

OURS, STRANGERS = 5_000_001, 4_000_000
USED_BYTES = 30 * 10**9


def phase(world: HealthWorld, index: int) -> IdlePhase | None:
    found = world.loop.state.idle.get(world.cards()[index].uuid)
    return found.phase if found else None


def test_what_the_idle_job_does_on_a_card_is_not_held_against_it(tmp_path: Path) -> None:
    async def body() -> None:
        with SimulatedDriver(simulated_library(), tmp_path) as driver:
            cards = [driver.add("h100") for _ in range(2)]
            world = HealthWorld(driver=driver, policy=replace(CAREFUL, idle=idle_job()))
            world.engine.images = {"folding": ImageScript()}
            async with world.alive():
                await world.until(lambda: len(world.cards()) == 2, "the cards are read")
                first = world.cards()[0].uuid
                await world.until(
                    lambda: phase(world, 0) is IdlePhase.RUNNING, "the job is on the first card"
                )
                await world.until(lambda: phase(world, 1) is IdlePhase.RUNNING, "and on the second")
                world.processes[OURS] = idle_id(PROVIDER, first)
                cards[0].run(OURS, memory_bytes=USED_BYTES)
                cards[0].memory_used = USED_BYTES
                cards[1].run(STRANGERS, memory_bytes=10**9)
                await world.until(lambda: GpuSignal.FOREIGN_PROCESS in world.signals(1), "a stranger is seen")
                await world.until(lambda: phase(world, 1) is IdlePhase.OFF, "and the job goes from its card")
                assert world.ever(0) == set()
                assert phase(world, 0) is IdlePhase.RUNNING

                await world.bid(1)
                cards[0].process_count = cards[0].memory_used = 0
                await world.award(1)
                assert phase(world, 0) is IdlePhase.OFF
                await world.ends(1)
                await world.until(lambda: phase(world, 0) is IdlePhase.RUNNING, "it comes back")
                assert world.ever(0) == {GpuSignal.AWAITING_CHECK}, "once somebody has looked"

    run(body())
