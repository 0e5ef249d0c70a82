"""What the proxy is told, without a proxy: grades, what is remembered, questions that mean no good."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from provider.adapters.ingress import grades as graded
from provider.adapters.ingress.addresses import KEPT_FOR, Addresses
from provider.adapters.ingress.caddy_config import caddy_config
from provider.adapters.ingress.grades import Grades, grades
from provider.adapters.ingress.lookup import Lookup
from provider.adapters.ingress.settings import IngressSettings, Tls
from provider.core.state import AgentState
from provider.domain.errors import Temporary
from provider.domain.ids import LeaseId
from provider.domain.manifest import HttpOptions
from provider.domain.moment import Instant, after
from provider.domain.resources import MIB
from provider.domain.workload import Container, ContainerState, Workload
from provider.rpc.http_message import Response, parse
from tests.named import Port, lease_id, running, state

SHOP = "shop.example.org"
STATE = state(running(1, {"web": [Port(hosts=(SHOP,))]}, hostnames=(SHOP,)))


class Frozen:
    """A clock that only the test turns."""

    def __init__(self) -> None:
        self.at = Instant(1_700_000_000_000)

    def now(self) -> Instant:
        return self.at

    async def sleep_until(self, instant: Instant) -> None:
        self.at = instant


class There:
    """Containers at the addresses that the test gives; counts looks."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.unready: set[str] = set()
        self.is_away = False
        self.looks = 0

    async def look(self, lease: LeaseId) -> Workload | None:
        self.looks += 1
        await asyncio.sleep(0)
        if self.is_away:
            raise Temporary("the engine is away")
        return Workload(
            lease=lease,
            containers=tuple(
                Container(
                    service="web",
                    replica=number,
                    state=ContainerState.RUNNING,
                    id=str(number),
                    address=address,
                    is_ready=address not in self.unready,
                )
                for number, address in enumerate(self.addresses)
            ),
        )

    async def hints(self) -> AsyncIterator[None]:
        yield


def told(query: str, there: There, agent: AgentState = STATE, path: str = "/route") -> Response:
    lookup = Lookup(lambda: agent, Addresses(there, Frozen()))
    return asyncio.run(lookup.answer(parse(f"GET {path}?{query} HTTP/1.1\r\n\r\n".encode())))


def test_a_known_name_is_told_where_it_leads() -> None:
    answer = told(f"host={SHOP}&length=", There("10.0.0.2"))
    assert answer.status == 200
    assert dict(answer.headers) == {
        "Content-Type": "text/plain; charset=utf-8",
        "X-Gp-Upstream-1": "10.0.0.2:8080",
        "X-Gp-Upstream-2": "10.0.0.2:8080",
        "X-Gp-Upstream-3": "10.0.0.2:8080",
        "X-Gp-Body": str(MIB),
        "X-Gp-Read": "60000",
        "X-Gp-Send": "60000",
        "X-Gp-Tries": "1",
    }


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 404),
        ("host=", 404),
        ("host=%00", 404),
        (f"host=x{SHOP}", 404),
        (f"host={SHOP}%26length%3D0", 404),
        (f"host={SHOP}.", 200),
        (f"host={SHOP.upper()}", 200),
        (f"host={SHOP}&length={MIB}", 200),
        (f"host={SHOP}&length={MIB + 1}", 413),
        (f"host={SHOP}&length={'9' * 400}", 413),
        (f"host={SHOP}&length=-1", 200),
        (f"host={SHOP}&length=%C2%B2", 200),
        (f"host={SHOP}&length=%D9%A3%D9%A3", 200),
    ],
)
def test_every_question_has_an_answer(query: str, status: int) -> None:
    assert told(query, There("10.0.0.2")).status == status


def test_only_known_names_are_known() -> None:
    assert told(f"domain={SHOP}", There(), path="/known").status == 200
    for query in ("", "domain=x.example.org", "domain=*.example.org"):
        assert told(query, There(), path="/known").status == 404
    assert told("", There(), path="/elsewhere").status == 404


def test_without_a_container_or_an_engine_it_is_said() -> None:
    assert told(f"host={SHOP}", There()).status == 503
    away = There("10.0.0.2")
    away.is_away = True
    answer = told(f"host={SHOP}", away)
    assert (answer.status, answer.body) == (
        503,
        b"503 the service behind this name cannot be looked up just now\n",
    )


