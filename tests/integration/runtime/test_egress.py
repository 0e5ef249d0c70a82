"""What a lease reaches and what reaches it, by real packets in a world of namespaces.

Each forbidden way is first shown to be open without our rules: otherwise nothing here could fail.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from provider.adapters.runtime import naming
from provider.adapters.runtime.egress.settings import Destination, NetworkSettings
from provider.domain.workload import Launch, Workload
from tests.integration.runtime import network_world as net
from tests.integration.runtime import packets
from tests.integration.runtime.engines import machines_engine, newer_engine
from tests.integration.runtime.inside import shell
from tests.integration.runtime.network_world import Surroundings, Target, agent, lived, reached, run, tool
from tests.launches import IMAGE, eventually, launch, replica, service

pytestmark = [pytest.mark.docker, pytest.mark.timeout(120)]

OFF = NetworkSettings(filters=False)
ON = NetworkSettings(dns=(IPv4Address(net.RESOLVER),))
FIRST, OTHER = 31001, 31002
"""Ports of the host on which the leases are published."""

Ways = Mapping[str, tuple[Target, bool]]
"""Whom a lease asks, where, and whether it may."""

AWAY: Ways = {
    "internet": (("tcp", net.INTERNET, 443), True),
    "internet, udp": (("udp", net.INTERNET, net.SERVICE), True),
    "internet, submission": (("tcp", net.INTERNET, 587), True),
    "internet, smtp": (("tcp", net.INTERNET, 25), False),
    "resolver": (("tcp", net.RESOLVER, 53), True),
    "resolver, udp": (("udp", net.RESOLVER, 53), True),
    "resolver, another port": (("tcp", net.RESOLVER, 80), False),
    "another name server of the lan": (("udp", net.ROUTER, 53), False),
    "host by lan": (("tcp", net.HOST_LAN, net.SERVICE), False),
    "host by lan, udp": (("udp", net.HOST_LAN, net.SERVICE), False),
    "host by lan, ssh": (("tcp", net.HOST_LAN, 22), False),
    "host by its public address": (("tcp", net.HOST_PUBLIC, net.SERVICE), False),
    "router": (("tcp", net.ROUTER, 80), False),
    "lan": (("tcp", net.NEIGHBOUR, net.SERVICE), False),
    "lan, udp": (("udp", net.NEIGHBOUR, net.SERVICE), False),
    "private, behind the lan": (("tcp", net.BEHIND, net.SERVICE), False),
    "private, behind the lan, udp": (("udp", net.BEHIND, net.SERVICE), False),
    "metadata": (("tcp", net.METADATA, 80), False),
    "metadata, udp": (("udp", net.METADATA, 53), False),
    "public, but on the host's link": (("tcp", net.PUBLIC_NEIGHBOUR, net.SERVICE), False),
}


on_one_engine = pytest.mark.parametrize(
    "world", [pytest.param(newer_engine, id="docker-26")], indirect=True, scope="module"
)
"""For what does not depend on the engine."""


@pytest.fixture(scope="module", params=[machines_engine, newer_engine], ids=["docker", "docker-26"])
def world(request: pytest.FixtureRequest, hello_image: str) -> Iterator[Surroundings]:
    program: Path | None = request.param()
    if program is None:
        pytest.skip("no second engine: scripts/unpack-engine.sh")
    with net.surrounded(program) as made:
        made.engine.load(IMAGE)
        yield made


def published(host_port: int) -> Launch:
    """A lease of two services: one that answers on 8080, published, and one beside it."""
    return launch(
        replica(service(script=None), host_port=host_port), replica(service("db", "httpd -f -p 5432"))
    )


def container(workload: Workload, of: str = "web") -> str:
    return next(each.id for each in workload.containers if each.service == of)


def open_of(inside: str, ways: Ways) -> dict[str, bool]:
    """Which of ``ways`` answer somebody inside."""
    answers = reached(inside, [target for target, _ in ways.values()])
    return {name: answers[target] for name, (target, _) in ways.items()}


def allowed(ways: Ways) -> dict[str, bool]:
    return {name: may for name, (_, may) in ways.items()}


def test_a_lease_reaches_the_internet_and_itself_and_is_reached_by_what_it_publishes(
    world: Surroundings,
) -> None:
    async def check() -> None:
        first, other = published(FIRST), published(OTHER)
        async with agent(world, OFF) as runtime:
            a, b = await runtime.start(first), await runtime.start(other)
        inside = world.inside(container(a))
        gateway = run(inside, "ip", "-4", "route").split("default via ")[1].split()[0]
        web, db, others = (world.address(container(*each)) for each in ((a, "web"), (a, "db"), (b, "web")))
        ways: Ways = {
            **AWAY,
            "host by the gateway": (("tcp", gateway, net.SERVICE), False),
            "host by the gateway, dns": (("udp", gateway, 53), False),
            "own service": (("tcp", db, 5432), True),
            "own published port": (("tcp", net.HOST_PUBLIC, FIRST), True),
            "own published port by the gateway": (("tcp", gateway, FIRST), True),
            "another lease": (("tcp", others, 8080), False),
            "another lease's published port": (("tcp", net.HOST_PUBLIC, OTHER), False),
            "another lease's published port by the gateway": (("tcp", gateway, OTHER), False),
        }
        to_published, to_unpublished = ("tcp", net.HOST_PUBLIC, FIRST), ("tcp", db, 5432)
        by_route = [to_unpublished, ("tcp", web, 8080)]

        assert [name for name, is_open in open_of(inside, ways).items() if not is_open] == []
        assert all(reached(world.outside, [to_published, *by_route]).values())

        with net.holding(inside, net.NEIGHBOUR, net.SERVICE) as still_answers:
            assert still_answers()
            async with agent(world, ON) as runtime:
                await runtime.list()  # leases that run already are taken in

                assert open_of(inside, ways) == allowed(ways)
                answers = reached(world.outside, [to_published, *by_route])
                assert [target for target, answered in answers.items() if answered] == [to_published]
                assert reached(world.host, [to_unpublished]) == {
                    to_unpublished: True
                }  # for the host's own proxy
                assert not still_answers()  # although it began before the rules

    lived(world, check)


def test_names_are_found_and_a_lease_that_starts_is_fenced_in_from_its_first_packet(
    world: Surroundings,
) -> None:
    async def check() -> None:
        asks = (
            f"nc -w 1 {net.NEIGHBOUR} {net.SERVICE} </dev/null && touch /tmp/in; touch /tmp/asked; sleep 3600"
        )
        wanted = launch(replica(service(script=asks)), replica(service("db", "httpd -f -p 5432 -h /etc")))
        async with agent(world, ON) as runtime:
            await runtime.start(wanted)

            assert net.INTERNET in await shell(runtime, wanted.lease, "nslookup -type=a internet.test")
            assert "root" in await shell(runtime, wanted.lease, "wget -qO- http://db:5432/passwd")
            files = await eventually(
                lambda: shell(runtime, wanted.lease, "ls /tmp"), lambda listed: "asked" in listed
            )
            assert files == "asked"

    lived(world, check)


@on_one_engine
def test_nothing_of_ipv6_leaves_a_leases_bridge(world: Surroundings) -> None:
    async def check() -> None:
        wanted = launch()
        bridge, guest = naming.network_name(wanted.lease), f"{world.engine.namespace}-v6"
        ways = [("tcp", net.OUTSIDE_V6, 80), ("tcp", net.HOST_V6, 22), ("udp", net.OUTSIDE_V6, 53)]
        async with agent(world, OFF) as runtime:
            await runtime.start(wanted)
        with net.guest_on(world, bridge, guest) as inside:
            assert all(reached(inside, ways).values())
            async with agent(world, ON) as runtime:
                await runtime.list()

                assert not any(reached(inside, ways).values())
                assert not any(reached(world.outside, [("tcp", net.GUEST_V6, net.SERVICE)]).values())

    lived(world, check)


@on_one_engine
def test_nobody_sends_in_another_ones_name(world: Surroundings) -> None:
    """A sender's address that is not its bridge's: a way to lay things at somebody else's door."""

    async def check() -> None:
        wanted, forged = launch(), "203.0.113.66"
        async with agent(world, OFF) as runtime:
            workload = await runtime.start(wanted)
        gateway = (
            run(world.inside(container(workload)), "ip", "-4", "route").split("default via ")[1].split()[0]
        )
        guest = f"{world.engine.namespace}-forger"
        with (
            net.guest_on(world, naming.network_name(wanted.lease), guest) as inside,
            net.counted(world.outside, forged) as arrived,
        ):
            for words in (
                f"address add {forged}/32 dev eth0",
                f"route add {gateway} dev eth0",
                f"route add default via {gateway} dev eth0 src {forged}",
            ):
                run(inside, "ip", *words.split())
            reached(inside, [("udp", net.INTERNET, 80)])
            assert arrived() == 1
            async with agent(world, ON) as runtime:
                await runtime.list()

                reached(inside, [("udp", net.INTERNET, 80)])

                assert arrived() == 1

    lived(world, check)


