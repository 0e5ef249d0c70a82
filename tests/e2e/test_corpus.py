"""Other people's files, unmodified, end to end on a real engine: what they name is answered by a mirror.

With Redis (``test_redis``) seven of them: a database and who asks it, over a restart of the database with its
persistent storage; a guard and the page that it guards; a volume of 20 GiB; a VPN's UDP ports at an audited
provider; a model's server with a GPU, shared memory, ``command`` and ``args``, on cores and memory that are
promised several times over.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from provider.app.loopback_registry import ImageConfig, Registry
from provider.domain.resources import GIB
from tests.e2e import debian_images as images
from tests.e2e.datagrams import echo
from tests.e2e.world import ROOT, World, running, until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]
FILES = ROOT.parent / "shared" / "sdl-corpus" / "awesome"
ROOM = 30 * GIB
AUDITOR = "akash1365yvmc4s7awdyj3n2sav7xfx76adc6dnmlx63"
DATABASE = ImageConfig(entrypoint=(images.ENTRY,), volumes=("/var/lib/postgresql/data",))
PROGRAM = ImageConfig(entrypoint=(images.ENTRY,))


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, registry: Registry, engine: docker.DockerClient
) -> Iterator[World]:
    """A world whose engine finds the files' images in one mirror."""
    if not FILES.exists():
        pytest.skip(f"needs other people's files beside the project: {FILES.relative_to(ROOT.parent)}")
    named = asyncio.run(push_all(registry, tmp_path_factory.mktemp("programs")))
    mirrors = ", ".join(f"{name}: {registry.address!r}" for name in ("docker.io", "ghcr.io", "docker.n8n.io"))
    made = World(
        folder=tmp_path_factory.mktemp("corpus"),
        provider_name=f"corpus-{os.getpid()}",
        ports="32200-32219",
        provider_environment={
            "PROVIDER_IMAGES__MIRRORS": f"{{{mirrors}}}",
            "PROVIDER_BIDDING__ATTRIBUTES": "{host: akash}",
            "PROVIDER_RESERVE__MEMORY_BYTES": "0",
            "PROVIDER_BIDDING__OVERCOMMIT_CPU": "10",
            "PROVIDER_BIDDING__OVERCOMMIT_MEMORY": "3",
            "PROVIDER_BIDDING__OVERCOMMIT_STORAGE": "3",
        },
    )
    made.provider_environment |= audited(made)
    with running(made, engine):
        yield made
    for image in engine.images.list():
        for tag in image.tags:
            if any(tag.endswith(name) for name in named):
                engine.images.remove(tag, force=True)


def audited(world: World) -> dict[str, str]:
    """The auditor whom the VPN's file names has looked at this provider, and signed what it saw."""
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = world.folder / "auditor.key", world.folder / "auditor.pem"
    plain = serialization.NoEncryption()
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    statements = world.folder / "statements"
    statements.mkdir()
    sign = ["attributes", "sign", world.provider_name, "region=lab", "--key", str(private)]
    signed = world.provider(*sign, "--auditor", AUDITOR)
    assert signed.status == 0, signed.err
    (statements / "lab.json").write_text(signed.out)
    return {
        "PROVIDER_BIDDING__AUDITORS": f"{{{AUDITOR}: {str(public)!r}}}",
        "PROVIDER_BIDDING__AUDITED": str(statements),
    }


async def push_all(registry: Registry, folder: Path) -> list[str]:
    """The names under which they were pushed."""
    database = images.root("postgresql", entry=images.POSTGRES)
    asks = images.root("postgresql", entry=images.ASKS_POSTGRES)
    site = {"etc/nginx/sites-enabled/default": images.NGINX_SITE}
    wanted = {
        "library/postgres:14.19-alpine3.21": (database, DATABASE),
        "library/postgres:15-alpine": (database, DATABASE),
        "metabase/metabase:v0.54.19.3": (asks, PROGRAM),
        "n8nio/n8n:1.123.11": (asks, PROGRAM),
        "library/nginx:latest": (images.root("nginx", entry=images.NGINX, files=site), PROGRAM),
        "techarohq/anubis:latest": (images.root(entry=images.GUARDS), PROGRAM),
        "baserow/baserow:2.2.2": (images.root(entry=images.KEEPS), PROGRAM),
        "andrey01/softether:4.38-9760-2": (
            images.root(
                entry=images.ECHOES.format(ports="500 1194 4500"),
                programs={"bin/echoes": images.compiled(images.ECHO_C, folder)},
            ),
            PROGRAM,
        ),
        "lmsysorg/sglang:v0.4.5.post3-cu125-srt": (
            images.root(
                entry=images.GUARDS,
                programs={"bin/bash": images.BASH.encode(), "bin/python3": images.SERVES_A_MODEL.encode()},
            ),
            PROGRAM,
        ),
    }
    for name, (root, config) in wanted.items():
        await registry.push(root, name, config)
    return list(wanted)


