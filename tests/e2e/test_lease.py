"""One lease by hand, the way the README tells it: every command of the three roles, and what it shows."""

from __future__ import annotations

import signal

import docker
import pytest

from tests.e2e.leftovers import containers_of
from tests.e2e.world import ROOT, World, until
from tests.prometheus import fetch, prometheus, promtool_complaints

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]
HELLO = ROOT / "manifests" / "hello-gpu.yaml"


def page(world: World, dseq: int) -> str | None:
    try:
        return fetch(f"http://127.0.0.1:{world.host_port(dseq)}/").decode()
    except OSError:
        return None


def test_a_lease_from_deposit_to_refund(world: World, hello: str) -> None:
    before = world.tenant("balance", "--json").json["available"][0]
    dseq = world.rent(HELLO, "--image", f"hello={hello}")

    (gpu,) = [gpu for node in world.provider("gpus", "--json").json for gpu in node["gpus"] if "lease" in gpu]
    assert gpu["simulated"] is True
    shown = until(lambda: page(world, dseq), "the service answers")
    assert gpu["uuid"] in shown
    assert "SIMULATED" in shown

    logs = world.tenant("logs", str(dseq), "hello", "--tail", "50")
    assert f"hello: serving on port 8080, lease alice/{dseq}/1/1/{world.provider_name}" in logs.out
    assert world.tenant("exec", str(dseq), "hello", "--", "sh", "-c", "echo out; exit 7").status == 7
    nowhere = world.tenant("exec", str(dseq), "nosuch", "--", "true")
    assert nowhere.status == 125
    assert nowhere.err.startswith(f"nosuch/0 of alice/{dseq}/1/1/{world.provider_name} does not run here")
    assert (
        world.tenant("exec", "-i", str(dseq), "hello", "--", "cat", stdin="through and back\n").out
        == "through and back\n"
    )

    (lease,) = world.provider("leases", "--json").json
    assert lease["gpu_uuids"] == [gpu["uuid"]]
    metrics = fetch(f"http://127.0.0.1:{world.metrics_port}/metrics").decode()
    assert f'provider_lease_gpu_info{{lease="{lease["key"]}",uuid="{gpu["uuid"]}"}} 1.0' in metrics
    assert f'uuid="{gpu["uuid"]}"' in metrics
    assert 'simulated="true"' in metrics

    until(lambda: world.lease(dseq)["running_ms"] != "0", "the first usage report")
    closed = world.tenant("close", str(dseq))
    assert closed.status == 0, closed.err
    until(lambda: world.provider("leases", "--json").json == [], "the provider has let go")
    after = world.tenant("balance", "--json").json["available"][0]
    status = world.coordinator("status", "--json").json
    (earned,) = [
        each["balance"] for each in status["accounts"] if each["name"] == f"provider:{world.provider_name}"
    ]
    assert int(before["amount_micros"]) - int(after["amount_micros"]) == int(earned["amount_micros"]) > 0


def test_a_stopped_provider_leaves_its_lease_running_and_takes_it_up_again(
    world: World, hello: str, engine: docker.DockerClient
) -> None:
    dseq = world.rent(HELLO, "--image", f"hello={hello}")
    until(lambda: page(world, dseq), "the service answers")
    before = containers_of(engine, world.provider_name)

    assert world.kill("provider", signal.SIGTERM) == 0
    assert page(world, dseq) is not None
    world.start_provider()

    assert world.tenant("exec", str(dseq), "hello", "--", "true").status == 0
    assert containers_of(engine, world.provider_name) == before
    assert world.tenant("close", str(dseq)).status == 0
    until(lambda: world.provider("leases", "--json").json == [], "the provider has let go")


def test_a_real_prometheus_scrapes_the_agent_over_the_life_of_a_lease(world: World, hello: str) -> None:
    target = f"127.0.0.1:{world.metrics_port}"
    with prometheus(world.folder / "prometheus", target) as scraper:
        scraper.wait_for('up{job="provider"} == 1')
        dseq = world.rent(HELLO, "--image", f"hello={hello}")
        assert promtool_complaints(fetch(f"http://{target}/metrics")) == ""
        (lease,) = world.provider("leases", "--json").json
        key = lease["key"]
        ((labels, running),) = scraper.wait_for(f'provider_lease_state{{lease="{key}",state="running"}} == 1')
        assert (labels["job"], running) == ("provider", 1.0)
        (uuid,) = lease["gpu_uuids"]
        joined = "provider_lease_gpu_info * on(uuid) group_left(simulated) provider_gpu_info"
        ((labels, _),) = scraper.wait_for(f'({joined}) and on(lease) provider_lease_info{{lease="{key}"}}')
        assert (labels["uuid"], labels["simulated"]) == (uuid, "true")
        # A second of a running lease is billed as a second.
        ((_, per_second),) = scraper.wait_for(
            f'rate(provider_lease_gpu_seconds_total{{lease="{key}"}}[10s]) > 0.9'
        )
        assert per_second == pytest.approx(1.0, abs=0.1)
        assert world.tenant("close", str(dseq)).status == 0
        scraper.wait_for(f'absent(provider_lease_info{{lease="{key}"}})')
        ((labels, _),) = scraper.wait_for("provider_leases_closed_total > 0")
        assert labels["reason"] == "tenant_closed"
