"""``provider price``: a manifest priced without a daemon, as a bid would be, every part explained."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from provider.app.cli.provider import main

ROOT = Path(__file__).resolve().parents[3]
HELLO = ROOT / "manifests" / "hello-gpu.yaml"


@pytest.fixture
def priced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Exit status, standard output and error of ``provider price`` with these settings."""

    def run(settings: dict[str, Any], *arguments: str, file: Path = HELLO) -> tuple[int, str, str]:
        path = tmp_path / "provider.yaml"
        path.write_text(json.dumps({"state_dir": str(tmp_path), **settings}))
        status = main(["--config", str(path), "price", str(file), *arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def test_every_part_is_explained_and_they_add_up(priced: Any) -> None:
    floor = {"kwh": 0.3, "host_watts": 100, "wear_gpu_hour": {"*": 0.05}}
    pricing = {"gpu_hour": {"h100": 2, "*": 1}, "worth": {"uakt": 0.5}, "floor": floor}
    settings = {"pricing": pricing, "bidding": {"denoms": ["uact", "uakt"]}}
    status, out, _ = priced(settings, "--simulate", "h100:2", "--json")
    (group,) = json.loads(out)
    assert status == 0
    assert group["gpus"] == ["h100"]
    assert group["refused"] is None
    parts = {each["what"]: each for each in group["parts"]}
    assert Decimal(parts["gpu h100"]["unit_cost_micros_hour"]) == 2_000_000
    assert sum(Decimal(each["cost_micros_hour"]) for each in group["parts"]) == Decimal(group["hour_micros"])
    assert Decimal(group["rates"]["uact"]) * 600 - Decimal(group["hour_micros"]) < Decimal("1e-15")
    assert abs(Decimal(group["rates"]["uakt"]) - 2 * Decimal(group["rates"]["uact"])) < Decimal("1e-15")
    costs = {each["what"]: Decimal(each["cost_micros_hour"]) for each in group["costs"]}
    assert costs["electricity of h100, kWh"] == Decimal(210_000), "700 W"
    assert costs["electricity of the machine, kWh"] == Decimal(15_000), "half of the cards"
    assert costs["wear of h100"] == Decimal(50_000)


def test_it_is_good_to_read(priced: Any) -> None:
    status, out, _ = priced({"pricing": {"floor": {"kwh": 0.3}}}, "--simulate", "h100:2")
    assert status == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0] == "anywhere on 1 x h100 SIMULATED"
    assert "gpu h100 1 1.000000 1.000000" in lines
    assert "cpu cores 0.5 0.010000 0.005000" in lines
    assert "electricity of h100, kWh 0.7 0.300000 0.210000" in lines
    assert any(line.startswith("ACT 1,675.666667 uact 1.005400 733.94") for line in lines), lines
    assert "a bid: the order pays at most" in out


def test_an_order_that_pays_too_little_has_its_price_and_no_bid(priced: Any) -> None:
    status, out, _ = priced({"pricing": {"gpu_hour": {"*": 900}}}, "--simulate", "h100", "--json")
    (group,) = json.loads(out)
    assert status == 3
    assert group["refused"]["why"] == "price_too_low"
    assert Decimal(group["hour_micros"]) > 900_000_000
    status, out, _ = priced({"pricing": {"floor": {"kwh": 900}}}, "--simulate", "h100")
    assert status == 3
    assert "no bid: below cost" in out
    assert "what it costs you: the floor" in out


def test_cards_that_are_not_here_are_a_reason(priced: Any) -> None:
    status, out, _ = priced({}, "--simulate", "t4", file=ROOT / "manifests" / "llm-inference.yaml")
    assert status == 3
    assert "no bid: gpu unknown" in out


def test_a_script_is_asked(priced: Any, tmp_path: Path) -> None:
    script = tmp_path / "price.sh"
    script.write_text("#!/bin/sh\n[ $AKASH_DENOM = uact ] && echo 1500.5\n")
    script.chmod(0o755)
    settings = {"pricing": {"strategy": "script", "script": str(script)}}
    status, out, _ = priced(settings, "--simulate", "h100", "--json")
    (group,) = json.loads(out)
    assert (status, group["parts"][0]["what"]) == (0, "asked by the script")
    assert Decimal(group["rates"]["uact"]) == Decimal("1500.5")
    script.write_text("#!/bin/sh\necho not today >&2; exit 1\n")
    status, out, _ = priced(settings, "--simulate", "h100")
    assert status == 3
    assert "not today" in out


def test_what_cannot_be_asked_for_is_told(priced: Any) -> None:
    status, _, err = priced({}, "--group", "elsewhere", "--simulate", "h100")
    assert status == 2
    assert "there is no such placement" in err
    assert "there are anywhere" in err
    assert priced({}, "--simulate", "h100:x")[0] == 2
    assert priced({"pricing": {"strategy": "skript"}}, "--simulate", "h100")[0] == 2
