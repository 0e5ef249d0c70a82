"""What a real daemon's operator and tenants are told of its decisions, over orders, leases and kill -9."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.world import until
from tests.integration.markets.world import FIRST, NAMES, SECOND, World, running


@pytest.fixture
def world(short_path: Path) -> Iterator[World]:
    with running(short_path) as made:
        yield made


def outcomes(world: World, *options: str) -> dict[str, str]:
    """By order, of the newest decision on it."""
    said = world.provider("bids", "--json", *options)
    assert said.status == 0, said.err
    newest = sorted(said.json, key=lambda each: int(each["decided_ms"]))
    return {each["order"]: each["outcome"] for each in newest}


def why(world: World, order: str) -> list[dict[str, Any]]:
    said = world.provider("why", order, "--json")
    assert said.status == 0, said.err
    told: list[dict[str, Any]] = said.json
    return told


def screened(world: World, market: str) -> tuple[int, dict[str, Any]]:
    """What alice of the market that can dial the provider is told."""
    address = world.markets()[market].lease_address
    asked = f"{NAMES[market]}@{address}"
    said = world.tenant(market, "screen", str(world.folder / "web.yaml"), "--provider", asked, "--json")
    (told,) = said.json
    return said.status, told


def screened_by_owner(world: World, market: str) -> tuple[int, dict[str, Any]]:
    """What the owner of the market is told, over the provider's session."""
    said = world.coordinator(market, "screen", str(world.folder / "web.yaml"), "--owner", "alice", "--json")
    (told,) = said.json
    return said.status, told


@pytest.mark.timeout(180)
def test_every_order_is_accounted_for_over_kill_9(world: World) -> None:
    status, told = screened(world, FIRST)
    assert (status, told["would_bid"]) == (0, True)
    assert screened_by_owner(world, FIRST) == (status, told)
    assert screened_by_owner(world, SECOND) == (status, told | {"provider": NAMES[SECOND]})
    assert outcomes(world) == {}, "a dry run is no decision"

    assert world.rent(FIRST) == 1
    (lease,) = why(world, "alice/1/1/1")
    assert lease["rate"] == told["rate"], "what was screened is what was bid"
    assert lease["outcome"] == "won"
    assert [turn["outcome"] for turn in lease["turns"]] == ["submitted", "won"]
    (replica,) = lease["replicas"]
    assert replica["gpu_uuids"] == list(next(iter(world.leases().values())).gpu_uuids)
    assert int(lease["took_us"]) > 0

    assert world.deploy(SECOND) == 1
    other = "alice@second.example/1/1/1"
    until(lambda: outcomes(world).get(other) == "submitted", "the other card is bid for the other market")
    assert world.deploy(FIRST) == 2
    until(lambda: outcomes(world).get("alice/2/1/1") == "refused", "no card is left")
    assert list(outcomes(world, "--reason", "gpu_busy")) == ["alice/2/1/1"]
    status, told = screened(world, FIRST)
    assert (status, told["would_bid"], told["reason"]) == (3, False, "gpu_busy")

    before = outcomes(world)
    assert world.kill("provider") != 0
    world.start_provider()
    world.until_connected()
    assert outcomes(world) == before
    page = world.provider("why", other)
    assert page.status == 0
    assert "What happened" in page.out

    assert world.tenant(FIRST, "close", "1").status == 0
    until(lambda: outcomes(world).get("alice/1/1/1") == "ended", "the lease is over")
    until(lambda: outcomes(world).get("alice/2/1/1") == "submitted", "whoever waited gets its card")
    first, again = why(world, "alice/2/1/1")
    assert (first["reason"], again["again"]) == ("gpu_busy", True)
    (ended,) = why(world, "alice/1/1/1")
    assert int(ended["turns"][-1]["earned"]["amount_micros"]) > 0

    same = world.provider("simulate", "--json")
    assert same.status == 0, same.err
    assert same.json["changed_orders"] == []
    assert same.json["really"] == same.json["simulated"]
    assert same.json["really"]["earned_micros"]["uact"] > 0
