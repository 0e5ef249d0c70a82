"""Time that is billed: opened when a workload runs, closed when it does not, reported as one total.

Owns no money: the market turns the total into what was earned (``domain.money.earned``). Invariant:
the total never falls, and never counts an instant twice or one in which nothing ran. So what is billed of a
run that goes on ends at the last look at the engine: later the machine may have been off.
"""

from __future__ import annotations

from dataclasses import replace

from provider.core.state import Meter
from provider.domain.moment import SECOND, Instant, Span, after

YOUNG = Span(30 * SECOND)
"""A look at the engine stands for this long when a lease is stopped: three times what lies between two."""


def opened(meter: Meter, since: Instant, interval: Span) -> Meter:
    """The workload runs since ``since``; what was counted before is not counted again."""
    assert meter.since is None, "a meter that runs is not opened again"
    since = max(since, meter.seen_at) if meter.seen_at is not None else since
    return replace(meter, since=since, seen_at=since, report_at=after(since, interval))


def reopened(meter: Meter, since: Instant, interval: Span) -> Meter:
    """It runs since ``since`` after a change; until the last look before, it may have run too."""
    if meter.since is None:
        return opened(meter, since, interval)
    seen_at = meter.seen_at if meter.seen_at is not None else meter.since
    return opened(closed(meter, min(seen_at, max(since, meter.since))), since, interval)


def seen(meter: Meter, at: Instant) -> Meter:
    """A look at the engine found it running at ``at``."""
    return replace(meter, seen_at=max(at, meter.seen_at) if meter.seen_at is not None else at)


def died(meter: Meter, ended_at: Instant | None, at: Instant) -> Meter:
    """It is known at ``at`` that nothing runs since ``ended_at``; None where the engine does not know."""
    seen_at = meter.seen_at if meter.seen_at is not None else at
    end = min(max(ended_at, seen_at), at) if ended_at is not None else seen_at
    return replace(closed(meter, end), seen_at=end)


def stopped(meter: Meter, at: Instant) -> Meter:
    """It is being stopped at ``at``, and billed until then if it was seen of late."""
    is_blind = meter.seen_at is not None and at - meter.seen_at > YOUNG
    return closed(meter, meter.seen_at if is_blind and meter.seen_at is not None else at)


def closed(meter: Meter, at: Instant) -> Meter:
    """Nothing runs since ``at``. Fine when nothing ran."""
    return replace(meter, ran_ms=total_ms(meter, at), since=None, report_at=None)


def reported(meter: Meter, at: Instant, interval: Span) -> Meter:
    """One more report was wanted at ``at``."""
    report_at = after(at, interval) if meter.since is not None else None
    return replace(meter, reports=meter.reports + 1, report_at=report_at)


def sure_ms(meter: Meter) -> int:
    """Milliseconds up to the last look: what may be billed while it goes on."""
    return total_ms(meter, meter.seen_at) if meter.seen_at is not None else meter.ran_ms


def total_ms(meter: Meter, at: Instant) -> int:
    """Milliseconds that it ran up to ``at``, if it still runs; a clock that was set back adds nothing."""
    return meter.ran_ms + (max(at - meter.since, 0) if meter.since is not None else 0)
