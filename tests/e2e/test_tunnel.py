"""A provider that nobody can dial: every command of a tenant works all the same, through the coordinator."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import docker
import pytest

from provider.app.demo.stage import program_argv
from tests.e2e.world import ROOT, World, running, until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]
HELLO = ROOT / "manifests" / "hello-gpu.yaml"
THROUGH = "through the coordinator"
MANY = 3 * 1024 * 1024


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, engine: docker.DockerClient) -> Iterator[World]:
    """A world whose provider tells no address."""
    made = World(
        folder=tmp_path_factory.mktemp("tunnel"),
        provider_name=f"tunnel-{os.getpid()}",
        provider_environment={"PROVIDER_LEASE__ADVERTISE": "none"},
    )
    with running(made, engine):
        yield made


def test_a_lease_behind_nat_and_both_daemons_killed_under_it(world: World, hello: str) -> None:
    dseq = world.rent(HELLO, "--image", f"hello={hello}")  # the manifest went through a tunnel too
    assert world.lease(dseq).get("lease_address", "") == ""
    shell = ("exec", str(dseq), "hello", "--")
    logs = world.tenant("--verbose", "logs", str(dseq), "hello", "--tail", "50")
    assert "serving on port 8080" in logs.out
    assert THROUGH in logs.err
    assert world.tenant(*shell, "sh", "-c", "echo out; exit 7").status == 7
    sent = "0123456789abcdef" * (MANY // 16)
    assert world.tenant("exec", "-i", *shell[1:], "cat", stdin=sent).out == sent

    for victim, start in (("coordinator", world.start_coordinator), ("provider", world.start_provider)):
        with _running(world, *shell, "sh", "-c", "echo begun; sleep 600") as command:
            world.kill(victim, signal.SIGKILL)
            _, err = command.communicate(timeout=60)
            assert command.returncode not in {0, 7}, err
            assert THROUGH in err, err
            assert "Try: try again in a moment" in err, err
        start()
        until(lambda: world.tenant(*shell, "true").status == 0, f"tunnels work after {victim} was killed")
    assert "tunnel_ended" in world.log("coordinator")
    assert world.tenant("close", str(dseq)).status == 0
    until(lambda: world.provider("leases", "--json").json == [], "the provider has let go")


def _running(world: World, *arguments: str) -> subprocess.Popen[str]:
    """A tenant's command, once it has said something."""
    argv = [*program_argv("tenant"), "--home", str(world.folder / "tenant"), *arguments]
    command = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert command.stdout is not None
    assert command.stdout.readline() == "begun\n"
    return command
