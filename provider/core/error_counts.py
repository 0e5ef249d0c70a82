"""Errors within a day, counted over restarts of the daemon, reboots and resets of the card.

The driver's counter begins again when it is loaded; what is kept (``ErrorCount``, committed with the card's
record) goes on. Pure. Keeping is coarse, so that a card that counts all the time costs a commit an hour at
most; counting is not: what came since it was last kept is the difference to the driver's own counter.
"""

from __future__ import annotations

from dataclasses import replace

from provider.core.faults import DAY
from provider.domain.gpu_health import ErrorCount
from provider.domain.moment import HOUR, Instant

KEPT_EVERY = HOUR
"""A day's samples: a window is an hour too long at most."""


def growth(known: ErrorCount | None, told: int, at: Instant) -> int:
    """How many more there are than a day ago, by the driver's count of now."""
    if known is None:
        return 0
    before = [total for when, total in known.samples if when <= at - DAY]
    oldest = before[-1] if before else known.samples[0][1] if known.samples else known.total
    return _total(known, told) - oldest


def kept(known: ErrorCount | None, told: int, at: Instant, *, is_told: bool = False) -> ErrorCount | None:
    """What is to be kept from now on; None where that is good enough which is. ``is_told``: somebody was just
    told of them, and may say that they are nothing."""
    if known is None:
        return ErrorCount(told=told, samples=((at, 0),))
    if told == known.told:
        return None
    newest = known.samples[-1][0] if known.samples else None
    if newest is not None and 0 <= at - newest < KEPT_EVERY and told > known.told and not is_told:
        return None
    return _added(known, told, at)


def acknowledged(known: ErrorCount | None, at: Instant) -> ErrorCount | None:
    """Those until now do not count any more."""
    return known and replace(known, samples=((at, known.total),))


def _added(known: ErrorCount, told: int, at: Instant) -> ErrorCount:
    total = _total(known, told)
    # Where the clock was set back, what is of later is of now. A day begins at the last that is older.
    samples = [*((min(when, at), count) for when, count in known.samples), (at, total)]
    first = max((place for place, (when, _) in enumerate(samples) if when <= at - DAY), default=0)
    return ErrorCount(told=told, total=total, samples=tuple(samples[first:]))


def _total(known: ErrorCount, told: int) -> int:
    """A counter that fell began again: all that it counts is new."""
    return known.total + (told - known.told if told >= known.told else told)
