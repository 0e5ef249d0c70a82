"""Time that is billed: opened when a workload runs, closed when it does not, reported as one total.

Owns no money: the market turns the total into what was earned (``domain.money.earned``). Invariant:
the total never falls, and never counts an instant twice or one in which nothing ran.
"""

from __future__ import annotations

from dataclasses import replace

from provider.core.state import Meter
from provider.domain.moment import Instant, Span, after


def opened(meter: Meter, since: Instant, interval: Span) -> Meter:
    """The workload runs since ``since``."""
    assert meter.since is None, "a meter that runs is not opened again"
    return replace(meter, since=since, report_at=after(since, interval))


def closed(meter: Meter, at: Instant) -> Meter:
    """Nothing runs since ``at``. Fine when nothing ran."""
    return replace(meter, ran_ms=total_ms(meter, at), since=None, report_at=None)


def reported(meter: Meter, at: Instant, interval: Span) -> Meter:
    """One more report was wanted at ``at``."""
    report_at = after(at, interval) if meter.since is not None else None
    return replace(meter, reports=meter.reports + 1, report_at=report_at)


def total_ms(meter: Meter, at: Instant) -> int:
    """Milliseconds billed up to ``at``; a clock that was set back adds nothing."""
    return meter.ran_ms + (max(at - meter.since, 0) if meter.since is not None else 0)
