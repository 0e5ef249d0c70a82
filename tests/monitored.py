"""The dashboards and alerts that are shipped, as tests look at them: every expression and what it names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from provider.adapters.telemetry import table
from provider.adapters.telemetry.table.metric import Kind, Metric

FOLDER = Path(__file__).parents[1] / "monitoring"
ALERTS = FOLDER / "alerts.yml"
ALERTS_TEST = FOLDER / "alerts_test.yml"
DASHBOARDS = tuple(sorted((FOLDER / "grafana").glob("*.json")))
SCRAPED = {"job", "instance"}
"""Labels that Prometheus adds."""
NOT_OURS = {"up", "process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"}
_SELECTOR = re.compile(r"\b((?:provider|process)_[a-z0-9_]+|up)\b(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """``where`` is for messages."""

    where: str
    text: str

    def selected(self) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
        """Each metric's name as written, and its matchers: label, operator, value."""
        bare = _GROUPING.sub("", self.text)
        for name, matchers in _SELECTOR.findall(bare):
            yield name, _MATCHER.findall(matchers)

    def grouped(self) -> set[str]:
        """Labels by which it is summed or joined."""
        found = (label.strip() for part in _GROUPING.findall(self.text) for label in part.split(","))
        return {label for label in found if label}


@cache
def declared() -> dict[str, Metric]:
    """Every name that a declared metric has in an exposition."""
    names = {}
    for metric in table.metrics():
        suffixes = ("_bucket", "_sum", "_count") if metric.kind is Kind.HISTOGRAM else ("",)
        names.update({metric.name + suffix: metric for suffix in suffixes})
    return names


@cache
def dashboard(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def rules() -> list[dict[str, Any]]:
    loaded = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))
    return [rule for group in loaded["groups"] for rule in group["rules"]]


def shown() -> list[Expression]:
    """Of all dashboards."""
    return [
        Expression(where=f"{path.name}: {panel['title']}", text=target["expr"])
        for path in DASHBOARDS
        for panel in dashboard(path)["panels"]
        for target in panel.get("targets", ())
    ]


def watched() -> list[Expression]:
    """Of all alerts."""
    return [Expression(where=rule["alert"], text=rule["expr"]) for rule in rules()]
