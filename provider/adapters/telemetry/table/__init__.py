"""Every metric that is exported, a module a subject. Nothing is exported that is not here.

Owns the declaration; ``docs/metrics.md`` is held to it by a test, and so are dashboards and alerts. A lease's
series go when the lease goes, a card's when the card goes. Billing is the ledger's business: nothing here is
good enough to bill from.
"""

from __future__ import annotations

from collections.abc import Iterator

from provider.adapters.telemetry.table import daemon, gpu, lease, market, nvml, runtime, usage
from provider.adapters.telemetry.table.metric import Metric

SUBJECTS = (gpu, nvml, lease, usage, market, runtime, daemon)


def metrics() -> Iterator[Metric]:
    """All of them, in the order of their modules."""
    return (value for subject in SUBJECTS for value in vars(subject).values() if isinstance(value, Metric))


def markdown() -> str:
    """The table as ``docs/metrics.md`` has it."""
    rows = ["| name | type | labels | meaning |", "|---|---|---|---|"]
    for metric in metrics():
        labels = ", ".join(f"`{label}`" for label in metric.labels) or "-"
        rows.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |")
    return "\n".join(rows) + "\n"