def test_containers_are_looked_up_once_for_many_and_again_after_a_word_or_a_while() -> None:
    async def check() -> None:
        there, clock = There("10.0.0.2"), Frozen()
        addresses = Addresses(there, clock)
        lease = lease_id(1)
        found = await asyncio.gather(*(addresses.of(lease, "web") for _ in range(50)))
        assert set(found) == {("10.0.0.2",)}
        assert there.looks == 1
        there.addresses = ("10.0.0.3",)
        assert await addresses.of(lease, "web") == ("10.0.0.2",)
        addresses.doubt()
        assert await addresses.of(lease, "web") == ("10.0.0.3",)
        there.addresses = ("10.0.0.4",)
        clock.at = after(clock.at, KEPT_FOR)
        assert await addresses.of(lease, "web") == ("10.0.0.4",)
        assert there.looks == 3

    asyncio.run(check())


def test_what_changes_while_it_is_looked_at_is_looked_at_again() -> None:
    async def check() -> None:
        there = There("10.0.0.2")
        addresses = Addresses(there, Frozen())
        asking = asyncio.create_task(addresses.of(lease_id(1), "web"))
        await asyncio.sleep(0)
        addresses.doubt()
        await asking
        await addresses.of(lease_id(1), "web")
        assert there.looks == 2

    asyncio.run(check())


def test_an_engine_that_is_away_leaves_what_was_known() -> None:
    async def check() -> None:
        there = There("10.0.0.2")
        addresses = Addresses(there, Frozen())
        await addresses.of(lease_id(1), "web")
        there.is_away = True
        addresses.doubt()
        assert await addresses.of(lease_id(1), "web") == ("10.0.0.2",)
        assert await addresses.of(lease_id(2), "web") is None

    asyncio.run(check())


def test_replicas_that_are_ready_come_first_and_others_where_none_is() -> None:
    async def check() -> None:
        there = There("10.0.0.2", "10.0.0.3")
        there.unready = {"10.0.0.2"}
        addresses = Addresses(there, Frozen())
        assert await addresses.of(lease_id(1), "web") == ("10.0.0.3",)
        there.unready = {"10.0.0.2", "10.0.0.3"}
        addresses.doubt()
        assert await addresses.of(lease_id(1), "web") == ("10.0.0.2", "10.0.0.3")
        assert await addresses.of(lease_id(1), "other") == ()

    asyncio.run(check())


# --- grades


@pytest.mark.parametrize(
    ("options", "replicas", "expected"),
    [
        (HttpOptions(), 1, Grades(body_bytes=MIB, read_ms=60_000, send_ms=60_000, tries=1)),
        (HttpOptions(), 9, Grades(body_bytes=MIB, read_ms=60_000, send_ms=60_000, tries=3)),
        (
            HttpOptions(max_body_bytes=MIB + 1, read_timeout_ms=1, send_timeout_ms=5_001, next_tries=2),
            9,
            Grades(body_bytes=2 * MIB, read_ms=1_000, send_ms=20_000, tries=2),
        ),
        (
            HttpOptions(next_cases=("off",), next_tries=3),
            3,
            Grades(body_bytes=MIB, read_ms=60_000, send_ms=60_000, tries=1),
        ),
    ],
)
def test_a_grade_is_never_stricter_than_what_was_asked_for(
    options: HttpOptions, replicas: int, expected: Grades
) -> None:
    assert grades(options, replicas) == expected


def test_the_grades_reach_as_far_as_the_language() -> None:
    """Akash's highest: 100 MiB and a minute."""
    assert graded.BODY_BYTES[-1] == 104_857_600
    assert graded.READ_MS[-1] == graded.SEND_MS[-1] == 60_000


# --- Caddy's configuration


def test_the_configuration_is_the_same_whatever_leases_there_are() -> None:
    settings = IngressSettings(
        http=("0.0.0.0", 80), https=("::", 443), tls=Tls.ACME, acme_email="op@example.com", folder=Path("/x")
    )
    made = caddy_config(settings, ("127.0.0.1", 4000), "/storage")
    text = json.dumps(made)
    assert caddy_config(settings, ("127.0.0.1", 4000), "/storage") == made
    assert '"listen": ["[::]:443"]' in text
    assert '"email": "op@example.com"' in text
    assert '"ask": "http://127.0.0.1:4000/known"' in text
    assert '"install_trust": false' in text
    assert '"admin": {"disabled": true' in text
