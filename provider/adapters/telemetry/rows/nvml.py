"""How reading the cards itself does."""

from __future__ import annotations

from provider.adapters.telemetry.rows.sample import Group, Rows
from provider.adapters.telemetry.table import nvml as table
from provider.adapters.telemetry.view import ProbeFacts


def probe(facts: ProbeFacts) -> Group:
    return Group(
        metrics=(table.UP, table.LAST_SUCCESS, table.ERRORS, table.WORKER_RESTARTS, table.WORKERS_STUCK),
        tell=_probe,
        parts=[("", (facts,))],
    )


def _probe(facts: ProbeFacts) -> Rows:
    yield table.UP, [((), float(facts.is_up))]
    yield table.LAST_SUCCESS, [((), None if facts.last_success is None else facts.last_success / 1000)]
    yield table.ERRORS, [((symbol, str(code)), count) for symbol, code, count in facts.failures]
    yield table.WORKER_RESTARTS, [((reason,), count) for reason, count in facts.restarts]
    yield table.WORKERS_STUCK, [((), facts.unreapable)]
