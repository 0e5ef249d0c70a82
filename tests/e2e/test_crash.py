"""kill -9 in the middle: after its restart the lease runs once, is billed right, and can be closed.

And the operator's idle job is once on each card that nobody rents.
"""

from __future__ import annotations

import json

import docker
import pytest

from provider.adapters.clock import SystemClock
from tests.e2e.idle_jobs import IDLE, STUBBORN, happened, idle_containers, runs_on
from tests.e2e.leftovers import containers_of
from tests.e2e.world import ROOT, World, until
from tests.prometheus import fetch

pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]
HELLO = ROOT / "manifests" / "hello-gpu.yaml"


def close_and_check_the_bill(world: World, dseq: int) -> None:
    """What was paid is what the provider earned, at most rate x time, and the rest came back."""
    closed = world.tenant("close", str(dseq))
    assert closed.status == 0, closed.err
    view = world.tenant("status", str(dseq), "--json").json
    (lease,) = view["leases"]
    wall_ms = int(lease["closed_ms"]) - int(lease["confirmed_ms"])
    assert 0 < int(lease["running_ms"]) <= wall_ms
    paid = int(lease["settled"]["amount_micros"])
    assert paid == int(float(lease["rate"]["amount"]) * int(lease["running_ms"]) / 6000)
    assert int(view["refunded"]["amount_micros"]) == int(view["deposited"]["amount_micros"]) - paid
    until(lambda: world.provider("leases", "--json").json == [], "the provider has let go")


@pytest.mark.parametrize("victim", ["provider", "coordinator"])
def test_a_running_lease_survives_the_death_of(
    victim: str, world: World, hello: str, engine: docker.DockerClient
) -> None:
    dseq = world.rent(HELLO, "--image", f"hello={hello}")
    before = containers_of(engine, world.provider_name)
    until(lambda: int(world.lease(dseq)["running_ms"]) > 0, "the first usage report")
    world.kill(victim)
    getattr(world, f"start_{victim}")()
    until(lambda: world.provider("status").status == 0, "connected again")
    billed = int(world.lease(dseq)["running_ms"])
    until(lambda: int(world.lease(dseq)["running_ms"]) > billed, "billing goes on")
    assert containers_of(engine, world.provider_name) == before
    assert world.tenant("exec", str(dseq), "hello", "--", "true").status == 0
    close_and_check_the_bill(world, dseq)


def test_both_die_between_the_award_and_the_start(
    world: World, hello: str, engine: docker.DockerClient
) -> None:
    dseq = world.deploy(HELLO, "--image", f"hello={hello}")
    assert world.tenant("bids", str(dseq), "--wait", "20").status == 0
    world.kill("provider")
    world.kill("coordinator")
    world.start_coordinator()
    world.start_provider()
    accepted = world.tenant("accept", str(dseq), "--wait", "60")
    assert accepted.status == 0, accepted.err + world.log("provider")
    assert len(containers_of(engine, world.provider_name)) == 1
    until(lambda: int(world.lease(dseq)["running_ms"]) > 0, "the first usage report")
    close_and_check_the_bill(world, dseq)


def test_a_container_that_died_while_nobody_looked_is_repaired(
    world: World, hello: str, engine: docker.DockerClient
) -> None:
    dseq = world.rent(HELLO, "--image", f"hello={hello}")
    (name,) = containers_of(engine, world.provider_name)
    until(lambda: int(world.lease(dseq)["running_ms"]) > 0, "the first usage report")
    world.kill("provider")
    engine.containers.get(name).kill()
    world.start_provider()
    until(lambda: containers_of(engine, world.provider_name), "another container runs")
    until(
        lambda: world.provider("leases", "--json").json[0]["health"] == "LEASE_HEALTH_RUNNING",
        "it runs again",
    )
    close_and_check_the_bill(world, dseq)


def test_a_lease_that_was_closed_while_the_provider_was_dead_is_cleaned_up(
    world: World, hello: str, engine: docker.DockerClient
) -> None:
    dseq = world.rent(HELLO, "--image", f"hello={hello}")
    until(lambda: int(world.lease(dseq)["running_ms"]) > 0, "the first usage report")
    world.kill("provider")
    waiting = world.tenant("close", str(dseq), "--wait", "1")
    assert (waiting.status, waiting.err.splitlines()[0]) == (1, "no settlement within 1 s")
    world.start_provider()
    until(lambda: not containers_of(engine, world.provider_name), "the container is gone")
    until(
        lambda: world.tenant("status", str(dseq), "--json").json["state"] == "DEPLOYMENT_STATE_CLOSED",
        "settled",
    )
    until(lambda: world.provider("leases", "--json").json == [], "the provider has let go")


def test_an_idle_job_yields_to_a_lease_comes_back_and_is_never_there_twice(
    world: World, hello: str, engine: docker.DockerClient
) -> None:
    since = SystemClock().now() // 1000
    manifest, config = world.folder / "idle.yaml", world.folder / "provider.yaml"
    manifest.write_text(IDLE.format(image=hello, script=STUBBORN))
    without = config.read_text()
    config.write_text(f"{without}\nidle: {{manifest: {json.dumps(str(manifest))}, grace_s: 1}}\n")
    assert world.provider("reload").status == 0
    before = runs_on(world, engine, 2)

    dseq = world.rent(HELLO, "--image", f"hello={hello}")
    (lease,) = set(containers_of(engine, world.provider_name)) - set(before.values())
    (card,) = set(before) - set(idle_containers(world, engine))
    (other,) = set(before) - {card}
    assert engine.containers.get(lease).labels["gp.gpus"] == card
    assert happened(engine, since, before[card], "destroy") < happened(engine, since, lease, "start")
    (node,) = world.provider("gpus", "--json").json
    seen = {gpu["uuid"]: gpu.get("idle_job", {}).get("phase") for gpu in node["gpus"]}
    assert seen == {card: None, other: "running"}

    assert world.tenant("close", str(dseq)).status == 0
    world.kill("provider")  # while it is to come back
    world.start_provider()
    after = runs_on(world, engine, 2)
    assert after[other] == before[other], "it was in nobody's way"

    config.write_text(without)
    assert world.provider("reload").status == 0
    metrics = f"http://127.0.0.1:{world.metrics_port}/metrics"
    until(lambda: b"provider_gpu_idle_job_running{" not in fetch(metrics), "it is gone with its block")
