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


def rfc3339(instant: Instant) -> str:
    """``2026-11-22T17:00:00.123Z``: how instants are shown and logged."""
    moment = datetime.fromtimestamp(instant / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{instant % 1000:03d}Z"
