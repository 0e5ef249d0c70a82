"""Manifests of our own really run: several services, private names and ports, a volume that is kept, secrets,
UDP, shared memory.

The images that the file names cannot be had in a test; the market's own small one stands in for each.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from provider.app import busybox_image
from provider.app.loopback_registry import ImageConfig, Registry
from tests.e2e import debian_images as images
from tests.e2e.datagrams import echo
from tests.e2e.leftovers import containers_of
from tests.e2e.world import ROOT, TOOLS, World, running, until
from tests.prometheus import fetch

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]
WEB = ROOT / "manifests" / "web-with-database.yaml"
DATA = "/var/lib/postgresql/data"
UDP_AND_RAM = """
version: "2.0"
services:
  echoes:
    image: {image}
    expose: [{{port: 9005, proto: udp, to: [{{global: true}}]}}]
    params: {{storage: {{shm: {{mount: /dev/shm}}}}}}
profiles:
  compute:
    echoes:
      resources:
        cpu: {{units: 0.1}}
        memory: {{size: 64Mi}}
        storage:
          - size: 64Mi
          - {{name: shm, size: 48Mi, attributes: {{persistent: false, class: ram}}}}
  placement:
    here: {{pricing: {{echoes: {{denom: uact, amount: 1000}}}}}}
deployment:
  echoes: {{here: {{profile: echoes, count: 1}}}}
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, engine: docker.DockerClient) -> Iterator[World]:
    """A world whose provider has two cards and a slice of a third."""
    made = World(
        folder=tmp_path_factory.mktemp("world"),
        provider_name=f"manifests-{os.getpid()}",
        provider_environment={
            "PROVIDER_GPU__SIMULATE": "[{model: h100, count: 2}, {model: h100-1g.10gb}]",
            "PROVIDER_RESERVE__MEMORY_BYTES": "0",
        },
    )
    with running(made, engine):
        yield made


@pytest.fixture(scope="module")
def database(registry: Registry) -> str:
    """The hello image, which also listens where a database does."""
    entry = f"httpd -f -p 5432 -h /tmp & exec {' '.join(busybox_image.ENTRYPOINT)}"
    config = ImageConfig(entrypoint=("sh", "-c", entry), env=(busybox_image.PATH_ENV,))
    root = busybox_image.root_tar(busybox_image.find_busybox(TOOLS))
    return asyncio.run(registry.push(root, "database:1", config))


def test_a_web_service_and_its_database(
    world: World, hello: str, database: str, engine: docker.DockerClient
) -> None:
    secret = world.folder / "secrets.env"
    secret.write_text("POSTGRES_PASSWORD=correct horse\n")
    stand_ins = ("--image", f"web={hello}", "--image", f"db={database}")
    dseq = world.rent(WEB, "--env-file", str(secret), *stand_ins)
    assert len(containers_of(engine, world.provider_name)) == 2

    # The world reaches the web service and nothing else.
    (port,) = world.lease(dseq)["ports"]
    assert (port["service"], port["external_port"]) == ("web", 80)
    page = until(lambda: answer(f"http://127.0.0.1:{port['host_port']}/"), "the web service answers")
    assert "service:  web" in page

    # The web service finds its database by name, and the database has its secret.
    found = world.tenant("exec", str(dseq), "web", "--", "wget", "-qO-", "http://db:8080/")
    assert "service:  db" in found.out, found.err
    told = world.tenant("exec", str(dseq), "db", "--", "sh", "-c", 'echo "$POSTGRES_PASSWORD"')
    assert told.out == "correct horse\n"
    assert "correct horse" not in world.log("provider") + world.log("coordinator")

    # What is in the volume is still there when the container is another one.
    kept = world.tenant("exec", str(dseq), "db", "--", "sh", "-c", f"echo kept > {DATA}/file")
    assert kept.status == 0, kept.err
    before = set(containers_of(engine, world.provider_name))
    for each in engine.containers.list(filters={"label": f"gp.provider={world.provider_name}"}):
        if each.labels["gp.service"] == "db":
            each.remove(force=True)
    until(
        lambda: len(now := set(containers_of(engine, world.provider_name))) == 2 and now != before, "repaired"
    )
    until(
        lambda: world.tenant("exec", str(dseq), "db", "--", "cat", f"{DATA}/file").out == "kept\n", "the file"
    )
    assert world.tenant("close", str(dseq)).status == 0
    until(lambda: world.provider("leases", "--json").json == [], "the provider has let go")


def test_a_slice_is_told_from_a_card_by_its_memory(world: World, hello: str) -> None:
    dseq = world.rent(ROOT / "manifests" / "mig-slice.yaml", "--image", f"small={hello}")
    (node,) = world.provider("gpus", "--json").json
    (held,) = [gpu for gpu in node["gpus"] if "lease" in gpu]
    assert held["name"] == "SIMULATED NVIDIA H100 80GB HBM3 MIG 1g.10gb"
    seen = world.tenant("exec", str(dseq), "small", "--", "sh", "-c", 'echo "$PROVIDER_SIMULATED_GPUS"')
    assert seen.out == f"{held['uuid']}\n"
    assert world.tenant("close", str(dseq)).status == 0
    until(lambda: world.provider("leases", "--json").json == [], "the provider has let go")


def test_udp_and_shared_memory(world: World, registry: Registry, tmp_path: Path) -> None:
    root = images.root(
        entry=images.ECHOES.format(ports=9005),
        programs={"bin/echoes": images.compiled(images.ECHO_C, tmp_path)},
    )
    image = asyncio.run(registry.push(root, "echoes:1", ImageConfig(entrypoint=(images.ENTRY,))))
    file = tmp_path / "echoes.yaml"
    file.write_text(UDP_AND_RAM.format(image=image))
    dseq = world.rent(file)
    (port,) = world.lease(dseq)["ports"]
    assert (port["proto"], port["external_port"]) == ("UDP", 9005)
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(0.5)
        assert until(lambda: echo(client, int(port["host_port"])), "the datagram comes back") == b"hello"
    shm = world.tenant("exec", str(dseq), "echoes", "--", "sh", "-c", "df -k /dev/shm | tail -n 1")
    assert shm.out.split()[1] == str(48 * 1024), shm.out + shm.err
    assert world.tenant("close", str(dseq)).status == 0
    until(lambda: world.provider("leases", "--json").json == [], "the provider has let go")


def answer(url: str) -> str | None:
    try:
        return fetch(url).decode()
    except OSError:
        return None
