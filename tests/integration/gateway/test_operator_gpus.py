"""``provider gpus`` over the operator's socket: the daemon's side is real, its agent is a test's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from provider.adapters.clock import SystemClock
from provider.adapters.gateway import OperatorGateway, OperatorServer, OperatorWorld
from provider.adapters.gateway.operator_service import OperatedMarket
from provider.app.cli.provider import main
from provider.core.events import Event
from provider.core.state import AgentState
from provider.core.step import Step
from provider.domain.gpu import MigSlice
from provider.domain.gpu_health import GpuSignal
from provider.domain.ids import HOME, GpuUuid
from provider.domain.moment import Instant
from provider.ports import Reloaded
from provider.rpc.identity import LiveIdentity
from provider.rpc.member import Role
from provider.sim.authority import ThrowawayAuthority
from provider.sim.gpu import SimulatedGpus, SimulatedProbe
from provider.sim.ledger import MemoryLedger
from tests.agents import POLICY, PROVIDER, gpu, lease_of, node, nodes_read
from tests.cards import Card, run
from tests.idle_jobs import idle_job

IDLING = replace(POLICY, idle=idle_job())
FIRST = GpuUuid("GPU-5f3a91c2-0000-0000-0000-000000000001")
SECOND = GpuUuid("GPU-5f3a91d7-0000-0000-0000-000000000002")


@dataclass
class LiveCard:
    """A ``LiveAgent`` that is a test's card."""

    card: Card

    @property
    def state(self) -> AgentState:
        return self.card.agent.state

    async def submit(self, event: Event) -> Step:
        return self.card.agent.take(event)


def two_cards() -> Card:
    instance = MigSlice(parent=SECOND, profile="1g.10gb", gpu_instance=1, compute_instance=0)
    return Card(
        replace(gpu(0), uuid=FIRST),
        replace(gpu(1), uuid=SECOND),
        replace(gpu(0), uuid=GpuUuid("MIG-0001"), mig=instance),
    )


@asynccontextmanager
async def daemon(folder: Path, card: Card) -> AsyncIterator[None]:
    async with SimulatedProbe([SimulatedGpus(model="h100", count=2)], SystemClock(), seed="node-1") as probe:
        identity = ThrowawayAuthority("sim").member(Role.PROVIDER, PROVIDER, at=SystemClock().now())
        world = OperatorWorld(
            agent=LiveCard(card),
            probe=probe,
            clock=SystemClock(),
            markets=(OperatedMarket(id=HOME, identity=LiveIdentity(identity)),),
            started_at=Instant(5),
            software="0.1.0",
            ledger=MemoryLedger(),
            exposition=no_metrics,
            reload=nothing_to_reload,
        )
        (folder / "provider.yaml").write_text(f"state_dir: {folder}\n")
        async with OperatorServer(folder / "operator.sock", OperatorGateway(world)):
            yield


async def nothing_to_reload() -> Reloaded:
    return Reloaded()


def no_metrics() -> bytes:
    return b""


Provider = Callable[..., tuple[int, str, str]]


@pytest.fixture
def provider(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[Card], Provider]:
    """``provider ARGUMENTS`` against a daemon that has the card: status, output, errors."""

    def for_card(card: Card) -> Provider:
        def command(*arguments: str) -> tuple[int, str, str]:
            async def ask() -> int:
                async with asyncio.timeout(30), daemon(tmp_path, card):
                    return await asyncio.to_thread(
                        main, ["--config", str(tmp_path / "provider.yaml"), *arguments]
                    )

            status = asyncio.run(ask())
            told = capsys.readouterr()
            return status, told.out, told.err

        return command

    return for_card


def test_a_table_says_who_is_not_healthy_and_why(provider: Callable[[Card], Provider]) -> None:
    card = two_cards()
    run(card.agent)
    card.look(is_remap_pending=True)
    status, out, _ = provider(card)("gpus")
    assert status == 0
    first, second, *_ = out.splitlines()[1:]
    assert "● degraded" in first
    assert str(lease_of()) in first
    assert "● healthy" in second
    assert "free" in second
    assert f"{FIRST[:12]} is degraded: remap pending: a memory row is replaced at its next reset" in out
    assert "provider gpus health 0" in out


def test_the_idle_job_is_shown_where_it_runs_and_why_it_does_not(
    provider: Callable[[Card], Provider],
) -> None:
    card = Card(replace(gpu(0), uuid=FIRST), replace(gpu(1), uuid=SECOND), policy=IDLING)
    on_first, on_second = list(card.agent.open.values())
    card.agent.done(on_first)
    card.agent.fails(on_second)
    _, out, _ = provider(card)("gpus")
    first, second, *_ = out.splitlines()[1:]
    assert "idle job " in first
    assert "idle job (waiting)" in second
    assert f"{SECOND[:12]}: the idle job does not run: it broke; again at 2023-11-14" in out
    _, out, _ = provider(card)("status")
    assert "2 of 2 GPUs free, the idle job on 1" in out
    card.agent.begin()
    told = json.loads(provider(card)("gpus", "--json")[1])
    (cards,) = [each["gpus"] for each in told]
    assert [each.get("idle_job", {}).get("phase") for each in cards] == ["stopping", "waiting"]


