"""``coordinator screen``: providers asked over their sessions, those that cannot answer named."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from provider.adapters.clock import SystemClock
from provider.adapters.gateway import GatewaySettings
from provider.adapters.gateway.screening import Screener
from provider.adapters.link import GrpcLink, LinkSettings
from provider.app.cli.coordinator import main
from provider.coordinator.server import RunningCoordinator
from provider.core.state import AgentState
from provider.domain.ids import HOME
from provider.rpc.identity import Identity, LiveIdentity
from provider.rpc.member import Role
from provider.rpc.v1 import lease_pb2, market_pb2
from tests import agents
from tests.agents import healthy
from tests.coordinators import Agent, coordinator, join, run

CLOCK = SystemClock()
SDL = """
version: "2.0"
services:
  ai: {image: nginx, expose: [{port: 80, to: [{global: true}]}]}
profiles:
  compute:
    card:
      resources:
        cpu: {units: 1}
        memory: {size: 1Gi}
        storage: {size: 1Gi}
        gpu: {units: 1, attributes: {vendor: {nvidia: [{model: h100}]}}}
  placement:
    fast: {pricing: {card: {denom: uact, amount: 1000}}}
deployment:
  ai: {fast: {profile: card, count: 1}}
"""


@asynccontextmanager
async def linked(who: Identity, state: AgentState, folder: Path) -> AsyncIterator[None]:
    """A provider's link as the daemon has it, with ``state`` behind it."""
    screener = Screener(GatewaySettings(screenings_each=3), lambda: state, CLOCK, HOME)
    settings = LinkSettings(state_dir=folder, instance="1", software="0")
    link = GrpcLink(settings, LiveIdentity(who), CLOCK, random.Random(1), lambda: ("", 0))  # noqa: S311 -- jitter
    link.screen = lambda request, owner: screener.answer(request, guest="coordinator", owner=owner)

    async def follow(connected: asyncio.Event) -> None:
        async for delivery in link.inbound():
            connected.set()
            if delivery.committed:
                delivery.committed()

    connected = asyncio.Event()
    async with asyncio.TaskGroup() as tasks, link:
        tasks.create_task(follow(connected))
        await connected.wait()
        yield


async def screens(at: RunningCoordinator, *options: str) -> int:
    file = at.settings.state / "deploy.yaml"
    file.write_text(SDL)
    return await asyncio.to_thread(main, ["--state", str(at.settings.state), "screen", str(file), *options])


async def says_hello(agent: Agent, *, screens: bool) -> None:
    await agent.send(hello=market_pb2.Hello(instance="i", software="test", screens=screens))
    await agent.next("welcome")


async def asked(agent: Agent) -> market_pb2.ScreeningWanted:
    return (await agent.next("screening_wanted")).screening_wanted


async def answers(agent: Agent, wanted: market_pb2.ScreeningWanted, reason: str) -> None:
    said = lease_pb2.ScreenBidResponse(reason=reason)
    await agent.send(screened=market_pb2.Screened(screening=wanted.screening, answer=said))


def test_all_are_asked_at_once_and_who_cannot_answer_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def body() -> None:
        async with coordinator(tmp_path / "market") as market:
            who = {
                name: await join(market, Role.PROVIDER, name)
                for name in ("north", "south", "old", "mute", "away")
            }
            busy = agents.Agent(*healthy(0))
            busy.opens(1)
            async with (
                linked(who["north"], agents.Agent(*healthy(0)).state, tmp_path / "north"),
                linked(who["south"], busy.state, tmp_path / "south"),
                Agent(who["old"]) as old,
                Agent(who["mute"]) as mute,
            ):
                await says_hello(old, screens=False)
                await says_hello(mute, screens=True)
                assert await screens(market, "--wait", "0.3") == 0
                rows = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
                assert rows == [
                    "GROUP PROVIDER BIDS PRICE GPUS WHY NOT",
                    "fast away no answer - - not connected to the market",
                    "fast mute no answer - - no answer within 0.3 s",
                    "fast north yes 0.0066 ACT/h 1 x h100 79.0 GiB sxm",
                    "fast old no answer - - its software is too old to be asked",
                    "fast south no - - gpu busy: required 1 of vendor/nvidia/model/h100, available 0 free",
                ]
                assert await screens(market, "--provider", "south", "--json") == 3
                (told,) = json.loads(capsys.readouterr().out)
                assert (told["provider"], told["would_bid"], told["reason"]) == ("south", False, "gpu_busy")
                assert (await asked(mute)).owner == "coordinator"

    run(body)


def test_a_provider_may_say_that_it_is_asked_too_often(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def body() -> None:
        async with coordinator(tmp_path / "market") as market:
            north = await join(market, Role.PROVIDER, "north")
            async with linked(north, agents.Agent(*healthy(0)).state, tmp_path / "north"):
                assert [await screens(market, "--json") for _ in range(4)] == [0, 0, 0, 3]
                assert "may ask 3 times a minute" in capsys.readouterr().out

    run(body)


def test_who_comes_back_is_asked_again_and_others_cannot_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def body() -> None:
        async with coordinator(tmp_path / "market") as market:
            north = await join(market, Role.PROVIDER, "north")
            south = await join(market, Role.PROVIDER, "south")
            async with Agent(south) as impostor:
                await says_hello(impostor, screens=True)
                async with Agent(north) as first:
                    await says_hello(first, screens=True)
                    asking = asyncio.create_task(
                        screens(market, "--provider", "north", "--owner", "alice", "--wait", "9", "--json")
                    )
                    wanted = await asked(first)
                    assert wanted.owner == "alice"
                await answers(impostor, wanted, "owner_not_served")
                async with Agent(north) as second:
                    await says_hello(second, screens=True)
                    assert await asked(second) == wanted
                    await answers(second, wanted, "gpu_busy")
                    assert await asking == 3
        (told,) = json.loads(capsys.readouterr().out)
        assert (told["provider"], told["reason"]) == ("north", "gpu_busy")

    run(body)


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--provider", "nobody"], 1, "nobody is not a provider of this market"),
        (["--wait", "0"], 2, "--wait 0"),
    ],
)
def test_a_question_that_cannot_be_is_a_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], status: int, said: str
) -> None:
    async def body() -> None:
        async with coordinator(tmp_path / "market") as market:
            assert await screens(market, *options) == status
            assert said in capsys.readouterr().err

    run(body)
