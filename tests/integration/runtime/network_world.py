"""An engine's surroundings, played by a namespace that the test makes: no packet leaves the two of them.

The engine's own namespace is the host: 192.168.77.2 on its LAN, 198.51.100.2 in public, with services of its
own. The other one is everything else: a neighbour on the LAN, a private network behind it, a cloud's metadata
address, a public neighbour on the host's link, a name server, and the internet.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from provider.adapters.clock import SystemClock
from provider.adapters.runtime import DockerRuntime, DockerSettings
from provider.adapters.runtime.egress.settings import NetworkSettings
from provider.domain.ids import ProviderId
from tests.engine_images import IMAGES
from tests.integration.runtime import packets
from tests.integration.runtime.engines import SecondEngine, second_engine

HOST_LAN, HOST_PUBLIC, HOST_V6 = "192.168.77.2", "198.51.100.2", "fd00:77::2"
ROUTER, NEIGHBOUR, BEHIND = "192.168.77.1", "192.168.77.7", "10.99.0.1"
METADATA, PUBLIC_NEIGHBOUR, RESOLVER = "169.254.169.254", "198.51.100.7", "192.168.77.53"
INTERNET, OUTSIDE_V6, GUEST_V6 = packets.INTERNET, "fd00:77::1", "fd00:213::2"
PROVIDER = "p1"
TABLE = f"gp-{PROVIDER}"
SUBNETS = "10.213.0.0/16"
SERVICE = 9000
"""A port on which everybody answers."""

_OUTSIDE = (ROUTER, NEIGHBOUR, BEHIND, METADATA, PUBLIC_NEIGHBOUR, RESOLVER, INTERNET, OUTSIDE_V6)
_OUTSIDE_PORTS = (25, 53, 80, 443, 587, packets.SOURCE, packets.SINK, SERVICE)
_HOST_PORTS = (22, 53, SERVICE)

Target = tuple[str, str, int]
"""``tcp`` or ``udp``, address, port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Of one engine."""

    engine: SecondEngine
    outside: str
    """Path of the namespace that is everything but the host."""

    @property
    def host(self) -> str:
        return f"/run/netns/{self.engine.namespace}"

    def inside(self, container: str) -> str:
        """Path of a container's namespace."""
        with self.engine.client() as client:
            return f"/proc/{client.inspect_container(container)['State']['Pid']}/ns/net"

    def address(self, container: str) -> str:
        with self.engine.client() as client:
            (network,) = client.inspect_container(container)["NetworkSettings"]["Networks"].values()
            return str(network["IPAddress"])

    def leftovers(self) -> list[str]:
        """Tables and links of leases."""
        links = [line.split()[1].rstrip(":") for line in run(self.host, "ip", "-o", "link").splitlines()]
        tables = [line for line in self.nft("list", "tables").splitlines() if "gp-" in line]
        return tables + [each for each in links if each.startswith(("gp-", "gi-"))]

    def nft(self, *words: str) -> str:
        """Somebody's hand in the host's rules."""
        return run(self.host, "nft", *words)


@asynccontextmanager
async def agent(world: Surroundings, network: NetworkSettings) -> AsyncIterator[DockerRuntime]:
    """One life of an agent: leases stay when it ends."""
    settings = DockerSettings(
        provider=ProviderId(PROVIDER),
        socket=world.engine.socket,
        simulated_gpus=True,
        images=IMAGES,
        network=network,
    )
    async with DockerRuntime(settings, SystemClock()) as runtime:
        yield runtime


def lived(world: Surroundings, check: Callable[[], Coroutine[object, object, None]]) -> None:
    """Run ``check``; afterwards end all leases, and see that nothing is left of them."""

    async def stop_all() -> None:
        async with agent(world, NetworkSettings()) as runtime:
            for workload in await runtime.list():
                await runtime.stop(workload.lease, 0)

    try:
        asyncio.run(check())
    finally:
        asyncio.run(stop_all())
    assert world.leftovers() == []


def run(namespace: str, *argv: str, text: str = "") -> str:
    """What ``argv`` prints inside of ``namespace``."""
    command = ["nsenter", f"--net={namespace}", *argv]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout


