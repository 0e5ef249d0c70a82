"""Requests by name through a real Caddy: to the right lease, within its limits, over changes of routes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from provider.core.lease import Phase
from provider.domain.manifest import HttpOptions
from provider.domain.resources import MIB
from tests.integration.ingress.world import PATIENCE_S, World, run
from tests.named import DOMAIN, Port

SHOP = "shop.example.org"


def test_each_name_leads_to_its_own_lease() -> None:
    async def check(world: World) -> None:
        one, other = await world.service("one"), await world.service("other")
        first = await world.lease(1, one, port=Port(hosts=(SHOP,)))
        second = await world.lease(2, other, owner="bob")
        assert (await world.get(SHOP)).text == "one 0"
        assert (await world.get(f"{first.id.key}.{DOMAIN}")).text == "one 0"
        assert (await world.get(f"{second.id.key}.{DOMAIN}:80")).text == "other 0"
        assert (await world.get(f"{second.id.key.upper()}.{DOMAIN}.")).text == "other 0"

    run(check)


def test_what_is_nobodys_is_not_found() -> None:
    async def check(world: World) -> None:
        service = await world.service("one")
        lease = await world.lease(1, service, port=Port(hosts=(SHOP,)))
        for name in (
            "nobody.example.org",
            DOMAIN,
            f"x.{SHOP}",
            "127.0.0.1",
            f"x&host={SHOP}",
            f"x&length=0&host={SHOP}",
            f"{SHOP}&host=x",
        ):
            answer = await world.get(name)
            assert answer.status in {400, 404}, name
            assert service.heard == []
        assert (await world.get("nobody.example.org")).text == "404 there is no service of this name here\n"
        world.put(replace(lease, phase=Phase.STOPPING))
        assert (await world.get(SHOP)).status == 404

    run(check)


def test_a_client_cannot_choose_where_it_goes_nor_pass_our_headers_on() -> None:
    async def check(world: World) -> None:
        secret = await world.service("secret")
        service = await world.service("one")
        await world.lease(1, service, port=Port(hosts=(SHOP,)))
        aimed = {f"X-Gp-Upstream-{number}": f"{secret.address}:{secret.port}" for number in (1, 2, 3)}
        answer = await world.get(SHOP, "/a?b=c", headers={**aimed, "X-Gp-Tries": "3", "Cookie": "kept=1"})
        assert answer.text == "one 0"
        assert secret.heard == []
        (heard,) = service.heard
        assert heard.line == "GET /a?b=c HTTP/1.1"
        assert not [name for name in heard.headers if name.startswith("x-gp-")]
        assert heard.headers["cookie"] == "kept=1"
        assert heard.headers["host"] == SHOP
        assert heard.headers["x-forwarded-host"] == SHOP
        assert heard.headers["x-forwarded-for"] == "127.0.0.1"
        assert not [name for name in answer.headers if name.startswith("x-gp-")]

    run(check)


def test_a_forged_origin_is_replaced() -> None:
    async def check(world: World) -> None:
        service = await world.service("one")
        await world.lease(1, service, port=Port(hosts=(SHOP,)))
        await world.get(SHOP, headers={"X-Forwarded-For": "10.0.0.1", "X-Forwarded-Host": "bank.example"})
        (heard,) = service.heard
        assert heard.headers["x-forwarded-for"] == "127.0.0.1"
        assert heard.headers["x-forwarded-host"] == SHOP

    run(check)


def test_large_headers_are_asked_about_all_the_same() -> None:
    async def check(world: World) -> None:
        service = await world.service("one")
        await world.lease(1, service, port=Port(hosts=(SHOP,)))
        answer = await world.get(SHOP, headers={"Cookie": "c" * 40_000, "X": "y" * 12_000})
        assert answer.status == 200
        assert len(service.heard[0].headers["cookie"]) == 40_000

    run(check)


def test_a_body_reaches_the_service_and_its_limit_holds() -> None:
    def pieces(size: int) -> Iterator[bytes]:
        for _ in range(size // 65536):
            yield bytes(65536)

    async def check(world: World) -> None:
        service = await world.service("one")
        options = HttpOptions(max_body_bytes=2 * MIB)
        await world.lease(1, service, port=Port(hosts=(SHOP,), options=options))
        fits, large = bytes(2 * MIB), bytes(2 * MIB + 1)
        assert (await world.ask("POST", SHOP, body=fits)).text == f"one {2 * MIB}"
        assert (await world.ask("POST", SHOP, body=pieces(MIB))).text == f"one {MIB}"
        assert (await world.ask("PUT", SHOP, body=b"x" * 100)).text == "one 100"
        heard = len(service.heard)
        refused = await world.ask("POST", SHOP, body=large)
        assert refused.status == 413
        assert str(2 * MIB) in refused.text
        refused = await world.ask("POST", SHOP, body=pieces(4 * MIB))
        assert (refused.status, refused.text) == (413, "413 the request is larger than this service takes\n")
        assert len(service.heard) == heard

    run(check)


def test_a_silent_service_is_waited_for_as_long_as_it_says() -> None:
    async def check(world: World) -> None:
        service = await world.service("one")
        options = HttpOptions(read_timeout_ms=900)
        await world.lease(1, service, port=Port(hosts=(SHOP,), options=options))
        answer = await world.get(SHOP, "/silent")
        assert (answer.status, answer.text) == (
            504,
            "504 the service behind this name took too long to answer\n",
        )
        assert len(service.heard) == 1, "a service with one replica is asked once"

    run(check)


def test_a_dead_service_says_so_and_comes_back() -> None:
    async def check(world: World) -> None:
        service = await world.service("one")
        lease = await world.lease(1, service, port=Port(hosts=(SHOP,)))
        assert (await world.get(SHOP)).status == 200
        await service.__aexit__()
        answer = await world.get(SHOP)
        assert (answer.status, answer.text) == (502, "502 the service behind this name does not answer\n")
        assert service.address not in answer.text
        await world.engine.has(lease.id)
        answer = await world.get(SHOP)
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        again = await world.service("again", service.port)
        await world.engine.has(lease.id, again)
        assert (await world.get(SHOP)).text == "again 0"

    run(check)


def test_replicas_take_turns_and_a_dead_one_is_passed_over() -> None:
    async def check(world: World) -> None:
        one = await world.service("one")
        two = await world.service("two", one.port)
        await world.lease(1, one, two, port=Port(hosts=(SHOP,)))
        said = [(await world.get(SHOP)).text for _ in range(12)]
        assert {"one 0", "two 0"} == set(said)
        await one.__aexit__()
        assert {(await world.get(SHOP)).text for _ in range(6)} == {"two 0"}

    run(check)


def test_an_engine_that_is_away_changes_nothing() -> None:
    async def check(world: World) -> None:
        service = await world.service("one")
        lease = await world.lease(1, service, port=Port(hosts=(SHOP,)))
        assert (await world.get(SHOP)).status == 200
        world.engine.is_away = True
        await world.engine.has(lease.id)
        assert (await world.get(SHOP)).text == "one 0"

    run(check)


@pytest.mark.parametrize("change", ["moved", "dropped", "another came"])
def test_an_open_websocket_outlives_changes_of_routes(change: str) -> None:
    async def check(world: World) -> None:
        one, two = await world.service("one"), await world.service("two")
        lease = await world.lease(1, one, port=Port(hosts=(SHOP,)))
        reader, writer = await asyncio.open_connection(*world.settings.http)
        writer.write(
            f"GET /ws HTTP/1.1\r\nHost: {SHOP}\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n".encode()
        )
        async with asyncio.timeout(PATIENCE_S):
            head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        match change:
            case "moved":
                other = await world.lease(2, two, port=Port(hosts=(SHOP,)))
                world.put(replace(lease, hostnames=()))
                assert (await world.get(SHOP)).text == "two 0"
                assert other.hostnames == (SHOP,)
            case "dropped":
                world.drop(lease)
                assert (await world.get(SHOP)).status == 404
            case _:
                await world.lease(3, two, owner="bob", port=Port(hosts=("bob.example.org",)))
                assert (await world.get("bob.example.org")).text == "two 0"
        writer.write(b"still here")
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.readexactly(14) == b"one still here"
        writer.close()

    run(check)
