"""What a lease uses, from the kernel's books to its tenant, its operator and a scrape: over kill -9 and
restarts of its container, until its end."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any
from urllib.request import urlopen

import docker
import pytest

from provider.app.demo.stage import program_argv
from tests.e2e.leftovers import containers_of
from tests.e2e.world import ROOT, World, until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]
HELLO = ROOT / "manifests" / "hello-gpu.yaml"
BURN = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"
"""Some tenths of a second of CPU."""


def used(world: World) -> Any:
    """Of the only lease, as its operator sees it; None before the first sample."""
    (lease,) = world.provider("leases", "--json").json
    return lease.get("usage")


def cpu_s(world: World) -> float:
    usage = used(world)
    return float(usage["services"][0]["cpu_s"]) if usage and usage["services"] else 0.0


def burn(world: World, dseq: int) -> None:
    """It shows in the total, from what it was."""
    before = cpu_s(world)
    assert world.tenant("exec", str(dseq), "hello", "--", "sh", "-c", BURN).status == 0
    until(lambda: cpu_s(world) >= before + 0.1, "what was done is counted")


def series(world: World) -> list[str]:
    """What a scrape has of leases, but for those that are of all of them."""
    with urlopen(f"http://127.0.0.1:{world.metrics_port}/metrics", timeout=10) as page:
        lines = page.read().decode().splitlines()
    return [line for line in lines if line.startswith("provider_lease_") and "lease=" in line]


@contextmanager
def beside(*argv: str) -> Iterator[IO[str]]:
    """The output of a command that goes on meanwhile."""
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout
        finally:
            process.terminate()


def test_totals_live_through_everything_but_the_leases_end(
    world: World, hello: str, engine: docker.DockerClient
) -> None:
    dseq = world.rent(HELLO, "--image", f"hello={hello}")
    until(lambda: used(world), "the first sample")
    burn(world, dseq)
    shown = used(world)
    (card,) = shown["gpus"]
    until(lambda: float(used(world)["gpus"][0]["energy_joules"]) > 0, "the simulated card draws power")
    assert card["uuid"].startswith("GPU-SIM-")

    before = used(world)
    world.kill("provider")
    world.start_provider()
    after = until(lambda: used(world), "a sample of the next life")
    for figure in ("busy_s", "energy_joules"):
        assert float(after["gpus"][0][figure]) >= float(before["gpus"][0][figure]), figure
    assert float(after["services"][0]["cpu_s"]) >= float(before["services"][0]["cpu_s"])
    assert after["services"][0]["restarts"] == 0

    until(lambda: world.provider("status").status == 0, "connected again")
    total = cpu_s(world)
    assert world.tenant("restart", str(dseq), "hello").status == 0
    until(lambda: used(world)["services"][0]["restarts"] == 1, "the restart is counted")
    assert cpu_s(world) >= total
    burn(world, dseq)

    (told,) = world.tenant("usage", str(dseq), "--json").json
    assert float(told["usage"]["services"][0]["cpu_s"]) >= total
    said = world.tenant("usage", str(dseq)).out
    assert "SERVICE" in said
    assert card["uuid"] in said
    assert "hello" in world.tenant("status", str(dseq)).out
    assert any(line.startswith("provider_lease_cpu_seconds_total") for line in series(world))

    assert world.tenant("close", str(dseq)).status == 0
    until(lambda: world.provider("leases", "--json").json == [], "the provider has let go")
    until(lambda: not series(world), "its series are gone")
    assert not containers_of(engine, world.provider_name)
    assert world.tenant("usage", str(dseq)).err.splitlines()[0] == f"deployment {dseq} has no lease that runs"


def test_watching_goes_on_and_ends_with_the_lease(world: World, hello: str) -> None:
    dseq = world.rent(HELLO, "--image", f"hello={hello}")
    until(lambda: used(world), "the first sample")
    tenant_argv = [*program_argv("tenant"), "--home", str(world.folder / "tenant")]
    operator_argv = [*program_argv("provider"), "--config", str(world.folder / "provider.yaml")]
    with (
        beside(*tenant_argv, "usage", str(dseq), "--watch", "--json") as tenant,
        beside(*operator_argv, "leases", "--watch", "--json") as operator,
    ):
        for _ in range(2):
            (told,) = json.loads(tenant.readline())
            assert told["usage"]["services"][0]["service"] == "hello"
            (lease,) = json.loads(operator.readline())
            assert lease["usage"]["services"][0]["service"] == "hello"
        assert world.tenant("close", str(dseq)).status == 0
        assert all(json.loads(line) for line in tenant), "it ends, and every line is whole"
