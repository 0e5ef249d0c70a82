"""``ScreenBid`` over real mutual TLS, and ``tenant screen``: who may ask, how often, what is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from provider.adapters.gateway import GatewaySettings
from provider.app.cli.tenant import main
from provider.core.state import AgentState
from provider.domain.errors import Temporary
from provider.domain.market import GroupSpec
from provider.domain.resources import Attribute, GpuAlternative
from provider.domain.workload import Unfit
from provider.rpc import identity
from provider.rpc.calls import unary
from provider.rpc.codec import group_to_pb
from provider.rpc.codec_market import gpu_offer_from_pb
from provider.rpc.identity import Identity
from provider.rpc.member import Role
from provider.rpc.status import Denied
from provider.rpc.v1 import lease_pb2 as pb
from provider.rpc.v1 import resources_pb2
from provider.sim.authority import ThrowawayAuthority
from tests.agents import Agent, ask, group, healthy, resources, unit
from tests.integration.gateway.world import CLOCK, PROVIDER, World, run

SDL = """
version: "2.0"
services:
  web: {image: nginx, expose: [{port: 80, to: [{global: true}]}]}
  ai: {image: nginx}
profiles:
  compute:
    small: {resources: {cpu: {units: 0.5}, memory: {size: 1Gi}, storage: {size: 1Gi}}}
    card:
      resources:
        cpu: {units: 1}
        memory: {size: 1Gi}
        storage: {size: 1Gi}
        gpu: {units: 1, attributes: {vendor: {nvidia: [{model: h100}]}}}
  placement:
    near: {pricing: {small: {denom: uact, amount: 100}}}
    fast: {pricing: {card: {denom: uact, amount: 1000}}}
deployment:
  web: {near: {profile: small, count: 1}}
  ai: {fast: {profile: card, count: 1}}
