"""Many lives of leases while the agent and its engine are killed again and again, when a seed says so.

Whatever dies when: every lease that began ends once and for its tenant's reason alone, what should run runs,
and in the end nothing is left: no container, network, volume, mount or loop device.

``LIVES`` and ``SEED`` in the environment make it longer, or another one.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import docker
import pytest

from provider.adapters.clock import SystemClock
from provider.app import manifest_files
from provider.app.market_client import Market
from provider.app.tenancy import Plan, Tenancy, plan_of
from provider.domain.errors import ProviderError
from provider.domain.money import Denom, Money
from provider.rpc import identity
from provider.rpc.member import Role
from provider.rpc.v1 import resources_pb2, tenant_pb2
from tests.e2e.leftovers import left_of
from tests.e2e.world import World, running, until
from tests.integration.runtime.engines import SecondEngine, machines_engine, newer_engine, second_engine
from tests.launches import IMAGE

LIVES = int(os.environ.get("LIVES", "12"))
SEED = int(os.environ.get("SEED", "7"))
AT_ONCE = 6
BOUND_S = 120.0 + LIVES * 4
pytestmark = [pytest.mark.docker, pytest.mark.timeout(int(BOUND_S) + 120)]

MANIFEST = f"""
version: "2.0"
services:
  web:
    image: {IMAGE}
    command: ["sh", "-c", "date >> /data/starts; sleep 3600"]
    expose: [{{port: 8080, as: 8080, to: [{{global: true}}]}}]
    params: {{storage: {{data: {{mount: /data}}}}}}
  side:
    image: {IMAGE}
    command: ["sh", "-c", "sleep 3600"]
    expose: [{{port: 1, to: [{{service: web}}]}}]
profiles:
  compute:
    web:
      resources:
        cpu: {{units: 0.05}}
        memory: {{size: 32Mi}}
        storage:
          - size: 16Mi
          - {{name: data, size: 16Mi, attributes: {{persistent: true, class: default}}}}
    side:
      resources: {{cpu: {{units: 0.05}}, memory: {{size: 16Mi}}, storage: {{size: 16Mi}}}}
  placement:
    here: {{pricing: {{web: {{denom: uact, amount: 1000}}, side: {{denom: uact, amount: 1000}}}}}}
deployment:
  web: {{here: {{profile: web, count: 1}}}}
  side: {{here: {{profile: side, count: 1}}}}
