"""An engine that ends under a lease and comes back, in order or killed, with and without ``live-restore``.

With it containers run on; without it they end with the engine, and the agent starts the lease again: the same
port, the same data, and nobody's doing but the engine's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.e2e.world import World, running, until
from tests.integration.runtime.engines import SecondEngine, machines_engine, newer_engine, second_engine
from tests.launches import IMAGE

pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]

MANIFEST = f"""
version: "2.0"
services:
  web:
    image: {IMAGE}
    command: ["sh", "-c", "date >> /data/starts; exec sleep 3600"]
    expose: [{{port: 8080, as: 80, to: [{{global: true}}]}}]
    params: {{storage: {{data: {{mount: /data}}}}}}
profiles:
  compute:
    web:
      resources:
        cpu: {{units: 0.1}}
        memory: {{size: 32Mi}}
        storage:
          - size: 16Mi
          - {{name: data, size: 16Mi, attributes: {{persistent: true, class: default}}}}
  placement:
    here: {{pricing: {{web: {{denom: uact, amount: 1000}}}}}}
deployment:
  web: {{here: {{profile: web, count: 1}}}}
"""


@pytest.fixture(scope="module", params=[True, False], ids=["live-restore", "without"])
def engine_of_its_own(request: pytest.FixtureRequest, hello_image: str) -> Iterator[SecondEngine]:
    with second_engine(newer_engine() or machines_engine(), {"live-restore": request.param}) as engine:
        engine.load(IMAGE)
        yield engine


@pytest.fixture(scope="module")
def restarted(tmp_path_factory: pytest.TempPathFactory, engine_of_its_own: SecondEngine) -> Iterator[World]:
    made = World(
        folder=tmp_path_factory.mktemp("engine"),
        provider_name=f"engine-{os.getpid()}",
        provider_environment={
            "PROVIDER_RUNTIME__DOCKER": engine_of_its_own.socket,
            "PROVIDER_IMAGES__LOCAL": "[gp-test/*]",
        },
    )
    client = docker.DockerClient(base_url=engine_of_its_own.socket, version="1.41")
    with running(made, client):
        yield made
    client.close()


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_its_leases_run_again_as_they_were(
    restarted: World, engine_of_its_own: SecondEngine, tmp_path: Path, how: str
) -> None:
    world, engine = restarted, engine_of_its_own
    goes_on = bool(engine.settings["live-restore"])
    file = tmp_path / "engine.yaml"
    file.write_text(MANIFEST)
    dseq = world.rent(file)
    port = world.host_port(dseq)
    until(lambda: int(world.lease(dseq)["running_ms"]) > 0, "the first usage report")
    starts = 1 if goes_on else 2

    getattr(engine, how)()
    engine.start()

    def has_started(count: int) -> bool:
        told = world.tenant("exec", str(dseq), "web", "--", "cat", "/data/starts")
        return told.status == 0 and len(told.out.splitlines()) == count

    until(lambda: has_started(starts), f"started {starts} times", 90)
    until(lambda: world.lease(dseq)["health"] == "LEASE_HEALTH_RUNNING", "it is said to run", 60)
    billed = int(world.lease(dseq)["running_ms"])
    until(lambda: int(world.lease(dseq)["running_ms"]) > billed, "billing goes on")
    assert world.host_port(dseq) == port
    assert has_started(starts), "and no more often than that"
    assert world.tenant("close", str(dseq)).status == 0
    until(lambda: world.provider("leases", "--json").json == [], "the provider has let go")
    assert world.volume_files() == []
