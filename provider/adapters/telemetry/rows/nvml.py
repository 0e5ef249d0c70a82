"""How reading the cards itself does."""

from __future__ import annotations

from provider.adapters.telemetry import table
from provider.adapters.telemetry.rows.sample import Rows
from provider.adapters.telemetry.view import Snapshot


def probe(snapshot: Snapshot) -> Rows:
    facts = snapshot.probe
    if facts is None:
        return
    yield table.nvml.UP, [((), float(facts.is_up))]
    last = None if facts.last_success is None else facts.last_success / 1000
    yield table.nvml.LAST_SUCCESS, [((), last)]
    yield table.nvml.ERRORS, [((symbol, str(code)), count) for symbol, code, count in facts.failures]
    yield table.nvml.WORKER_RESTARTS, [((reason,), count) for reason, count in facts.restarts]
    yield table.nvml.WORKERS_STUCK, [((), facts.unreapable)]