"""
TENANTS_OWN = {resources_pb2.CLOSE_REASON_TENANT_CLOSED}
NEVER_BEGAN = {resources_pb2.CLOSE_REASON_NOT_CONFIRMED, resources_pb2.CLOSE_REASON_LEASE_FORGOTTEN}


@pytest.fixture(scope="module")
def engine_under_fire(hello_image: str) -> Iterator[SecondEngine]:
    with second_engine(newer_engine() or machines_engine()) as engine:
        engine.load(IMAGE)
        yield engine


@pytest.fixture(scope="module")
def burning(tmp_path_factory: pytest.TempPathFactory, engine_under_fire: SecondEngine) -> Iterator[World]:
    made = World(
        folder=tmp_path_factory.mktemp("fire"),
        provider_name=f"fire-{os.getpid()}",
        provider_environment={
            "PROVIDER_RUNTIME__DOCKER": engine_under_fire.socket,
            "PROVIDER_IMAGES__LOCAL": "[gp-test/*]",
        },
    )
    client = docker.DockerClient(base_url=engine_under_fire.socket, version="1.41")
    with running(made, client):
        yield made
    client.close()


@dataclass(slots=True)
class Fire:
    """What strikes, and how often it did."""

    world: World
    engine: SecondEngine
    random: Random
    struck: dict[str, int] = field(default_factory=dict)

    async def burn(self) -> None:
        """Until cancelled; never cancelled between a blow and its mending."""
        while True:
            await asyncio.sleep(self.random.uniform(0.2, 2.5))  # the moment is the test's subject
            await asyncio.shield(asyncio.create_task(self.strike()))

    async def strike(self) -> None:
        whom = self.random.choice(["agent", "agent", "engine", "both"])
        self.struck[whom] = self.struck.get(whom, 0) + 1
        if whom in {"agent", "both"}:
            await asyncio.to_thread(self.world.kill, "provider")
        if whom in {"engine", "both"}:
            await asyncio.to_thread(self.engine.kill)
            await asyncio.to_thread(self.engine.start)
        if whom in {"agent", "both"}:
            await asyncio.to_thread(self.world.start_provider)


@dataclass(slots=True)
class Life:
    """A tenant that wants one deployment to run, for a while."""

    tenancy: Tenancy
    plan: Plan
    random: Random

    async def live(self) -> tenant_pb2.Deployment:
        dseq = await self.tenancy.deploy(self.plan, Money(amount=500_000, denom=Denom.UACT))
        if self.random.random() < 0.3:
            await asyncio.wait([asyncio.create_task(self._rent(dseq))], timeout=self.random.uniform(0, 6))
        else:
            async with asyncio.timeout(BOUND_S):
                await self._rent(dseq)
        return await self.tenancy.close(dseq, BOUND_S)

    async def _rent(self, dseq: int) -> None:
        """Accept, send and look, whatever fails on the way, until it runs or has ended."""
        while True:
            view = await self.tenancy.market.deployment(dseq)
            if view.state != tenant_pb2.DEPLOYMENT_STATE_ACTIVE:
                return
            active = [each for each in view.leases if each.state == tenant_pb2.LEASE_STATE_ACTIVE]
            if active and active[0].health == resources_pb2.LEASE_HEALTH_RUNNING:
                return
            try:
                if not active:
                    await self.tenancy.first_bids(dseq, 5)
                    await self.tenancy.accept(dseq, None, 5)
                await self.tenancy.send_manifest(await self.tenancy.lease_of(dseq))
                await self.tenancy.running(dseq, 5)
            except ProviderError:
                continue  # somebody is dead just now; what ended for good is judged in the end


async def lives(world: World, fire: Fire) -> list[tenant_pb2.Deployment]:
    home = world.folder / "tenant"
    file = world.folder / "fire.yaml"
    file.write_text(MANIFEST)
    plan = plan_of(manifest_files.load(str(file)), {})
    turns = asyncio.Semaphore(AT_ONCE)
    async with Market(identity.load(home, Role.TENANT, at=SystemClock().now())) as market:
        tenancy = Tenancy(market, home)

        async def live(number: int) -> tenant_pb2.Deployment:
            async with turns:
                return await Life(tenancy, plan, Random(SEED * 1_000 + number)).live()  # noqa: S311 - repeatable

        strikes = asyncio.create_task(fire.burn())
        try:
            return await asyncio.gather(*(live(number) for number in range(LIVES)))
        finally:
            strikes.cancel()
            await asyncio.wait([strikes])
            if "provider" not in world.processes:
                await asyncio.to_thread(world.start_provider)


def test_nothing_is_lost_and_nothing_left(burning: World, engine_under_fire: SecondEngine) -> None:
    world = burning
    fire = Fire(world, engine_under_fire, Random(SEED))  # noqa: S311 - repeatable

    ended = asyncio.run(lives(world, fire))

    assert len(ended) == LIVES
    assert fire.struck, "nobody was hit"
    for deployment in ended:
        for lease in deployment.leases:
            began = lease.confirmed_ms > 0
            allowed = TENANTS_OWN if began else TENANTS_OWN | NEVER_BEGAN
            assert lease.reason in allowed, (fire.struck, lease)
    client = docker.DockerClient(base_url=engine_under_fire.socket, version="1.41")
    until(lambda: world.provider("leases", "--json").json == [], "the provider has let go", BOUND_S)
    until(lambda: left_of(client, world.provider_name) == set(), "the engine has let go", BOUND_S)
    until(lambda: not left_on_disk(world), "the disk has let go", BOUND_S)
    client.close()


def left_on_disk(world: World) -> list[str]:
    """Mounts, loop devices and files of volumes."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    loops = subprocess.run(["losetup", "--list", "--noheadings"], check=True, capture_output=True, text=True)
    left = [place for place in mounts if place.startswith(f"{world.folder}/")]
    left += [line for line in loops.stdout.splitlines() if str(world.folder) in line]
    return left + [str(path) for path in world.volume_files()]
