"""Dashboards and alerts name only what is declared, all of it; they are as Grafana and people need them."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from provider.adapters.telemetry import table
from provider.adapters.telemetry.metrics import BidOutcome
from provider.app import busy_story
from provider.domain.gpu_health import XidClass
from provider.domain.market import CloseReason
from tests.monitored import (
    ALERTS_TEST,
    DASHBOARDS,
    NOT_OURS,
    SCRAPED,
    Expression,
    dashboard,
    declared,
    rules,
    shown,
    watched,
)

ALL = [*shown(), *watched()]
KNOWN_VALUES: dict[str, set[str]] = {
    "class": {str(each) for each in XidClass},
    "fault": {str(reason.fault) for reason in CloseReason},
    "outcome": {str(each) for each in BidOutcome},
}
"""What a label may be that the simulated host need not have."""


def test_there_are_some() -> None:
    assert [path.stem for path in DASHBOARDS] == ["gpu", "leases", "operator"]
    assert len(shown()) > 80
    assert len(watched()) > 30


@pytest.mark.parametrize("expression", ALL, ids=lambda expression: expression.where)
def test_names_and_labels_are_those_of_the_table(expression: Expression) -> None:
    selected = list(expression.selected())
    assert selected
    labels = set(SCRAPED)
    for name, matchers in selected:
        if name in NOT_OURS:
            own = SCRAPED
        else:
            assert name in declared(), f"{name} is not declared"
            own = SCRAPED | set(declared()[name].labels) | ({"le"} if name.endswith("_bucket") else set())
        labels |= own
        assert {label for label, _, _ in matchers} <= own, f"{name} has no such label"
    assert expression.grouped() <= labels


def test_every_declared_metric_is_shown_somewhere() -> None:
    used = {name for expression in ALL for name, _ in expression.selected()}
    names = {declared()[name].name for name in used if name in declared()}
    assert {metric.name for metric in table.metrics()} - names == set()


def test_values_that_are_looked_for_exist() -> None:
    """``state="unhealty"`` would be quiet for ever."""
    with capture_logs():
        families = text_string_to_metric_families(busy_story.exposition().decode())
    told: dict[tuple[str, str], set[str]] = {}
    for family in families:
        for sample in family.samples:
            for label, value in sample.labels.items():
                told.setdefault((sample.name, label), set()).add(value)
    unknown = []
    for expression in ALL:
        for name, matchers in expression.selected():
            for label, _, values in matchers:
                if label in SCRAPED or "$" in values:
                    continue
                known = told.get((name, label), set()) | KNOWN_VALUES.get(label, set())
                unknown += [
                    f"{expression.where}: {label}={value}"
                    for value in values.split("|")
                    if value not in known
                ]
    assert unknown == []


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    assert re.fullmatch(r"Provider([A-Z][a-z0-9]*)+", rule["alert"])
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "description", "action"}
    assert all(text.endswith((".", "UUID`.")) for text in (rule["annotations"]["action"],))
    assert len(rule["annotations"]["summary"]) < 100


def test_every_alert_is_tested_to_fire_and_to_be_quiet() -> None:
    tests = yaml.safe_load(ALERTS_TEST.read_text(encoding="utf-8"))["tests"]
    names = {rule["alert"] for rule in rules()}
    assert {each["name"].removesuffix(" fires") for each in tests if each["name"].endswith(" fires")} == names
    (quiet,) = (each for each in tests if "alert_rule_test" in each)
    assert {each["alertname"] for each in quiet["alert_rule_test"]} == names


# --- what Grafana needs of a dashboard's JSON (its "dashboard JSON model")


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_can_be_imported(path: Path) -> None:
    board = dashboard(path)
    assert re.fullmatch(r"[a-z-]{1,40}", board["uid"])
    assert board["schemaVersion"] >= 36
    assert board["title"].startswith("Provider: ")
    assert "id" not in board, "an import is given one"
    assert board["templating"]["list"][0] == {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "current": {},
        "hide": 0,
    }
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["type"] in {"timeseries", "stat", "table", "row"}
        assert panel["title"]
        targets = panel.get("targets", [])
        assert bool(targets) == (panel["type"] != "row")
        assert len({target["refId"] for target in targets}) == len(targets)
        if targets:
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert set(panel["fieldConfig"]) == {"defaults", "overrides"}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_panels_fit_the_grid_and_do_not_overlap(path: Path) -> None:
    places = [panel["gridPos"] for panel in dashboard(path)["panels"]]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= 24 and place["h"] > 0 for place in places)
    for one, other in combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_variables_are_defined_and_used(path: Path) -> None:
    board = dashboard(path)
    defined = {each["name"] for each in board["templating"]["list"]}
    written = path.read_text(encoding="utf-8")
    used = {name for name in re.findall(r"\$\{?(\w+)\}?", written) if not name.startswith("__")}
    assert used == defined
    assert len({dashboard(each)["uid"] for each in DASHBOARDS}) == len(DASHBOARDS)
