"""Names that lead into real containers: found at their own addresses, wherever the engine puts them."""

from __future__ import annotations

import asyncio
import http.client
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from provider.adapters.clock import SystemClock
from provider.adapters.ingress.ingress import Ingress
from provider.adapters.ingress.settings import IngressSettings
from provider.adapters.runtime import DockerRuntime, naming
from provider.app.demo.stage import free_port
from provider.core.state import AgentState
from provider.domain.ids import LeaseId
from provider.domain.manifest import Expose
from tests.integration.ingress.world import open_folder
from tests.integration.runtime.conftest import Run
from tests.launches import eventually, launch, lease_id, replica, service
from tests.named import DOMAIN, Port, running, state

pytestmark = pytest.mark.docker
PAGE = "mkdir -p /tmp/www && echo {name} >/tmp/www/index.html && exec httpd -f -p 8080 -h /tmp/www"


def named(lease: LeaseId) -> AgentState:
    """An agent whose one lease is ``lease``, its service ``web`` served under a name."""
    of = replace(running(1, {"web": [Port(port=8080)]}), id=lease)
    return replace(state(of), leases={lease: of})


def get(address: tuple[str, int], name: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(*address, timeout=10)
    try:
        connection.request("GET", "/", headers={"Host": name})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_a_container_is_reached_without_a_port_and_after_its_address_changed(
    on_docker: Run, client: docker.APIClient
) -> None:
    lease = lease_id()
    web = service("web", PAGE.format(name="$HOSTNAME"), expose=(Expose(port=8080, is_global=True),), count=2)
    name = f"{lease.key}.{DOMAIN}"

    async def check(runtime: DockerRuntime) -> None:
        with open_folder() as folder:
            served = settings(folder)
            async with Ingress(served, lambda: named(lease), runtime, SystemClock()):

                async def ask() -> tuple[int, str]:
                    return await asyncio.to_thread(get, served.http, name)

                assert (await ask())[0] == 503, "nothing runs yet"
                await runtime.start(launch(replica(web), replica(web, 1), lease=lease))
                pages: set[str] = set()
                async with asyncio.timeout(30):
                    while len(pages) < 2:
                        status, page = await ask()
                        pages |= {page} if status == 200 else set()
                await asyncio.to_thread(move, client, lease)
                assert await eventually(ask, lambda answer: answer[0] == 200)
                for number in (0, 1):
                    client.kill(naming.container_name(lease, "web", number))
                await eventually(ask, lambda answer: answer[0] == 503)

    on_docker(check)


def settings(folder: Path) -> IngressSettings:
    return IngressSettings(
        http=("127.0.0.1", free_port()),
        https=("127.0.0.1", free_port()),
        program=str(folder / "caddy"),
        folder=folder / "state",
    )


def move(client: docker.APIClient, lease: LeaseId) -> None:
    """Give both containers other addresses, as a restart may."""
    network = naming.network_name(lease)
    taken = {}
    for number in (0, 1):
        name = naming.container_name(lease, "web", number)
        told = client.inspect_container(name)
        taken[name] = told["NetworkSettings"]["Networks"][network]["IPAddress"]
        client.disconnect_container_from_network(name, network)
    for place, name in enumerate(taken, start=9):
        head, _, _ = taken[name].rpartition(".")
        low = int(taken[name].rpartition(".")[2]) // 16 * 16
        client.connect_container_to_network(name, network, ipv4_address=f"{head}.{low + place}")
