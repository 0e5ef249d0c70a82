"""Host names from end to end: a tenant's own file with a name in it, through the daemon's own proxy."""

from __future__ import annotations

import os
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import docker
import pytest

from provider.adapters.ingress.process import leftovers
from provider.app.demo.stage import free_port
from tests.e2e.world import ROOT, Outcome, World, running, until
from tests.integration.ingress.world import caddy

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]
DOMAIN = "apps.example.com"
SHOP = "shop.example.org"
LISTEN = f"127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def program() -> Iterator[Path]:
    """Where the proxy's user may run it."""
    folder = Path(tempfile.mkdtemp(prefix="gp-e2e-"))
    folder.chmod(0o755)
    shutil.copy(caddy(), folder / "caddy")
    yield folder / "caddy"
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, program: Path, engine: docker.DockerClient
) -> Iterator[World]:
    """A world whose provider has a domain."""
    made = World(
        folder=tmp_path_factory.mktemp("world"),
        provider_name=f"named-{os.getpid()}",
        provider_environment={
            "PROVIDER_INGRESS__DOMAIN": DOMAIN,
            "PROVIDER_INGRESS__HTTP": LISTEN,
            "PROVIDER_INGRESS__CADDY": str(program),
            "PROVIDER_INGRESS__BLOCKED": "[.bank.example]",
        },
    )
    with running(made, engine):
        yield made


def accepting(world: World, name: str) -> Path:
    """The example, with a name of its tenant's."""
    text = (ROOT / "manifests" / "hello-gpu.yaml").read_text()
    file = world.folder / f"{name}.yaml"
    file.write_text(text.replace("        as: 80\n", f"        as: 80\n        accept: [{name}]\n"))
    return file


def page(name: str) -> tuple[int, str]:
    """Status and text; 0 while nothing listens."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    asked = urllib.request.Request(f"http://{LISTEN}/", headers={"Host": name})
    try:
        with opener.open(asked, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, answer.read().decode()
    except OSError:
        return 0, ""


def card(world: World, dseq: int) -> str:
    """The GPU that is on a lease's page."""
    (lease,) = [
        each for each in world.provider("leases", "--json").json if int(each["id"]["order"]["dseq"]) == dseq
    ]
    (uuid,) = lease["gpu_uuids"]
    return str(uuid)


def test_a_service_is_reached_under_its_names_until_it_ends(world: World, hello: str) -> None:
    file = accepting(world, SHOP)
    first = world.rent(file, "--image", f"hello={hello}")
    gpu = card(world, first)
    until(lambda: gpu in page(SHOP)[1], "the service answers under its tenant's name")
    assert world.lease(first).get("ports", []) == [], "a name takes no port of the host"
    (lease,) = world.provider("leases", "--json").json
    own = f"{lease['key']}.{DOMAIN}"
    assert gpu in page(own)[1]
    assert page("nobody.example.org") == (404, "404 there is no service of this name here\n")
    told = world.tenant("exec", str(first), "hello", "--", "sh", "-c", "echo $PROVIDER_HOSTNAMES")
    assert told.out == f"{own},{SHOP}\n"
    shown = world.tenant("status", str(first))
    assert f"http://{SHOP}:{LISTEN.partition(':')[2]}" in shown.out

    second = world.rent(file, "--image", f"hello={hello}")
    assert gpu in page(SHOP)[1], "the first keeps it until it is moved"
    moved = world.tenant("migrate-hostnames", str(first), str(second), SHOP)
    assert moved.status == 0, moved.err
    other = card(world, second)
    until(lambda: other in page(SHOP)[1], "the name has moved")
    refused = world.tenant("migrate-hostnames", str(first), str(second), "nobodys.example.org")
    assert refused.status == 1
    assert "nobodys.example.org" in refused.err

    assert world.tenant("close", str(second)).status == 0
    until(lambda: gpu in page(SHOP)[1], "the first asks for it still")
    assert world.tenant("close", str(first)).status == 0
    until(lambda: world.provider("leases", "--json").json == [], "the provider has let go")
    assert (page(SHOP)[0], page(own)[0]) == (404, 404)


def told(outcome: Outcome) -> str | None:
    return outcome.out if outcome.status == 0 else None


def test_a_blocked_name_is_not_bid_on_and_the_reason_is_told(world: World, hello: str) -> None:
    dseq = world.deploy(accepting(world, "login.bank.example"), "--image", f"hello={hello}")
    why = until(lambda: told(world.provider("why", f"alice/{dseq}/1/1")), "it is decided")
    assert "hostname blocked" in why
    assert "login.bank.example" in why
    assert ".bank.example is blocked here" in why
    assert world.tenant("bids", str(dseq)).out.count(world.provider_name) == 0
    assert world.tenant("close", str(dseq)).status == 0


def test_names_are_served_again_after_a_kill(world: World, hello: str) -> None:
    dseq = world.rent(accepting(world, SHOP), "--image", f"hello={hello}")
    gpu = card(world, dseq)
    until(lambda: gpu in page(SHOP)[1], "the service answers")
    folder = str(world.folder / "provider" / "ingress")
    assert len(list(leftovers(folder))) == 1
    world.kill("provider")
    until(lambda: not alive(folder), "no proxy is left of a killed daemon")
    world.start_provider()
    until(lambda: gpu in page(SHOP)[1], "the service answers again")
    assert world.tenant("close", str(dseq)).status == 0
    until(lambda: world.provider("leases", "--json").json == [], "the provider has let go")


def alive(folder: str) -> bool:
    with suppress(OSError):
        return bool(list(leftovers(folder)))
    return True


def test_the_doctor_looks_at_the_proxy(world: World, program: Path) -> None:
    found = {each["check"]: each for each in world.provider("doctor", "--json").json}
    assert found["ingress.caddy"]["found"].startswith(f"{program}, version 2.")
    assert found["ingress.tls"]["is_well"] is False
    assert "ingress.domain" in found
    assert found["ingress.http"]["found"].startswith(LISTEN)