def tool(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", packets.__name__, *arguments)


def reached(namespace: str, targets: Iterable[Target]) -> dict[Target, bool]:
    """Which of ``targets`` answer somebody in ``namespace``."""
    wanted = list(targets)
    answers = json.loads(run(namespace, *tool("ask"), text=json.dumps(wanted)))
    return dict(zip(wanted, answers, strict=True))


@contextmanager
def surrounded(program: Path) -> Iterator[Surroundings]:
    """An engine of ``program`` with all of it around."""
    with ExitStack() as stack:
        engine = stack.enter_context(second_engine(program))
        outside = f"{engine.namespace}-out"
        host = f"/run/netns/{engine.namespace}"
        _ip("netns", "add", outside)
        stack.callback(_ip, "netns", "delete", outside)
        _ip(
            *("link", "add", "lan0", "netns", engine.namespace, "type", "veth"),
            *("peer", "name", "eth0", "netns", outside),
        )
        _ip_in(engine.namespace, _HOST_SETUP)
        _ip_in(outside, _OUTSIDE_SETUP)
        run(host, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        # Otherwise the engine's own chains would stop some of what is to be stopped by ours.
        run(host, "iptables", "-I", "DOCKER-USER", "-j", "ACCEPT")
        stack.enter_context(_answering(f"/run/netns/{outside}", _OUTSIDE, _OUTSIDE_PORTS))
        stack.enter_context(_answering(host, ("0.0.0.0", "::1", HOST_V6), _HOST_PORTS))
        yield Surroundings(engine=engine, outside=f"/run/netns/{outside}")


_HOST_SETUP = f"""
address add {HOST_LAN}/24 dev lan0
address add {HOST_PUBLIC}/24 dev lan0
address add {HOST_V6}/64 dev lan0 nodad
link set lan0 up
route add default via {ROUTER}
"""
_OUTSIDE_SETUP = f"""
link set lo up
link set eth0 up
address add {ROUTER}/24 dev eth0
address add {NEIGHBOUR}/24 dev eth0
address add {RESOLVER}/24 dev eth0
address add {PUBLIC_NEIGHBOUR}/24 dev eth0
address add {OUTSIDE_V6}/64 dev eth0 nodad
address add {BEHIND}/32 dev lo
address add {METADATA}/32 dev lo
address add {INTERNET}/32 dev lo
route add {SUBNETS} via {HOST_LAN}
route add fd00:213::/64 via {HOST_V6}
"""


@contextmanager
def _answering(namespace: str, addresses: Iterable[str], ports: Iterable[int]) -> Iterator[None]:
    arguments = ",".join(addresses), ",".join(map(str, ports))
    command = ["nsenter", f"--net={namespace}", *tool("answer", *arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        process.kill()
        process.communicate()


@contextmanager
def guest_on(world: Surroundings, bridge: str, name: str) -> Iterator[str]:
    """Somebody with IPv6 on a lease's bridge, which then routes it; the path of its namespace."""
    _ip("netns", "add", name)
    try:
        _ip(
            *("link", "add", "v6", "netns", world.engine.namespace, "type", "veth"),
            *("peer", "name", "eth0", "netns", name),
        )
        _ip_in(
            world.engine.namespace,
            f"link set v6 master {bridge}\nlink set v6 up\naddress add fd00:213::1/64 dev {bridge} nodad\n",
        )
        _ip_in(name, f"link set eth0 up\naddress add {GUEST_V6}/64 dev eth0 nodad\n")
        _ip_in(name, "route add default via fd00:213::1\n")
        with _answering(f"/run/netns/{name}", (GUEST_V6,), (SERVICE,)):
            yield f"/run/netns/{name}"
    finally:
        _ip("netns", "delete", name)


@contextmanager
def counted(namespace: str, source: str) -> Iterator[Callable[[], int]]:
    """How many packets have come into a namespace from an address."""
    chain = "add chain ip counted p { type filter hook prerouting priority -300; }"
    run(namespace, "nft", f"add table ip counted; {chain}; add rule ip counted p ip saddr {source} counter")
    try:
        yield lambda: int(
            run(namespace, "nft", "list", "table", "ip", "counted").split("packets ")[1].split()[0]
        )
    finally:
        run(namespace, "nft", "delete", "table", "ip", "counted")


@contextmanager
def holding(namespace: str, address: str, port: int) -> Iterator[Callable[[], bool]]:
    """A connection that stays open, as far as its owner knows; whether it still carries anything."""
    command = ["nsenter", f"--net={namespace}", *tool("hold", address, str(port))]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        told, said = process.stdin, process.stdout
        assert told is not None
        assert said is not None
        assert said.readline() == "open\n"

        def answers() -> bool:
            told.write("still there?\n")
            return said.readline() == "answers\n"

        try:
            yield answers
        finally:
            process.kill()


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def _ip_in(namespace: str, batch: str) -> None:
    subprocess.run(
        ["ip", "-n", namespace, "-batch", "-"], input=batch, text=True, check=True, capture_output=True
    )