def test_what_to_do_is_told_as_commands_to_be_copied(
    provider: Callable[[Card], Provider], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In full, however narrow the terminal."""
    monkeypatch.setenv("COLUMNS", "40")
    card = two_cards()
    card.becomes(pci_bus_id="0000:18:00.0")
    card.fails(62)
    status, out, _ = provider(card)("gpus", "health", "0")
    assert status == 0
    lines = [line.strip() for line in out.splitlines()]
    assert lines[lines.index("TO DO") + 1].startswith("It takes a reset.")
    assert "$ nvidia-smi --gpu-reset -i 0000:18:00.0" in lines
    status, out, _ = provider(card)("gpus", "health", "0", "--json")
    assert "$ systemctl stop provider" in json.loads(out)["gpus"][0]["remedy"]


@pytest.mark.parametrize("named", ["0", FIRST, "GPU-5f3a91c", "gpu-5F3A91C2"])
def test_a_card_is_named_by_index_uuid_or_its_beginning(
    provider: Callable[[Card], Provider], named: str
) -> None:
    card = two_cards()
    assert provider(card)("gpus", "cordon", named, "--why", "its  fan\nrattles")[0] == 0
    assert [each.detail for each in card.record.active] == ["its fan rattles"]


@pytest.mark.parametrize(
    ("named", "what", "remedy"),
    [
        ("GPU-5f3a91", "'GPU-5f3a91' could be 2 GPUs", "write more of the UUID"),
        ("7", "there is no GPU '7' here", "provider gpus"),
        ("RTX", "there is no GPU 'RTX' here", "provider gpus"),
        ("", "there is no GPU '' here", "provider gpus"),
    ],
)
def test_what_names_no_single_card_changes_nothing(
    provider: Callable[[Card], Provider], named: str, what: str, remedy: str
) -> None:
    card = two_cards()
    status, out, err = provider(card)("gpus", "cordon", named)
    assert (status, out) == (1, "")
    assert what in err.splitlines()[0]
    assert remedy in err.splitlines()[-1]
    assert not any(record.active or record.history for record in card.agent.state.gpu_records.values())


def test_cordon_and_uncordon_say_what_follows(provider: Callable[[Card], Provider]) -> None:
    card = two_cards()
    run(card.agent)
    _, out, _ = provider(card)("gpus", "cordon", "0")
    assert f"{FIRST} is not sold any more" in out
    assert f"{lease_of()} runs on" in out
    card.fails(94)
    _, out, _ = provider(card)("gpus", "uncordon", FIRST)
    assert "cordoned, contained ECC" in out
    assert card.signals == set()
    assert "nothing held against it" in provider(card)("gpus", "uncordon", "0")[1]


def test_health_tells_signals_how_they_go_and_what_was(provider: Callable[[Card], Provider]) -> None:
    card = two_cards()
    card.fails(13, lease=lease_of(), count=212)
    card.look(is_remap_pending=True, is_remap_failed=True)
    _, out, _ = provider(card)("gpus", "health", "0")
    assert "● unhealthy" in out
    assert "13 x 212" in out
    assert "a kernel of the program made an illegal access or instruction" in out
    assert "remap failed" in out
    assert "provider gpus uncordon" in out
    assert "+ remap pending" in out
    assert SECOND not in out
    assert SECOND in provider(card)("gpus", "health")[1]


def test_health_for_programs_has_everything(provider: Callable[[Card], Provider]) -> None:
    card = two_cards()
    card.fails(94, lease=lease_of())
    answer: dict[str, Any] = json.loads(provider(card)("gpus", "health", FIRST, "--json")[1])
    (told,) = answer["gpus"]
    assert (told["uuid"], told["health"], told["index"]) == (FIRST, "degraded", 0)
    (held,) = told["signals"]
    assert held["signal"] == "contained_ecc"
    assert held["since_ms"] == str(card.agent.at)
    assert held["clears"] == "at a reset of the card or a reboot, or provider gpus uncordon"
    assert [(each["xid"], each["kind"], each["count"]) for each in told["xids"]] == [(94, "contained", 1)]
    assert told["history"][0]["raised"] is True


def test_a_card_that_is_gone_is_still_told_of(provider: Callable[[Card], Provider]) -> None:
    card = two_cards()
    card.agent.take(nodes_read(node(*card.gpus[1:])))
    card.looks_for(20_000, is_told=False)
    assert card.signals == {GpuSignal.GPU_MISSING}
    _, out, _ = provider(card)("gpus", "health")
    assert f"gone  {FIRST}" in out
    assert provider(card)("gpus", "uncordon", FIRST)[0] == 0


def test_watching_needs_a_terminal(provider: Callable[[Card], Provider]) -> None:
    status, _, err = provider(two_cards())("gpus", "--watch")
    assert status == 2
    assert err.splitlines()[0] == "--watch draws on a terminal, and there is none"
    assert err.splitlines()[1].startswith("  Try: ")
