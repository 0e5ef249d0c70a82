"""Other people's files, unmodified, end to end on a real engine: what they name is answered by a mirror.

With Redis (``test_redis``) five of them: a database and who asks it, over a restart of the database with its
persistent storage; a guard and the page that it guards; a volume of 20 GiB. Files with ``ram`` storage want
more cores than a small machine has, those with UDP ask for audited providers or leased addresses: a manifest
of our own stands in for these (``test_manifests``).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator

import docker
import pytest

from provider.app.loopback_registry import ImageConfig, Registry
from provider.domain.resources import GIB
from tests.e2e import debian_images as images
from tests.e2e.world import ROOT, World, running, until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]
FILES = ROOT.parent / "shared" / "sdl-corpus" / "awesome"
ROOM = 30 * GIB
DATABASE = ImageConfig(entrypoint=(images.ENTRY,), volumes=("/var/lib/postgresql/data",))
PROGRAM = ImageConfig(entrypoint=(images.ENTRY,))


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, registry: Registry, engine: docker.DockerClient
) -> Iterator[World]:
    """A world whose engine finds the files' images in one mirror."""
    if not FILES.exists():
        pytest.skip(f"needs other people's files beside the project: {FILES.relative_to(ROOT.parent)}")
    named = asyncio.run(push_all(registry))
    mirrors = ", ".join(f"{name}: {registry.address!r}" for name in ("docker.io", "ghcr.io", "docker.n8n.io"))
    made = World(
        folder=tmp_path_factory.mktemp("corpus"),
        provider_name=f"corpus-{os.getpid()}",
        ports="32200-32219",
        provider_environment={
            "PROVIDER_IMAGES__MIRRORS": f"{{{mirrors}}}",
            "PROVIDER_BIDDING__ATTRIBUTES": "{host: akash}",
            "PROVIDER_RESERVE__MEMORY_BYTES": "0",
        },
    )
    with running(made, engine):
        yield made
    for image in engine.images.list():
        for tag in image.tags:
            if any(tag.endswith(name) for name in named):
                engine.images.remove(tag, force=True)


async def push_all(registry: Registry) -> list[str]:
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