def page(world: World, dseq: int, service: str, path: str = "/") -> str | None:
    """What ``service`` serves at its host port; None while it does not."""
    ports = {each["service"]: each["host_port"] for each in world.lease(dseq)["ports"]}
    if service not in ports:
        return None  # it is being repaired
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{ports[service]}{path}", timeout=5) as answer:
            text: str = answer.read().decode()
            return text
    except (urllib.error.URLError, OSError):
        return None


def end(world: World, dseq: int) -> None:
    assert world.tenant("close", str(dseq)).status == 0
    until(lambda: world.provider("leases", "--json").json == [], "the provider has let go")


def test_metabase_finds_its_database(world: World) -> None:
    file = FILES / "metabase__deploy.yaml"
    before = file.read_bytes()
    dseq = world.rent(file)
    assert until(lambda: page(world, dseq, "metabase"), "it has asked its database", 60) == "seen 1\n"
    assert file.read_bytes() == before
    end(world, dseq)


def test_n8n_keeps_its_database_over_a_restart(world: World) -> None:
    dseq = world.rent(FILES / "n8n__deploy-with-postgres.yml")
    asked = until(lambda: page(world, dseq, "n8n"), "it has asked its database", 60)
    assert asked.endswith("seen 1\n")
    for service in ("postgres", "n8n"):
        restarted = world.tenant("restart", str(dseq), service)
        assert restarted.status == 0, restarted.err
    again = until(
        lambda: (text := page(world, dseq, "n8n") or "").endswith("seen 2\n") and text,
        "the database has what it had",
        60,
    )
    assert again
    end(world, dseq)


def test_anubis_guards_nginx(world: World) -> None:
    dseq = world.rent(FILES / "anubis__deploy.yml")
    shown = until(lambda: page(world, dseq, "anubis"), "it has the page that it guards", 60)
    assert "Welcome to nginx" in shown
    end(world, dseq)


def test_baserow_gets_the_storage_that_it_asks_for(world: World) -> None:
    if shutil.disk_usage(world.folder).free < ROOM:
        pytest.skip("needs 30 GiB of disk for a volume of 20")
    dseq = world.rent(FILES / "baserow__deploy.yaml")
    until(lambda: page(world, dseq, "baserow", "/starts"), "it serves what it keeps", 60)
    assert [path.stat().st_size for path in world.volume_files()] == [20 * GIB]
    end(world, dseq)
    assert world.volume_files() == []


def test_softether_is_reached_by_udp_at_a_provider_that_its_auditor_knows(world: World) -> None:
    dseq = world.rent(FILES / "softether-vpn__deploy.yaml")
    ports = world.lease(dseq)["ports"]
    datagrams = {each["external_port"]: each["host_port"] for each in ports if each["proto"] == "UDP"}
    assert (sorted(datagrams), len(ports)) == ([500, 1194, 4500], 7)
    for port in datagrams.values():
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.settimeout(0.5)
            assert until(lambda: echo(client, int(port)), "the datagram comes back") == b"hello"  # noqa: B023 - asked at once
    end(world, dseq)


def test_mistral_has_its_model_its_gpu_and_its_shared_memory(world: World) -> None:
    if shutil.disk_usage(world.folder).free < 45 * GIB:
        pytest.skip("needs 45 GiB of disk for a volume of 30")
    dseq = world.rent(FILES / "Mistral-7B__deploy.yaml")
    shown = until(lambda: page(world, dseq, "vllm"), "it serves its model", 60).split("\n")
    assert shown[0] == "model mistralai/Mistral-7B-Instruct-v0.3"
    assert shown[1].split()[2] == str(10 * GIB // 1024)
    (node,) = world.provider("gpus", "--json").json
    (held,) = [gpu["uuid"] for gpu in node["gpus"] if "lease" in gpu]
    assert shown[2] == f"GPUs {held}"
    assert [path.stat().st_size for path in world.volume_files()] == [30 * GIB]
    end(world, dseq)
    assert world.volume_files() == []
