"""Time as data: instants arrive with events, nothing inside reads a clock.

An ``Instant`` is UTC milliseconds since 1970; a ``Span`` is a length in milliseconds. Both are plain
integers so that they add, compare and store without a library.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NewType

Instant = NewType("Instant", int)
Span = NewType("Span", int)

SECOND = Span(1_000)
MINUTE = Span(60_000)
HOUR = Span(3_600_000)


def after(instant: Instant, span: Span) -> Instant:
    """``span`` later than ``instant``."""
    return Instant(instant + span)


def spelled(span: Span) -> str:
    """``36h``, ``90m``, ``45s``: in the largest unit in which it is whole, seconds at the least."""
    for unit, letter in ((HOUR, "h"), (MINUTE, "m")):
        if span >= unit and span % unit == 0:
            return f"{span // unit}{letter}"
    return f"{span // SECOND}s"


def rfc3339(instant: Instant) -> str:
    """``2026-11-22T17:00:00.123Z``: how instants are shown and logged."""
    moment = datetime.fromtimestamp(instant / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{instant % 1000:03d}Z"
