"""``provider simulate``, from a ledger's file to the table: what is known, and what is said not to be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from provider.adapters.ledger import LedgerSettings, SqliteLedger, file
from provider.app.cli.provider import main
from provider.app.config import ProviderConfig
from provider.app.policy import policy
from provider.core.effects import AskPrice, PlaceBid, StartWorkload, StopWorkload
from provider.core.events import Failed, Performed, PolicyChanged
from provider.core.ledger import Decided
from provider.core.policy import Policy, PriceStrategy
from provider.domain.ids import ProviderId
from provider.domain.money import Denom
from provider.domain.resources import GpuAlternative
from tests.agents import (
    Agent,
    ask,
    gpu,
    group,
    node,
    nodes_read,
    rate,
    resources,
    run_for,
    settle,
    unit,
)
from tests.unit.core.test_replay import ended


def usual() -> Policy:
    return policy(ProviderConfig(), ProviderId("frankfurt-1"))


def story() -> Agent:
    """Of two cards of a dollar an hour: one lease that ended, a bid that was lost, refusals of two kinds."""
    agent = Agent(gpu(0), gpu(1), policy=usual())
    many = group(unit(price=2000))
    ended_with(agent, 1)
    agent.opens(2, many)
    agent.closes(2)
    agent.opens(3, group(unit(price=1000)))
    agent.closes(3)
    agent.opens(4, group(unit(resources(gpus=ask(1, GpuAlternative(vendor="nvidia", model="b200"))))))
    agent.passes(3_600_000)
    agent.opens(5, many)
    return agent


def ended_with(agent: Agent, number: int) -> None:
    ended(agent, number, group(unit(price=2000)))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    ledger = SqliteLedger(LedgerSettings(path=tmp_path / "ledger.db", linger_s=0))
    for record in story().records:
        ledger.keep(record)
    ledger.close()
    (tmp_path / "provider.yaml").write_text(f"state_dir: {tmp_path}\n")
    return tmp_path


def simulated(
    shop: Path, capsys: pytest.CaptureFixture[str], *argv: str, config: str = ""
) -> tuple[int, str]:
    options = list(argv)
    if config:
        (shop / "new.yaml").write_text(config)
        options += ["--config", str(shop / "new.yaml")]
    status = main(["--config", str(shop / "provider.yaml"), "simulate", *options])
    told = capsys.readouterr()
    return status, told.out + told.err


def as_json(shop: Path, capsys: pytest.CaptureFixture[str], *argv: str, config: str = "") -> dict[str, Any]:
    status, out = simulated(shop, capsys, *argv, "--json", config=config)
    assert status == 0
    loaded: dict[str, Any] = json.loads(out)
    return loaded


def test_under_the_same_settings_everything_comes_out_as_it_did(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = as_json(shop, capsys)
    assert told["really"] == told["simulated"]
    assert told["changed_orders"] == []
    really = told["really"]
    assert (really["orders"], really["bid_on"], really["won"], really["lost"], really["still_open"]) == (
        5,
        3,
        1,
        1,
        1,
    )
    assert really["reasons"] == {"price_too_low": 1, "gpu_unknown": 1}
    # a card, half a core and a GiB each of memory and disk, for ten minutes
    assert really["earned_micros"] == {"uact": 168_016}
    assert told["inventory"] == "recorded"


def test_a_lower_price_earns_less_on_what_won_and_the_rest_is_not_known(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = as_json(shop, capsys, config='pricing: {gpu_hour: {"*": 0.5}}')["simulated"]
    assert told["earned_micros"] == {"uact": 84_683}
    assert (told["won"], told["lost"], told["unknown"], told["still_open"]) == (1, 0, 2, 1)
    assert told["unknown_micros_hour"] == {"uact": "1016200"}
    assert told["reasons"] == {"gpu_unknown": 1}


def test_a_higher_price_is_not_known_to_win_and_known_to_lose(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = as_json(shop, capsys, config='pricing: {gpu_hour: {"*": 1.1}}')["simulated"]
    assert (told["won"], told["lost"], told["unknown"]) == (0, 1, 1)
    assert told["earned_micros"] == {}


def test_what_is_offered_decides_too(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = as_json(shop, capsys, config="bidding: {denoms: [uakt]}")["simulated"]
    assert told["reasons"] == {"denom_not_accepted": 5}


def test_the_table_sets_both_sides_beside_each_other(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out = simulated(shop, capsys, "--orders", config='pricing: {gpu_hour: {"*": 0.5}}')
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert status == 0
    for line in (
        "REALLY WITH new.yaml",
        "orders 5 5",
        "refused 2 1",
        "price too low 1 0",
        "bid on 3 4",
        "won 1 1",
        "lost 1 0",
        "not known 0 2",
        "earned ACT 0.168016 0.084683",
        "alice/2/1/1 lost at 1.0081 ACT/h unknown at 0.5081 ACT/h",
    ):
        assert line in lines, f"{line!r} is not in\n{out}"
    assert "2 bid(s) were never made" in out
    assert "all of them together ask 1.0162 ACT/h" in out


def test_only_what_was_since_then_counts(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    last = [record for record in file.read_all(shop / "ledger.db") if isinstance(record, Decided)][-1]
    told = as_json(shop, capsys, "--since", str(last.at / 1000))
    assert told["really"] == told["simulated"]
    assert told["really"]["orders"] == 1
    status, out = simulated(shop, capsys, "--since", "1h")
    assert status == 2
    assert "no order was decided on in that time" in out
    assert "look further back" in out


def test_with_what_there_is_now(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    agent = Agent(gpu(0), policy=usual())
    for number in (1, 2):
        agent.opens(number, group(unit(price=2000)))
    agent.closes(2)
    agent.take(nodes_read(node(gpu(0), gpu(1))))
    ledger = SqliteLedger(LedgerSettings(path=tmp_path / "ledger.db", linger_s=0))
    for record in agent.records:
        ledger.keep(record)
    ledger.close()
    (tmp_path / "provider.yaml").write_text(f"state_dir: {tmp_path}\n")
    told = as_json(tmp_path, capsys, "--inventory", "now")
    assert (told["really"]["bid_on"], told["simulated"]["bid_on"]) == (1, 2)
    assert told["inventory"] == "now"


def test_a_mistake_in_the_changed_settings_is_told_with_its_place(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out = simulated(shop, capsys, config="pricing: {gpu_our: {}}")
    assert status == 2
    assert "gpu_our" in out


def scripted(shop: Path, more: str = "") -> str:
    script = shop / "price.sh"
    script.write_text("#!/bin/sh\necho 1\n")
    script.chmod(0o755)
    return f"pricing: {{strategy: script, script: {script}{more}}}"


def test_a_script_is_not_asked_about_orders_that_the_list_priced(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out = simulated(shop, capsys, config=scripted(shop))
    assert status == 2
    assert "a simulation asks no script" in out


def asked(shop: Path) -> None:
    """Another ledger, of prices by a script: one lease, a refusal, a price too high, a refusal by a rule."""
    agent = Agent(gpu(0), gpu(1), policy=replace(usual(), strategy=PriceStrategy.SCRIPT))
    many = group(unit(price=2000))

    def answered(number: int, price: str = "", why: str = "") -> None:
        agent.opens(number, many)
        effect = agent.last(AskPrice)
        failed = Failed(effect=effect, what=why, is_final=True)
        agent.take(Performed(effect=effect, price=rate(price)) if price else failed)

    answered(1, "1500.5")
    settle(agent, PlaceBid)
    agent.awards(1)
    agent.sends(1)
    agent.done(agent.last(StartWorkload))
    run_for(agent, agent.launch(), 600_000)
    agent.ends(1)
    agent.done(agent.last(StopWorkload))
    answered(2, why="not for alice")
    answered(3, "2500")
    agent.opens(4, group(unit(resources(gpus=ask(1, GpuAlternative(vendor="nvidia", model="b200"))))))
    other = group(replace(unit(price=2000), price=replace(rate("2000"), denom=Denom.UAKT)))
    agent.opens(5, other)
    (shop / "ledger.db").unlink()
    ledger = SqliteLedger(LedgerSettings(path=shop / "ledger.db", linger_s=0))
    for record in agent.records:
        ledger.keep(record)
    ledger.close()


def test_prices_of_a_script_are_those_that_it_gave_then(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked(shop)
    told = as_json(shop, capsys, config=scripted(shop))
    assert (told["prices"], told["not_asked"], told["changed_orders"]) == ("recorded", 0, [])
    assert told["really"] == told["simulated"]
    assert told["simulated"]["won"] == 1
    assert told["simulated"]["reasons"] == {
        "price_not_given": 1,
        "price_too_low": 1,
        "gpu_unknown": 1,
        "denom_not_accepted": 1,
    }
    _, out = simulated(shop, capsys, config=scripted(shop))
    assert "Prices are those that the script gave then" in out


def test_they_are_held_to_the_changed_least_and_orders_without_one_are_told_apart(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked(shop)
    told = as_json(shop, capsys, config=scripted(shop, ", minimum_hour: 1.1"))
    (changed,) = told["changed_orders"]
    assert changed["simulated"]["rate"] == "1833.333333333333333334uact"
    told = as_json(shop, capsys, config=scripted(shop) + "\nbidding: {denoms: [uact, uakt]}")
    assert told["not_asked"] == 1
    assert told["simulated"]["reasons"]["price_not_given"] == 2
    _, out = simulated(shop, capsys, config=scripted(shop) + "\nbidding: {denoms: [uact, uakt]}")
    assert "1 order(s) had no price of the script then" in out


def test_without_a_ledger_there_is_a_clear_error(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out = simulated(shop, capsys, "--ledger", str(shop / "none.db"))
    assert status == 2
    assert "there is no ledger" in out


def test_the_file_is_only_read(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (shop / "ledger.db").read_bytes()
    as_json(shop, capsys, config="bidding: {denoms: [uakt]}")
    assert (shop / "ledger.db").read_bytes() == before


def test_settings_that_were_changed_meanwhile_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = Agent(gpu(0), policy=replace(usual(), denoms=frozenset({Denom.UAKT})))
    agent.opens(1, group(unit(price=2000)))
    agent.take(PolicyChanged(policy=usual(), changes=("bidding.denoms",)))
    ledger = SqliteLedger(LedgerSettings(path=tmp_path / "ledger.db", linger_s=0))
    for record in agent.records:
        ledger.keep(record)
    ledger.close()
    (tmp_path / "provider.yaml").write_text(f"state_dir: {tmp_path}\n")
    told = as_json(tmp_path, capsys)
    assert (told["settings_changed"], told["really"]["bid_on"], told["simulated"]["bid_on"]) == (1, 1, 1)
    _, out = simulated(tmp_path, capsys)
    assert "The settings were changed 1 time(s) meanwhile" in out