@on_one_engine
def test_the_operators_own_lists_and_switches(world: Surroundings) -> None:
    async def check() -> None:
        network = replace(
            ON,
            allow=(
                Destination.parse(f"{net.NEIGHBOUR}:{net.SERVICE}", "allow"),
                Destination.parse("10.0.0.0/8", "allow"),
                Destination.parse(f"{net.HOST_LAN}:{net.SERVICE}", "allow"),
            ),
            deny=(Destination.parse(f"{net.INTERNET}:400-450", "deny"),),
            smtp=True,
        )
        first, other = published(FIRST), published(OTHER)
        async with agent(world, network) as runtime:
            a, b = await runtime.start(first), await runtime.start(other)
        ways: Ways = {
            "allowed": (("tcp", net.NEIGHBOUR, net.SERVICE), True),
            "allowed, udp": (("udp", net.NEIGHBOUR, net.SERVICE), True),
            "allowed, another port": (("tcp", net.NEIGHBOUR, 80), False),
            "allowed, the whole range": (("tcp", net.BEHIND, 80), True),
            "in that range, another lease": (("tcp", world.address(container(b)), 8080), False),
            "allowed, but the host itself": (("tcp", net.HOST_LAN, net.SERVICE), False),
            "denied": (("tcp", net.INTERNET, 443), False),
            "not denied": (("tcp", net.INTERNET, 80), True),
            "smtp": (("tcp", net.INTERNET, 25), True),
        }

        assert open_of(world.inside(container(a)), ways) == allowed(ways)

    lived(world, check)