"""


def screened(
    wanted: resources_pb2.GroupSpec,
    state: AgentState,
    who: Callable[[World], Identity] | None = None,
    *,
    times: int = 1,
    settings: GatewaySettings | None = None,
) -> pb.ScreenBidResponse:
    """The last of ``times`` answers, after which nothing of the agent differs."""
    answers: list[pb.ScreenBidResponse] = []

    async def scenario(world: World) -> None:
        world.agent.state = state
        async with world.stub(who(world) if who else None) as stub:
            for _ in range(times):
                answers.append(await unary(stub.ScreenBid(pb.ScreenBidRequest(group=wanted), timeout=5)))
        assert world.agent.state is state
        assert world.agent.events == []

    run(scenario, settings)
    return answers[-1]


def wire(of: GroupSpec | None = None) -> resources_pb2.GroupSpec:
    return group_to_pb(of or group())


def test_a_tenant_without_a_lease_is_told_price_and_cards() -> None:
    told = screened(wire(group(unit(resources(gpus=ask(2))))), Agent(*healthy(0, 1)).state)
    assert (told.would_bid, told.rate.denom, told.reason) == (True, "uact", "")
    assert float(told.rate.amount) == 20.5
    (offer,) = (gpu_offer_from_pb(each) for each in told.gpus)
    assert (offer.model, offer.count) == ("h100", 2)
    assert "GPU-" not in str(told), "cards are not named"


def test_why_not_is_told_with_its_facts() -> None:
    agent = Agent(*healthy(0))
    agent.opens(1)
    told = screened(wire(), agent.state)
    assert (told.would_bid, told.reason, told.available) == (False, "gpu_busy", "0 free")
    assert not told.HasField("rate")
    dear = screened(wire(group(unit(price=1))), Agent(*healthy(0)).state)
    assert (dear.reason, dear.required, dear.available) == ("price_too_low", "10.5uact/block", "1uact/block")


def test_what_makes_the_engine_unfit_is_nobody_elses_business() -> None:
    state = Agent(*healthy(0)).state
    assert state.runtime is not None
    unfit = Unfit(part="runc", found="1.0.0", required="1.2.8", why="CVE-1")
    told = screened(wire(), replace(state, runtime=replace(state.runtime, unfit=(unfit,))))
    assert (told.reason, told.required, told.available) == ("runtime_unfit", "", "")


def test_the_markets_coordinator_may_ask() -> None:
    def who(world: World) -> Identity:
        return world.authority.member(Role.COORDINATOR, "", at=world.now())

    assert screened(wire(), Agent(*healthy(0)).state, who).would_bid


@pytest.mark.parametrize("kind", ["provider", "tenant of another market"])
def test_nobody_else_may(kind: str) -> None:
    def who(world: World) -> Identity:
        if kind == "provider":
            return world.member(Role.PROVIDER, "rival")
        return ThrowawayAuthority("other").member(Role.TENANT, "alice", at=CLOCK.now())

    with pytest.raises((Denied, Temporary)) as refused:
        screened(wire(), Agent(*healthy(0)).state, who)
    if kind == "provider":
        assert isinstance(refused.value, Denied)
        assert refused.value.reason == "WRONG_MEMBER"


def test_who_asks_too_often_is_told_so() -> None:
    settings = GatewaySettings(screenings_each=3)
    assert screened(wire(), Agent(*healthy(0)).state, times=3, settings=settings).would_bid
    with pytest.raises(Temporary, match="alice may ask 3 times a minute"):
        screened(wire(), Agent(*healthy(0)).state, times=4, settings=settings)


def changed(change: Callable[[resources_pb2.GroupSpec], Any]) -> resources_pb2.GroupSpec:
    made = wire()
    change(made)
    return made


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (resources_pb2.GroupSpec(), "group.units"),
        (changed(lambda made: setattr(made.units[0], "count", 2_000_000_000)), r"group.units\[0\].count"),
        (changed(lambda made: setattr(made.units[0].resources, "gpu_units", 25)), "gpu_units"),
        (changed(lambda made: setattr(made.units[0].price, "amount", "-1")), "price.amount"),
        (changed(lambda made: made.units.extend([made.units[0]] * 20)), "group.units"),
        (
            changed(
                lambda made: made.attributes.extend(
                    [resources_pb2.Attribute(key=f"{'*' * 50}{number}", value="1") for number in range(65)]
                )
            ),
            "group.attributes",
        ),
        (
            changed(
                lambda made: made.units[0].resources.gpu_alternatives.extend(
                    [resources_pb2.GpuAlternative(vendor="nvidia")] * 257
                )
            ),
            "gpu_alternatives",
        ),
    ],
)
def test_what_no_market_would_take_is_not_decided_on(wrong: resources_pb2.GroupSpec, field: str) -> None:
    with pytest.raises(Denied, match=field) as refused:
        screened(wrong, Agent(*healthy(0)).state)
    assert refused.value.reason == "MALFORMED"


def test_a_call_without_a_group_is_refused() -> None:
    async def scenario(world: World) -> None:
        async with world.stub() as stub:
            with pytest.raises(Denied, match="group: is missing"):
                await unary(stub.ScreenBid(pb.ScreenBidRequest(), timeout=5))

    run(scenario)


def asks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], state: AgentState, *options: str
) -> tuple[int, str, str]:
    """``tenant screen`` at a provider with ``state``, which is ``{}`` in ``options``."""
    said: list[tuple[int, str, str]] = []
    file = tmp_path / "deploy.yaml"
    file.write_text(SDL)

    async def scenario(world: World) -> None:
        world.agent.state = state
        identity.save(world.member(), tmp_path / "home")
        given = [option.format(f"127.0.0.1:{world.server.port}") for option in options]
        argv = ["--home", str(tmp_path / "home"), "screen", str(file), *given]
        status = await asyncio.to_thread(main, argv)
        told = capsys.readouterr()
        said.append((status, told.out, told.err))

    run(scenario)
    return said[0]


def test_a_file_is_asked_about_group_by_group(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = f"{PROVIDER}@{{}}"
    status, out, _ = asks(tmp_path, capsys, Agent(*healthy(0)).state, "--provider", where)
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert status == 0
    assert lines[0] == "GROUP PROVIDER BIDS PRICE GPUS WHY NOT"
    assert f"fast {PROVIDER} yes 0.0066 ACT/h 1 x h100 79.0 GiB sxm" in lines
    assert f"near {PROVIDER} yes 0.0003 ACT/h -" in lines


def test_a_group_that_nobody_would_serve_is_a_bad_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = f"{PROVIDER}@{{}}"
    state = Agent(*healthy()).state
    state = replace(state, nodes=Agent(*healthy(0)).state.nodes[:0])
    status, out, _ = asks(tmp_path, capsys, state, "--provider", where, "--json")
    assert status == 3
    assert [(each["group"], each["reason"]) for each in json.loads(out)] == [
        ("fast", "not_bidding"),
        ("near", "not_bidding"),
    ]


def test_a_provider_that_does_not_answer_is_told_beside_the_one_that_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--provider", "elsewhere@127.0.0.1:1", "--provider", f"{PROVIDER}@{{}}")
    status, out, _ = asks(tmp_path, capsys, Agent(*healthy(0)).state, *options)
    text = " ".join(out.split())
    assert status == 0, "each group has somebody"
    assert "fast elsewhere no answer - - the provider elsewhere at 127.0.0.1:1" in text
    assert f"fast {PROVIDER} yes" in text


@pytest.mark.parametrize("wrong", ["north", "north@", "north@gpu1", "NORTH@gpu1:1", "north@gpu1:99999"])
def test_a_provider_that_cannot_be_is_a_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: str
) -> None:
    status, _, err = asks(tmp_path, capsys, Agent(*healthy(0)).state, "--provider", wrong)
    assert status == 2
    assert f"--provider {wrong}" in err
    assert "north@gpu1:8443" in err


def test_the_wrong_name_at_the_right_address_is_no_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = asks(tmp_path, capsys, Agent(*healthy(0)).state, "--provider", "impostor@{}", "--json")
    assert status == 3
    assert all("problem" in each for each in json.loads(out))


def test_any_kind_of_gpu_is_asked_for_as_such() -> None:
    wanted = group(unit(resources(gpus=ask(1, GpuAlternative(vendor="nvidia")))))
    wanted = replace(
        wanted, requirements=replace(wanted.requirements, attributes=(Attribute(key="region", value="eu"),))
    )
    assert screened(wire(wanted), Agent(*healthy(0)).state).reason == "attributes_not_met"
