"""``provider bids`` and ``provider why``, from a daemon's ledger over its socket to what people read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from provider.adapters.gateway import OperatorGateway, OperatorServer
from provider.app.cli.provider import main
from provider.core.admission import Accepted
from provider.core.ledger import Decided
from provider.domain.ids import OrderId, Owner
from provider.domain.market import Requirements
from provider.domain.money import Denom, Rate
from provider.domain.resources import Attribute
from provider.rpc.calls import unary
from provider.rpc.settings import unix_channel
from provider.rpc.status import Denied
from provider.rpc.v1 import operator_pb2 as pb
from provider.rpc.v1.operator_pb2_grpc import OperatorServiceStub
from provider.sim.ledger import MemoryLedger
from tests.agents import Agent, ask, group, resources, unit
from tests.contract.test_ledger import busy, feed
from tests.integration.gateway.test_operator_service import gateway


@dataclass(frozen=True)
class Shop:
    """A daemon with decisions, and its operator's command."""

    folder: Path
    capsys: pytest.CaptureFixture[str]
    ledger: MemoryLedger

    @property
    def socket(self) -> Path:
        return self.folder / "operator.sock"

    async def runs(self, *argv: str) -> tuple[int, str, str]:
        config = self.folder / "provider.yaml"
        config.write_text(f"state_dir: {self.folder}\n")
        status = await asyncio.to_thread(main, ["--config", str(config), *argv])
        said = self.capsys.readouterr()
        return status, said.out, said.err


Scenario = Callable[[Shop], Awaitable[None]]
Run = Callable[[Scenario, Agent], None]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    async def scene(scenario: Scenario, agent: Agent) -> None:
        async with asyncio.timeout(30), gateway() as made:
            ledger = ledger_of(made)
            feed(ledger, agent)
            shop = Shop(tmp_path, capsys, ledger)
            async with OperatorServer(shop.socket, made):
                await scenario(shop)

    return lambda scenario, agent: asyncio.run(scene(scenario, agent))


def ledger_of(made: OperatorGateway) -> MemoryLedger:
    ledger = made._world.ledger
    assert isinstance(ledger, MemoryLedger)
    return ledger


def test_bids_are_listed_with_price_outcome_and_why(run: Run) -> None:
    async def scenario(shop: Shop) -> None:
        status, out, _ = await shop.runs("bids")
        lines = out.splitlines()
        assert status == 0
        assert [line.split()[0] for line in lines] == [
            "ORDER",
            "alice/3/1/1",
            "alice/4/1/1",
            "alice/2/1/1",
            "alice/1/1/1",
        ]
        assert "0.0063 ACT/h" in lines[1]
        assert "gpu busy: 1 of h100, 0 free" in lines[2]
        assert "tenant closed" in lines[4]
        status, out, _ = await shop.runs("bids", "--outcome", "Lost", "--outcome", "ended", "--limit", "1")
        assert (status, [line.split()[0] for line in out.splitlines()]) == (0, ["ORDER", "alice/2/1/1"])
        status, out, _ = await shop.runs("bids", "--reason", "gpu-busy", "--json")
        assert [(each["order"], each["reason"]) for each in json.loads(out)] == [("alice/4/1/1", "gpu_busy")]
        status, out, _ = await shop.runs("bids", "--since", "1m")
        assert (status, out) == (0, "no order was decided on that fits\n")

    run(scenario, busy())


@pytest.mark.parametrize(
    ("argv", "said", "remedy"),
    [
        (["bids", "--outcome", "wan"], "--outcome wan", "did you mean won?"),
        (["bids", "--reason", "zzz"], "--reason zzz", "use one of not_bidding"),
        (["bids", "--limit", "0"], "--limit 0", "--since"),
        (["bids", "--since", "soon"], "--since soon", "10m"),
        (["why", "alice/1"], "'alice/1' is not an id", "name it as `provider bids` does"),
        (["why", "alice/1/1/0"], "its numbers count from 1", "name it as `provider bids` does"),
    ],
)
def test_a_wrong_question_is_told_as_such(run: Run, argv: list[str], said: str, remedy: str) -> None:
    async def scenario(shop: Shop) -> None:
        status, out, err = await shop.runs(*argv)
        assert (status, out) == (2, "")
        assert said in err
        assert remedy in err

    run(scenario, busy())


def test_an_order_that_nobody_knows_is_a_clear_error(run: Run) -> None:
    async def scenario(shop: Shop) -> None:
        status, out, err = await shop.runs("why", "bob/9/1/1")
        assert (status, out) == (1, "")
        assert "nothing is known of the order bob/9/1/1" in err
        assert "provider bids --limit 1000" in err

    run(scenario, busy())


