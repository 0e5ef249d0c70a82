"""When the operator works on the machine: windows in which nobody shall have just moved in.

Pure arithmetic on instants, in UTC. Invariant: what is asked about an instant depends on nothing but it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from provider.domain.moment import HOUR, MINUTE, Instant, Span, rfc3339

WEEK = Span(7 * 24 * HOUR)
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MONDAY = Instant(4 * 24 * HOUR)
"""1970 began on a Thursday; this is its first Monday."""
_WEEKLY = re.compile(r"(?P<day>[a-z]{3}) (?P<hour>\d\d):(?P<minute>\d\d) (?P<length>\d+(?:\.\d+)?)h")
_DATED = re.compile(r"(?P<begins>\d{4}-\d\d-\d\dT\d\d:\d\d)Z (?P<length>\d+(?:\.\d+)?)h")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Once, or every week at the same time."""

    begins: Instant
    """Of a weekly one, any of its beginnings."""
    lasts: Span
    is_weekly: bool = False

    def next_from(self, at: Instant) -> tuple[Instant, Instant] | None:
        """Beginning and end of the one that goes on at ``at``, or else the next; None when all are over."""
        begins = self.begins
        if self.is_weekly:
            over = (at - self.begins - self.lasts) // WEEK + 1
            begins = Instant(self.begins + over * WEEK)
        ends = Instant(begins + self.lasts)
        return (begins, ends) if ends > at else None


def window(text: str) -> Window:
    """From ``sun 02:00 4h`` (every week) or ``2026-12-01T02:00Z 6h``, UTC. ``ValueError`` otherwise."""
    weekly, dated = _WEEKLY.fullmatch(text), _DATED.fullmatch(text)
    if weekly is not None and _is_time_of_week(weekly):
        hours = _DAYS.index(weekly["day"]) * 24 + int(weekly["hour"])
        begins = Instant(_MONDAY + hours * HOUR + int(weekly["minute"]) * MINUTE)
        length, is_weekly = weekly["length"], True
    elif dated is not None:
        moment = datetime.strptime(dated["begins"], "%Y-%m-%dT%H:%M").replace(tzinfo=UTC)
        begins, length, is_weekly = Instant(round(moment.timestamp() * 1000)), dated["length"], False
    else:
        raise ValueError(f"{text!r} is not a window such as 'sun 02:00 4h' or '2026-12-01T02:00Z 6h' (UTC)")
    lasts = Span(round(float(length) * HOUR))
    if not 0 < lasts < WEEK:
        raise ValueError(f"{text!r}: a window lasts more than nothing and less than a week")
    return Window(begins=begins, lasts=lasts, is_weekly=is_weekly)


def _is_time_of_week(found: re.Match[str]) -> bool:
    return found["day"] in _DAYS and int(found["hour"]) < 24 and int(found["minute"]) < 60


def in_the_way(windows: tuple[Window, ...], at: Instant, ahead: Span) -> tuple[Instant, Instant] | None:
    """Of the windows that a lease which begins at ``at`` could reach into within ``ahead``, the first."""
    coming = [found for each in windows if (found := each.next_from(at)) and found[0] <= at + ahead]
    return min(coming, default=None)


def spoken(span: tuple[Instant, Instant]) -> str:
    """``2026-12-01T02:00:00.000Z to …``."""
    return f"{rfc3339(span[0])} to {rfc3339(span[1])}"