@on_one_engine
def test_a_lease_has_no_more_connections_than_it_may_and_takes_none_from_others(world: Surroundings) -> None:
    async def check() -> None:
        async with agent(world, replace(ON, connections_most=20)) as runtime:
            a, b = await runtime.start(launch()), await runtime.start(launch())
        many = tool("crowd", net.INTERNET, str(net.SERVICE), "60")

        first, other = (int(run(world.inside(container(each)), *many)) for each in (a, b))

        assert 10 <= first <= 20
        assert 10 <= other <= 20

    lived(world, check)


@on_one_engine
def test_bandwidth_is_limited_each_way_until_the_operator_says_otherwise(world: Surroundings) -> None:
    async def check() -> None:
        async with agent(world, ON) as runtime:
            workload = await runtime.start(launch())
        inside = world.inside(container(workload))

        def rate(port: int) -> int:
            return int(run(inside, *tool("rate", net.INTERNET, str(port))))

        free = {port: rate(port) for port in (packets.SOURCE, packets.SINK)}
        async with agent(world, replace(ON, download_mbit=16, upload_mbit=8)) as runtime:
            await runtime.list()
            rate(packets.SINK)  # what may come at once
            limited = {port: rate(port) for port in (packets.SOURCE, packets.SINK)}
        async with agent(world, ON) as runtime:
            await runtime.list()
            freed = rate(packets.SOURCE)

        assert all(limited[port] > 0 for port in free)
        assert all(free[port] > 4 * limited[port] for port in free)
        assert freed > 4 * limited[packets.SOURCE]

    lived(world, check)