def test_the_page_of_a_lease_says_where_for_how_much_and_what_happened(run: Run) -> None:
    async def scenario(shop: Shop) -> None:
        status, out, _ = await shop.runs("why", "alice/1/1/1/frankfurt-1")
        text = " ".join(out.split())
        assert status == 0
        for part in (
            "alice/1/1/1 ended bid 0.0063 ACT/h",
            "1 x 0.5 cores, 1.0 GiB memory, 1.0 GiB storage 1 x h100 1 HTTP port at most 0.0600 ACT/h",
            "✓ is ready",
            "✓ capacity ✓ price",
            "node-1 replica 0 GPU-0",
            "host ports 31000",
            "cpu cores 0.5 x 0.0006 0.000300",
            "gpu h100 1 x 0.006 0.006000",
            "bid 0.006300 ACT",
            "maximum 0.060000 ACT",
            "decided in 40 µs",
            "won it is a lease",
            "ended tenant closed; ran",
        ):
            assert part in text, f"{part!r} is not in\n{out}"

    run(scenario, busy())


def test_the_page_of_a_refusal_names_the_rule_and_what_was_before(run: Run) -> None:
    agent = busy()
    agent.closes(3)
    agent.opens(5, group(unit(resources(gpus=ask(1)), price=1)))

    async def scenario(shop: Shop) -> None:
        _, out, _ = await shop.runs("why", "alice/5/1/1")
        text = " ".join(out.split())
        assert "✗ capacity gpu busy: required 1 of vendor/nvidia/model/h100, available 0 free" in text
        assert "no bid decided in 40 µs" in text
        assert "Placed" not in text
        _, out, _ = await shop.runs("why", "alice/4/1/1")
        text = " ".join(out.split())
        assert "Before 2023-11-14 22:13:20 refused gpu busy" in text
        assert "again: what there is had changed" in text
        _, out, _ = await shop.runs("why", "alice/4/1/1", "--json")
        assert [each["outcome"] for each in json.loads(out)] == ["refused", "decided"]

    run(scenario, agent)


def test_floor_reason_for_the_pick_and_another_market_are_shown(run: Run) -> None:
    agent = busy()
    decided = next(record for record in agent.records if isinstance(record, Decided))
    verdict = decided.decision.verdict
    assert isinstance(verdict, Accepted)
    floor = Rate(amount=Decimal(2), denom=Denom.UACT)
    told = replace(verdict, floor=floor, picked="they share a [switch]")
    order_id = OrderId(owner=Owner("bob@west"), dseq=1, gseq=1, oseq=1)
    needs = Requirements(attributes=(Attribute(key="region", value="[eu]"),))
    spec = replace(decided.order.group, requirements=needs)
    agent.records = [
        replace(
            decided,
            order=replace(decided.order, id=order_id, group=spec),
            decision=replace(decided.decision, verdict=told),
            took_us=0,
        )
    ]

    async def scenario(shop: Shop) -> None:
        status, out, _ = await shop.runs("why", "bob@west/1/1/1")
        text = " ".join(out.split())
        assert status == 0
        assert "floor 0.001200 ACT, less loses money" in text
        assert "because they share a [switch]" in text
        assert "of a provider with region=[eu]" in text
        assert "bid decided" in text

    run(scenario, agent)


Question = pb.ListDecisionsRequest | pb.ExplainOrderRequest


async def asked(stub: Any, question: Question) -> None:
    if isinstance(question, pb.ExplainOrderRequest):
        await unary(stub.ExplainOrder(question, timeout=5))
    else:
        await unary(stub.ListDecisions(question, timeout=5))


@pytest.mark.parametrize(
    "wrong",
    [
        pb.ListDecisionsRequest(limit=1001),
        pb.ListDecisionsRequest(limit=-1),
        pb.ListDecisionsRequest(since_ms=-1),
        pb.ListDecisionsRequest(outcomes=["sung"]),
        pb.ListDecisionsRequest(reasons=["x" * 5000]),
        pb.ExplainOrderRequest(order="a/b/c/d"),
        pb.ExplainOrderRequest(order="x" * 5000),
    ],
)
def test_what_cannot_be_asked_is_refused(run: Run, wrong: Question) -> None:
    async def scenario(shop: Shop) -> None:
        async with unix_channel(shop.socket) as channel:
            stub = OperatorServiceStub(channel)
            with pytest.raises(Denied) as denied:
                await asked(stub, wrong)
            assert denied.value.reason == "MALFORMED"

    run(scenario, busy())
